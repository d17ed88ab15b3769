package pebblemqtest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// chain is a store in which each message goes from a work queue over a topic into a visibility
// queue, and is handled there.
type chain struct {
	broker *workqueue.Broker
	jobs   *workqueue.Queue
	events *log.Topic
	group  *log.Group
	mail   *visibility.Queue
	done   atomic.Int64
	ended  chan error
}

func newChain(t testing.TB, db *pebblemq.DB) *chain {
	t.Helper()
	c := &chain{ended: make(chan error, 3)}
	var err error
	c.broker, err = workqueue.OpenBroker(ctx, db, "main")
	require.NoError(t, err)
	c.jobs, err = c.broker.DeclareQueue(ctx, "jobs", nil)
	require.NoError(t, err)
	c.events, err = log.OpenTopic(ctx, db, "events", &log.TopicConfig{Partitions: 3})
	require.NoError(t, err)
	c.group, err = c.events.OpenGroup(ctx, "mailer", nil)
	require.NoError(t, err)
	c.mail, err = visibility.OpenQueue(ctx, db, "mail", nil)
	require.NoError(t, err)
	return c
}

func (c *chain) run(t testing.TB) {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		c.ended <- c.jobs.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
			_, err := c.events.Append(ctx, log.Record{Value: d.Body})
			return err
		}, nil)
	}()
	go func() {
		c.ended <- c.group.Run(ctx, func(ctx context.Context, r log.Record) error {
			_, err := c.mail.Send(ctx, visibility.Message{Body: r.Value})
			return err
		}, nil)
	}()
	go func() {
		c.ended <- c.mail.Run(ctx, func(ctx context.Context, m *visibility.Received) error {
			c.done.Add(1)
			return nil
		}, nil)
	}()
	t.Cleanup(func() {
		stop()
		for range 3 {
			require.NoError(t, <-c.ended)
		}
	})
}

func (c *chain) publish(t testing.TB, n int) {
	t.Helper()
	for range n {
		require.NoError(t, c.broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte("a")}))
	}
}

func TestWaitIdleWaitsForWhatGoesFromQueueToQueue(t *testing.T) {
	test := func(t *testing.T) {
		db := pebblemqtest.Open(t, nil)
		c := newChain(t, db)
		pebblemqtest.WaitIdle(t, db)
		c.run(t)
		for n := 1; n <= 20; n++ {
			c.publish(t, n)
			pebblemqtest.WaitIdle(t, db)
			require.EqualValues(t, n*(n+1)/2, c.done.Load())
			require.Zero(t, db.Stats().UnsyncedAge)
		}
	}
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
	t.Run("real time", test)
}

// Objects are looked at one after the other. The message is mostly in one that was looked at
// already, or is not yet.
func TestWaitIdleDoesNotMissAMessageThatGoesToAndFro(t *testing.T) {
	const hops = 2000
	db := pebblemqtest.Open(t, nil)
	c := newChain(t, db)
	running, stop := context.WithCancel(pebblemq.WithDurability(ctx, pebblemq.NoSync))
	defer stop()
	go c.jobs.Run(running, func(ctx context.Context, d *workqueue.Delivery) error {
		_, err := c.mail.Send(ctx, visibility.Message{Body: d.Body})
		return err
	}, nil)
	go c.mail.Run(running, func(ctx context.Context, m *visibility.Received) error {
		if c.done.Add(1) == hops {
			return nil
		}
		return c.broker.Publish(ctx, "", "jobs", workqueue.Message{})
	}, nil)
	c.publish(t, 1)
	pebblemqtest.WaitIdle(t, db)
	require.EqualValues(t, hops, c.done.Load())
}

func TestWaitIdleKnowsStoresThatOthersHaveOpened(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	c := newChain(t, db)
	c.run(t)
	c.publish(t, 10)
	pebblemqtest.WaitIdle(t, db)
	require.EqualValues(t, 10, c.done.Load())
}

func TestWaitIdleMakesNoSyncChangesDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pebblemqtest.NewDisk()
		db := pebblemqtest.Open(t, on(d))
		require.NoError(t, set(pebblemq.WithDurability(ctx, pebblemq.NoSync), db, "a"))
		pebblemqtest.WaitIdle(t, db)
		d.Crash()
		require.True(t, has(t, pebblemqtest.Open(t, on(d)), "a"))
	})
}

func TestWhatIsDelayedCountsWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, nil)
		c := newChain(t, db)
		c.run(t)
		require.NoError(t, c.broker.Publish(ctx, "", "jobs", workqueue.Message{Delay: time.Minute}))
		_, err := c.mail.Send(ctx, visibility.Message{Delay: time.Minute})
		require.NoError(t, err)
		pebblemqtest.WaitIdle(t, db)
		require.Zero(t, c.done.Load())
		time.Sleep(time.Minute)
		pebblemqtest.WaitIdle(t, db)
		require.EqualValues(t, 2, c.done.Load())
	})
}

// Each handler fails until its message is a dead letter.
func TestWaitIdleWaitsForAttemptsAndNotForDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, nil)
		c := newChain(t, db)
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		var calls [3]atomic.Int64
		fail := func(i int) error {
			calls[i].Add(1)
			return errors.New("on purpose")
		}
		go c.jobs.Run(ctx, func(context.Context, *workqueue.Delivery) error { return fail(0) }, &workqueue.RunOptions{MaxAttempts: 4})
		go c.group.Run(ctx, func(context.Context, log.Record) error { return fail(1) }, &log.RunOptions{MaxAttempts: 4})
		go c.mail.Run(ctx, func(context.Context, *visibility.Received) error { return fail(2) }, &visibility.RunOptions{MaxAttempts: 4})
		c.publish(t, 1)
		_, err := c.events.Append(ctx, log.Record{Value: []byte("a")})
		require.NoError(t, err)
		_, err = c.mail.Send(ctx, visibility.Message{Body: []byte("a")})
		require.NoError(t, err)
		pebblemqtest.WaitIdle(t, db)
		for i := range calls {
			require.EqualValues(t, 4, calls[i].Load())
		}
		dead, err := c.broker.Queue(ctx, "jobs.dead")
		require.NoError(t, err)
		st, err := dead.Stats(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 1, st.Ready)
	})
}

func TestAHandlerOfAKeyIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, nil)
		keys, err := idempotency.OpenNamespace(ctx, db, "requests", nil)
		require.NoError(t, err)
		var fine atomic.Bool
		go keys.Do(ctx, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
			time.Sleep(time.Minute)
			fine.Store(true)
			return nil, errors.New("a failure, which is no outcome")
		}, nil)
		synctest.Wait()
		pebblemqtest.WaitIdle(t, db)
		require.True(t, fine.Load())
	})
}

// The messages of such a queue are counted, but only its own handle may look at them.
func TestAnExclusiveQueueIsNotIdleWhileItHasMessages(t *testing.T) {
	db := pebblemqtest.Open(t, nil)
	c := newChain(t, db)
	q, err := c.broker.DeclareNewQueue(ctx, &workqueue.QueueConfig{Exclusive: true})
	require.NoError(t, err)
	require.NoError(t, c.broker.Publish(ctx, "", q.Name(), workqueue.Message{}))
	failed, said := failure(t, func(t testing.TB) {
		pebblemqtest.WaitIdle(dated{t, time.Now().Add(100 * time.Millisecond)}, db)
	})
	require.True(t, failed)
	require.Contains(t, said, q.Name())
	require.Contains(t, said, "1 ready")
	_, err = q.Purge(ctx)
	require.NoError(t, err)
	pebblemqtest.WaitIdle(t, db)
}

func TestWaitIdleWaitsForARedrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, nil)
		dead, err := visibility.OpenQueue(ctx, db, "dead", nil)
		require.NoError(t, err)
		q, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 5})
		require.NoError(t, err)
		for range 10 {
			_, err = q.Send(ctx, visibility.Message{})
			require.NoError(t, err)
		}
		running, stop := context.WithCancel(ctx)
		defer stop()
		var calls atomic.Int64
		go q.Run(running, func(context.Context, *visibility.Received) error {
			if calls.Add(1) <= 10 {
				return pebblemq.Reject(errors.New("on purpose"))
			}
			return nil
		}, nil)
		pebblemqtest.WaitIdle(t, db)
		require.EqualValues(t, 10, calls.Load())
		_, err = dead.Redrive(ctx, &visibility.RedriveOptions{Rate: 1, Burst: 1})
		require.NoError(t, err)
		pebblemqtest.WaitIdle(t, db)
		require.EqualValues(t, 20, calls.Load())
	})
}

func TestWaitIdleWaitsForARedriveOfAWorkQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, nil)
		b, err := workqueue.OpenBroker(ctx, db, "b")
		require.NoError(t, err)
		q, err := b.DeclareQueue(ctx, "q", nil)
		require.NoError(t, err)
		for range 10 {
			require.NoError(t, b.Publish(ctx, "", "q", workqueue.Message{}))
		}
		running, stop := context.WithCancel(ctx)
		defer stop()
		var calls atomic.Int64
		go q.Run(running, func(context.Context, *workqueue.Delivery) error {
			if calls.Add(1) <= 10 {
				return pebblemq.Reject(errors.New("on purpose"))
			}
			return nil
		}, nil)
		pebblemqtest.WaitIdle(t, db)
		require.EqualValues(t, 10, calls.Load())
		dead, err := b.Queue(ctx, "q.dead")
		require.NoError(t, err)
		_, err = dead.Redrive(ctx, &workqueue.RedriveOptions{Rate: 1, Burst: 1})
		require.NoError(t, err)
		pebblemqtest.WaitIdle(t, db)
		require.EqualValues(t, 20, calls.Load())
	})
}

// dated is a test with a deadline.
type dated struct {
	testing.TB
	at time.Time
}

func (d dated) Deadline() (time.Time, bool) { return d.at, true }

func TestWaitIdleSaysWhatIsNotIdle(t *testing.T) {
	failed, said := failure(t, func(t testing.TB) {
		db := pebblemqtest.Open(t, nil)
		c := newChain(t, db)
		c.publish(t, 3)
		_, ok, err := c.jobs.Get(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, c.jobs.Pause(ctx))
		_, err = c.events.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(2)}, log.Record{}, log.Record{})
		require.NoError(t, err)
		_, err = c.mail.Send(ctx, visibility.Message{})
		require.NoError(t, err)
		pebblemqtest.WaitIdle(dated{t, time.Now().Add(100 * time.Millisecond)}, db)
		panic("not reached")
	})
	require.True(t, failed)
	require.Contains(t, said, "the store is not idle after")
	require.Contains(t, said, "\n\twork queue \"jobs\" of broker \"main\": 1 unacknowledged, 2 ready, with 0 consumers, paused\n")
	require.Contains(t, said, "\n\tvisibility queue \"mail\": 1 visible\n")
	require.Contains(t, said, "\n\tgroup \"mailer\" of topic \"events\": 2 unfinished records, with 0 members\n")
}

// bubbled is a test that panics when it is asked for its deadline.
type bubbled struct {
	testing.TB
	t *testing.T
}

func (b bubbled) Deadline() (time.Time, bool) { return b.t.Deadline() }

func TestWaitIdleGivesUpInABubbleAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.Panics(t, func() { t.Deadline() })
		begin := time.Now()
		failed, said := failure(t, func(f testing.TB) {
			db := pebblemqtest.Open(f, nil)
			newChain(f, db).publish(f, 1)
			pebblemqtest.WaitIdle(bubbled{f, t}, db)
		})
		require.True(t, failed)
		require.Contains(t, said, "1 ready")
		require.WithinDuration(t, begin.Add(time.Hour), time.Now(), time.Second)
	})
}

func TestWaitIdleEndsWithTheStoreAndOnAFrozenDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed, said := failure(t, func(t testing.TB) {
			db := pebblemqtest.Open(t, nil)
			require.NoError(t, db.Close())
			pebblemqtest.WaitIdle(t, db)
		})
		require.True(t, failed)
		require.Contains(t, said, pebblemq.ErrClosed.Error())

		failed, said = failure(t, func(t testing.TB) {
			d := pebblemqtest.NewDisk()
			db := pebblemqtest.Open(t, on(d))
			d.Freeze()
			require.NoError(t, set(pebblemq.WithDurability(ctx, pebblemq.NoSync), db, "a"))
			pebblemqtest.WaitIdle(dated{t, time.Now().Add(time.Minute)}, db)
		})
		require.True(t, failed)
		require.Contains(t, said, "the disk did not answer")
	})
}
