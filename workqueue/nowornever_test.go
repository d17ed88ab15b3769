package workqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestNowOrNeverIsDeliveredIfAConsumerHasRoomAndDeadElse(t *testing.T) {
	for name, c := range map[string]struct {
		queue   time.Duration // the TTL of the queue
		own     time.Duration // and of the messages
		delay   time.Duration
		batch   bool
		consume bool
		want    int // of three are delivered, the consumer has room for two
	}{
		"a consumer has room for two":              {own: workqueue.NowOrNever, consume: true, want: 2},
		"the same, in one commit":                  {own: workqueue.NowOrNever, consume: true, batch: true, want: 2},
		"the same, when their delay is over":       {own: workqueue.NowOrNever, consume: true, delay: time.Minute, want: 2},
		"the same, by the queue":                   {queue: workqueue.NowOrNever, consume: true, want: 2},
		"by the queue, which counts as the lower":  {queue: workqueue.NowOrNever, own: time.Hour, consume: true, want: 2},
		"by the message, the same":                 {queue: time.Hour, own: workqueue.NowOrNever, consume: true, delay: time.Minute, want: 2},
		"nobody consumes":                          {own: workqueue.NowOrNever},
		"nobody consumes when their delay is over": {queue: workqueue.NowOrNever, delay: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declareWith(t, b, workqueue.QueueConfig{MessageTTL: c.queue, DeadLetter: toDead})
				declare(t, b, "dead")
				var consumer *workqueue.Consumer
				if c.consume {
					consumer = consume(t, b, "q", 2)
				}
				messages := make([]workqueue.Publishing, 3)
				for i := range messages {
					messages[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: []byte("m"), TTL: c.own, Delay: c.delay}}
				}
				if c.batch {
					require.NoError(t, b.PublishBatch(bg, "", messages))
				} else {
					for _, m := range messages {
						require.NoError(t, b.Publish(bg, "", m.Key, m.Message))
					}
				}
				pass(c.delay)
				for range c.want {
					require.Equal(t, c.own, next(t, consumer, "m").TTL)
				}
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.Equal(t, [3]uint64{0, uint64(c.want), 0}, [3]uint64{st.Ready, st.Unacked, st.Delayed})
				require.Equal(t, 3-c.want, ready(t, b, "dead"))
				for range 3 - c.want {
					death := get(t, b, "dead", "m").Deaths[0]
					require.Equal(t, workqueue.ReasonExpired, death.Reason)
					require.Equal(t, c.own, death.TTL)
				}
			})
		})
	}
}

func TestNowOrNeverIsDeadWhenItIsGivenBack(t *testing.T) {
	for name, c := range map[string]struct {
		queue, own time.Duration
		giveBack   func(*workqueue.Delivery) error
	}{
		"by a nack":                       {0, workqueue.NowOrNever, func(d *workqueue.Delivery) error { return d.Nack(bg, true) }},
		"to the head":                     {0, workqueue.NowOrNever, func(d *workqueue.Delivery) error { return d.Requeue(bg, workqueue.Requeue{Head: true}) }},
		"to the tail":                     {0, workqueue.NowOrNever, func(d *workqueue.Delivery) error { return d.Requeue(bg, workqueue.Requeue{}) }},
		"to the tail of a queue that is":  {workqueue.NowOrNever, 0, func(d *workqueue.Delivery) error { return d.Requeue(bg, workqueue.Requeue{}) }},
		"there after a delay":             {workqueue.NowOrNever, 0, func(d *workqueue.Delivery) error { return d.Requeue(bg, workqueue.Requeue{Delay: time.Hour}) }},
		"as if it had not been delivered": {workqueue.NowOrNever, 0, func(d *workqueue.Delivery) error { return d.Release(bg, 0) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declareWith(t, b, workqueue.QueueConfig{MessageTTL: c.queue, DeadLetter: toDead})
				declare(t, b, "dead")
				consumer := consume(t, b, "q", 1)
				publishTTL(t, b, "m", c.own)
				require.NoError(t, c.giveBack(next(t, consumer, "m")))
				synctest.Wait()
				get(t, b, "dead", "m")
			})
		})
	}
}

func TestNowOrNeverIsNotForGetNorForAPausedQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		declare(t, b, "dead")
		publishTTL(t, b, "m", workqueue.NowOrNever)
		_, ok, err := queueOf(t, b, "q").Get(bg)
		require.NoError(t, err)
		require.False(t, ok)
		consume(t, b, "q", 1)
		require.NoError(t, queueOf(t, b, "q").Pause(bg))
		publishTTL(t, b, "m", workqueue.NowOrNever)
		require.NoError(t, queueOf(t, b, "q").Resume(bg))
		synctest.Wait()
		require.Equal(t, 2, ready(t, b, "dead"))
	})
}

// A consumer that comes a moment later is late, though the message lies there yet.
func TestNowOrNeverIsNotForAConsumerThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{})
		publishTTL(t, b, "m", workqueue.NowOrNever)
		consume(t, b, "q", 1)
		synctest.Wait()
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Equal(t, workqueue.QueueStats{Consumers: 1}, st)
	})
}

func TestNowOrNeverIsDeadAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		b := openBroker(t, db)
		declareWith(t, b, workqueue.QueueConfig{MessageTTL: workqueue.NowOrNever, DeadLetter: toDead})
		declare(t, b, "dead")
		c := consume(t, b, "q", 1)
		publish(t, b, "q", "m")
		next(t, c, "m")
		require.NoError(t, db.Close())
		db, err = storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		defer storetest.Close(t, db)
		b = openBroker(t, db)
		declareQueue(t, b, "q", &workqueue.QueueConfig{MessageTTL: workqueue.NowOrNever, DeadLetter: toDead})
		consume(t, b, "q", 1)
		synctest.Wait()
		get(t, b, "dead", "m")
	})
}
