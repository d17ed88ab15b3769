package workqueue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func publish(t testing.TB, b *workqueue.Broker, queue string, bodies ...string) {
	t.Helper()
	for _, s := range bodies {
		require.NoError(t, b.Publish(bg, "", queue, body(s)))
	}
}

func consume(t testing.TB, b *workqueue.Broker, queue string, prefetch int) *workqueue.Consumer {
	t.Helper()
	c, err := queueOf(t, b, queue).Consume(bg, &workqueue.ConsumeOptions{Prefetch: prefetch})
	require.NoError(t, err)
	return c
}

func next(t testing.TB, c *workqueue.Consumer, want string) *workqueue.Delivery {
	t.Helper()
	d, err := c.Next(bg)
	require.NoError(t, err)
	require.Equal(t, want, string(d.Body))
	return d
}

func get(t testing.TB, b *workqueue.Broker, queue, want string) *workqueue.Delivery {
	t.Helper()
	d, ok, err := queueOf(t, b, queue).Get(bg)
	require.NoError(t, err)
	require.True(t, ok, "nothing ready")
	require.Equal(t, want, string(d.Body))
	return d
}

func TestAMessageArrivesWhole(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	sent := workqueue.Message{
		Body: []byte("b\x00dy"), Headers: map[string]string{"b": "2", "a": ""},
		MessageID: "id", CorrelationID: "corr", ReplyTo: "reply", Type: "type", ContentType: "text/plain",
		ContentEncoding: "gzip", AppID: "app", Timestamp: time.UnixMicro(1234567), Priority: 7,
	}
	require.NoError(t, b.Publish(bg, "", "q", sent))
	d := get(t, b, "q", "b\x00dy")
	require.Equal(t, sent, d.Message)
	require.Equal(t, "q", d.Queue)
	require.Equal(t, "q", d.RoutingKey)
	require.Empty(t, d.Exchange)
	require.False(t, d.Redelivered)
	require.Equal(t, 1, d.DeliveryCount)
}

func TestPrefetchIsBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "1", "2", "3")
		c := consume(t, b, "q", 2)
		first := next(t, c, "1")
		next(t, c, "2")
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		_, err := c.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded, "the third waits for room")
		require.NoError(t, first.Ack(bg))
		next(t, c, "3")
	})
}

func TestConsumersTakeTurnsAndAClosedOneGivesBack(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	one, two := consume(t, b, "q", 2), consume(t, b, "q", 4)
	publish(t, b, "q", "1", "2", "3", "4")
	held := next(t, one, "1")
	next(t, two, "2")
	next(t, one, "3")
	next(t, two, "4")
	require.NoError(t, one.Close())
	for _, want := range []string{"1", "3"} {
		d := next(t, two, want)
		require.True(t, d.Redelivered)
		require.Equal(t, 2, d.DeliveryCount)
	}
	require.ErrorIs(t, held.Ack(bg), workqueue.ErrDeliveryLost)
	_, err := one.Next(bg)
	require.ErrorIs(t, err, workqueue.ErrConsumerClosed)
}

func TestWhatTheApplicationDidNotSeeIsNotCounted(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "1", "2")
	c := consume(t, b, "q", 2)
	next(t, c, "1")
	require.NoError(t, c.Close())
	require.True(t, get(t, b, "q", "1").Redelivered)
	require.False(t, get(t, b, "q", "2").Redelivered)
}

func TestSettling(t *testing.T) {
	type settle = func(*workqueue.Delivery) error
	ack := func(d *workqueue.Delivery) error { return d.Ack(bg) }
	requeue := func(d *workqueue.Delivery) error { return d.Nack(bg, true) }
	reject := func(d *workqueue.Delivery) error { return d.Reject(bg) }
	for name, c := range map[string]struct {
		settle settle
		ready  int
	}{"ack": {ack, 1}, "nack with requeue": {requeue, 2}, "reject": {reject, 1}} {
		t.Run(name, func(t *testing.T) {
			_, b := open(t)
			declare(t, b, "q")
			publish(t, b, "q", "1", "2")
			d := get(t, b, "q", "1")
			require.NoError(t, c.settle(d))
			require.Equal(t, c.ready, ready(t, b, "q"))
			for _, again := range []settle{ack, requeue, reject} {
				require.ErrorIs(t, again(d), workqueue.ErrSettled)
			}
		})
	}
}

func TestRequeuedMessagesReturnToTheirOldPlaces(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "1", "2", "3", "4")
	var held []*workqueue.Delivery
	for _, want := range []string{"1", "2", "3"} {
		held = append(held, get(t, b, "q", want))
	}
	for _, i := range []int{2, 0, 1} {
		require.NoError(t, held[i].Nack(bg, true))
	}
	for _, want := range []string{"1", "2", "3", "4"} {
		get(t, b, "q", want)
	}
}

func TestDeadLetters(t *testing.T) {
	_, b := open(t)
	declare(t, b, "dead")
	declareQueue(t, b, "q", &workqueue.QueueConfig{
		DeliveryLimit: 2, DeadLetter: &workqueue.DeadLetter{Key: "dead"},
	})
	publish(t, b, "q", "rejected", "tired")
	require.NoError(t, get(t, b, "q", "rejected").Reject(bg))
	for range 2 {
		require.NoError(t, get(t, b, "q", "tired").Nack(bg, true))
	}
	_, ok, err := queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	require.False(t, ok)
	for _, c := range []struct{ body, reason string }{
		{"rejected", workqueue.ReasonRejected}, {"tired", workqueue.ReasonDeliveryLimit},
	} {
		d := get(t, b, "dead", c.body)
		require.Len(t, d.Deaths, 1)
		require.WithinDuration(t, time.Now(), d.Deaths[0].Time, time.Minute)
		require.Equal(t, d.Deaths[0].Time, d.Deaths[0].Latest)
		d.Deaths[0].Time, d.Deaths[0].Latest = time.Time{}, time.Time{}
		require.Equal(t, workqueue.Death{Queue: "q", Reason: c.reason, Count: 1, RoutingKeys: []string{"q"}}, d.Deaths[0])
		require.Equal(t, 1, d.DeliveryCount)
	}
	st, err := queueOf(t, b, "q").Stats(bg)
	require.NoError(t, err)
	require.Equal(t, workqueue.QueueStats{}, st)
}

func TestTheDeathHistoryIsNewestFirstWithACountForEachQueueAndReason(t *testing.T) {
	_, b := open(t)
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Fanout, nil))
	declareQueue(t, b, "a", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "b"}})
	declareQueue(t, b, "b", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "a"}})
	require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "a"}))
	require.NoError(t, b.Publish(bg, "x", "key", body("m")))
	for range 2 {
		require.NoError(t, get(t, b, "a", "m").Reject(bg))
		require.NoError(t, get(t, b, "b", "m").Reject(bg))
	}
	require.NoError(t, get(t, b, "a", "m").Reject(bg))
	d := get(t, b, "b", "m")
	require.Equal(t, []workqueue.Death{
		{Queue: "a", Reason: workqueue.ReasonRejected, Count: 3, Time: d.Deaths[0].Time, Latest: d.Deaths[0].Latest, Exchange: "x", RoutingKeys: []string{"key"}},
		{Queue: "b", Reason: workqueue.ReasonRejected, Count: 2, Time: d.Deaths[1].Time, Latest: d.Deaths[1].Latest, RoutingKeys: []string{"b"}},
	}, d.Deaths)
	require.True(t, d.Deaths[0].Latest.After(d.Deaths[0].Time))
	require.False(t, d.Deaths[0].Time.After(d.Deaths[1].Time), "the time is that of the first")
}

func TestADeathHistoryCannotBeForged(t *testing.T) {
	_, b := open(t)
	declare(t, b, "dead")
	declareQueue(t, b, "q", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "dead"}})
	m := body("m")
	m.Headers = map[string]string{"x-death-queue": "forged", "x-death": "forged"}
	require.NoError(t, b.Publish(bg, "", "q", m))
	d := get(t, b, "q", "m")
	require.Nil(t, d.Deaths)
	require.NoError(t, d.Reject(bg))
	d = get(t, b, "dead", "m")
	require.Len(t, d.Deaths, 1)
	require.Equal(t, "q", d.Deaths[0].Queue)
	require.Equal(t, m.Headers, d.Headers, "they are the client's own")
}

func TestADropIsNotSilent(t *testing.T) {
	var text bytes.Buffer
	db := storetest.Open(t, &pebblemq.Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	b := openBroker(t, db)
	declareQueue(t, b, "q", &workqueue.QueueConfig{DeliveryLimit: 1, DropDead: true})
	publish(t, b, "q", "m")
	require.NoError(t, get(t, b, "q", "m").Nack(bg, true))
	_, ok, err := queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	require.False(t, ok)
	require.Contains(t, text.String(), "dropped")
	require.Contains(t, text.String(), "queue=q")
}

// The fields of a delivery are its receiver's: the queue looks at its own.
func TestAnOverdueDeliveryIsLoggedAsItWasStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		db := storetest.Open(t, &pebblemq.Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
		b := openBroker(t, db)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: "theirs", Body: []byte("m")}))
		get(t, b, "q", "m").MessageID = "mine"
		pass(2 * time.Minute)
		require.Contains(t, text.String(), `message_id=theirs`)
	})
}

func TestADeadLetterPlaceThatCannotBeReachedLosesNothing(t *testing.T) {
	_, b := open(t)
	declareQueue(t, b, "q", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "missing"}})
	publish(t, b, "q", "m")
	d := get(t, b, "q", "m")
	require.ErrorIs(t, d.Reject(bg), workqueue.ErrUnroutable)
	require.NoError(t, d.Nack(bg, true), "it is still held")
	get(t, b, "q", "m")
}

func TestDelayedMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		start := time.Now()
		for _, d := range []time.Duration{3 * time.Hour, time.Hour, 2 * time.Hour} {
			m := body(d.String())
			m.Delay = d
			require.NoError(t, b.Publish(bg, "", "q", m))
		}
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.EqualValues(t, 3, st.Delayed)
		c := consume(t, b, "q", 1)
		for i := 1; i <= 3; i++ {
			at := time.Duration(i) * time.Hour
			d := next(t, c, at.String())
			require.Equal(t, at, time.Since(start))
			require.NoError(t, d.Ack(bg))
		}
	})
}

func TestBatchesAreAtomic(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	must := body("2")
	must.Mandatory = true
	err := b.PublishBatch(bg, "", []workqueue.Publishing{{"q", body("1")}, {"nowhere", must}})
	require.ErrorIs(t, err, workqueue.ErrUnroutable)
	require.ErrorContains(t, err, "message 1 of the batch")
	require.Zero(t, ready(t, b, "q"))
	require.NoError(t, b.PublishBatch(bg, "", []workqueue.Publishing{{"q", body("1")}, {"q", body("2")}}))
	get(t, b, "q", "1")
	get(t, b, "q", "2")
}

func TestPublishAsyncKeepsOrder(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	var confirms []*pebblemq.Future[workqueue.Published]
	for i := range 100 {
		confirms = append(confirms, b.PublishAsync(bg, "", "q", body(fmt.Sprint(i))))
	}
	for _, c := range confirms {
		require.NoError(t, errOf(c.Wait(bg)))
	}
	for i := range 100 {
		get(t, b, "q", fmt.Sprint(i))
	}
	require.ErrorIs(t, errOf(b.PublishAsync(bg, "no such", "q", body("")).Wait(bg)), workqueue.ErrUnknownExchange)
}

func TestATransactionPublishesAndAcknowledgesOrDoesNothing(t *testing.T) {
	db, b := open(t)
	declare(t, b, "in", "out")
	publish(t, b, "in", "1", "2")
	first, second := get(t, b, "in", "1"), get(t, b, "in", "2")
	pass := func(ds ...*workqueue.Delivery) error {
		return db.Update(bg, func(tx *pebblemq.Tx) error {
			for _, d := range ds {
				if err := b.In(tx).Publish("", "out", d.Message); err != nil {
					return err
				}
				if err := b.In(tx).Ack(d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, pass(first))
	require.ErrorIs(t, pass(second, first), workqueue.ErrSettled)
	require.Equal(t, 1, ready(t, b, "out"))
	require.NoError(t, pass(second), "the refused one was undone")
	require.Equal(t, 2, ready(t, b, "out"))

	publish(t, b, "in", "3")
	third := get(t, b, "in", "3")
	require.ErrorIs(t, pass(third, third), workqueue.ErrSettled, "twice in one transaction")
	require.NoError(t, third.Nack(bg, true))
	st, err := queueOf(t, b, "in").Stats(bg)
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Ready)
}

func TestAReopenedStoreHasEverythingAtItsOldPlace(t *testing.T) {
	for name, crash := range map[string]bool{"closed": false, "crashed": true} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			db, err := storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			b := openBroker(t, db)
			declare(t, b, "q")
			publish(t, b, "q", "1", "2", "3", "4")
			get(t, b, "q", "1")
			require.NoError(t, get(t, b, "q", "2").Ack(pebblemq.WithDurability(bg, pebblemq.Sync)))
			get(t, b, "q", "3")
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			require.NoError(t, db.Close())
			if crash {
				fs = clone
			}
			db, err = storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			defer storetest.Close(t, db)
			b = openBroker(t, db)
			require.Equal(t, 3, ready(t, b, "q"))
			c := consume(t, b, "q", 4)
			for _, want := range []string{"1", "3", "4"} {
				d := next(t, c, want)
				require.True(t, d.Redelivered || want == "4")
				require.NoError(t, d.Ack(bg))
			}
		})
	}
}

func TestABacklogFarBeyondTheWindowIsDeliveredInOrder(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	ctx := pebblemq.WithDurability(bg, pebblemq.NoSync)
	const n = 10_000
	for i := range n {
		require.NoError(t, b.Publish(ctx, "", "q", body(fmt.Sprint(i))))
	}
	c := consume(t, b, "q", 100)
	for i := range n {
		require.NoError(t, next(t, c, fmt.Sprint(i)).Ack(bg))
	}
	st, err := queueOf(t, b, "q").Stats(bg)
	require.NoError(t, err)
	require.Equal(t, workqueue.QueueStats{Consumers: 1}, st)
}

func TestPurgeTakesWhatIsReady(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "1", "2", "3")
	d := get(t, b, "q", "1")
	n, err := queueOf(t, b, "q").Purge(bg)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.NoError(t, d.Nack(bg, true))
	get(t, b, "q", "1")
}

func TestRun(t *testing.T) {
	_, b := open(t)
	declare(t, b, "dead")
	declareQueue(t, b, "q", &workqueue.QueueConfig{
		DeliveryLimit: 3, DeadLetter: &workqueue.DeadLetter{Key: "dead"},
	})
	publish(t, b, "q", "good", "fails", "panics", "settles itself", "last")
	var mu sync.Mutex
	seen := map[string]int{}
	ctx, cancel := context.WithCancel(bg)
	handler := func(ctx context.Context, d *workqueue.Delivery) error {
		mu.Lock()
		seen[string(d.Body)]++
		if seen["fails"] == 3 && seen["panics"] == 3 && seen["last"] == 1 {
			cancel()
		}
		mu.Unlock()
		switch string(d.Body) {
		case "fails":
			return errors.New("no")
		case "panics":
			panic("no")
		case "settles itself":
			return d.Ack(ctx)
		}
		return nil
	}
	require.NoError(t, queueOf(t, b, "q").Run(ctx, handler, &workqueue.RunOptions{Concurrency: 2}))
	require.Equal(t, map[string]int{"good": 1, "fails": 3, "panics": 3, "settles itself": 1, "last": 1}, seen)
	var dead []string
	for {
		d, ok, err := queueOf(t, b, "q").Get(bg) // buries what is over its limit
		require.NoError(t, err)
		require.False(t, ok, "%v", d)
		if d, ok, err = queueOf(t, b, "dead").Get(bg); !ok {
			require.NoError(t, err)
			break
		}
		dead = append(dead, string(d.Body))
	}
	require.ElementsMatch(t, []string{"fails", "panics"}, dead)
}

func TestBlockedConsumersWake(t *testing.T) {
	for name, c := range map[string]struct {
		wake func(*pebblemq.DB, *workqueue.Broker, *workqueue.Consumer) error
		want error
	}{
		"when the consumer is closed": {func(_ *pebblemq.DB, _ *workqueue.Broker, c *workqueue.Consumer) error { return c.Close() }, workqueue.ErrConsumerClosed},
		"when the queue is deleted": {func(_ *pebblemq.DB, b *workqueue.Broker, _ *workqueue.Consumer) error {
			return queueOf(t, b, "q").Delete(bg)
		}, workqueue.ErrQueueDeleted},
		"when the store is closed": {func(db *pebblemq.DB, _ *workqueue.Broker, _ *workqueue.Consumer) error { return db.Close() }, pebblemq.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, b := open(t)
				declare(t, b, "q")
				con := consume(t, b, "q", 1)
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						_, err := con.Next(bg)
						require.ErrorIs(t, err, c.want)
					})
				}
				synctest.Wait()
				require.NoError(t, c.wake(db, b, con))
				wg.Wait()
			})
		})
	}
}

// spent is a context that ends between the wake-up of a Next and its look at the context.
type spent struct {
	context.Context
	looks atomic.Int32
}

func (s *spent) Err() error {
	if s.looks.Add(1) > 1 {
		return context.Canceled
	}
	return nil
}

func TestANextWhoseContextEndsLeavesItsWakeUpToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		c := consume(t, b, "q", 10)
		first := make(chan error, 1)
		go func() {
			_, err := c.Next(&spent{Context: bg})
			first <- err
		}()
		synctest.Wait() // so that it is the first in line
		second := make(chan error, 1)
		go func() {
			soon, stop := context.WithTimeout(bg, time.Minute)
			defer stop()
			_, err := c.Next(soon)
			second <- err
		}()
		synctest.Wait()
		publish(t, b, "q", "m")
		require.ErrorIs(t, <-first, context.Canceled)
		require.NoError(t, <-second)
	})
}
