package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func unacked(t testing.TB, b *workqueue.Broker, queue string) int {
	t.Helper()
	st, err := queueOf(t, b, queue).Stats(bg)
	require.NoError(t, err)
	return int(st.Unacked)
}

func TestAConsumerTagIsUniqueWithinItsQueue(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q", "other")
	c := consumeAs(t, b, "tag", 0, 1)
	_, err := queueOf(t, b, "q").Consume(bg, &workqueue.ConsumeOptions{Tag: "tag"})
	require.ErrorIs(t, err, workqueue.ErrInUse)
	_, err = queueOf(t, b, "other").Consume(bg, &workqueue.ConsumeOptions{Tag: "tag"})
	require.NoError(t, err, "another queue has names of its own")
	require.NotEqual(t, consume(t, b, "q", 1).Tag(), consume(t, b, "q", 1).Tag(), "names that are made up")
	require.NoError(t, c.Close())
	require.Equal(t, "tag", consumeAs(t, b, "tag", 0, 1).Tag(), "it is free again")
}

func TestPrefetchIsUnlimitedOnlyIfSaid(t *testing.T) {
	for prefetch, want := range map[int]int{0: workqueue.DefaultPrefetch, 1: 1, workqueue.UnlimitedPrefetch: 100} {
		t.Run(fmt.Sprint(prefetch), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declare(t, b, "q")
				batch := make([]workqueue.Publishing, 100)
				for i := range batch {
					batch[i].Key = "q"
				}
				require.NoError(t, b.PublishBatch(bg, "", batch))
				consume(t, b, "q", prefetch)
				synctest.Wait()
				require.Equal(t, want, unacked(t, b, "q"))
			})
		})
	}
}

func TestAnIteratorOverDeliveriesCanBeLeftAndTakenUpAgain(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "1", "2", "3")
	c := consume(t, b, "q", 3)
	for d, err := range c.Deliveries(bg) {
		require.NoError(t, err)
		require.Equal(t, "1", string(d.Body))
		break
	}
	got := []string{}
	for d, err := range c.Deliveries(bg) {
		if err != nil {
			require.ErrorIs(t, err, workqueue.ErrConsumerClosed)
			break
		}
		if got = append(got, string(d.Body)); len(got) == 2 {
			require.NoError(t, c.Close())
		}
	}
	require.Equal(t, []string{"2", "3"}, got)
}

func TestAFetchTakesWhatIsThereUpToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "1", "2", "3", "4", "5")
		c := consume(t, b, "q", 10)
		synctest.Wait()
		for _, want := range [][]string{{"1", "2"}, {"3", "4", "5"}} {
			list, err := c.Fetch(bg, len(want)+len(want)/3) // the second asks for more than there is
			require.NoError(t, err)
			got := []string{}
			for _, d := range list {
				got = append(got, string(d.Body))
				require.NoError(t, d.Ack(bg))
			}
			require.Equal(t, want, got)
		}
	})
}

func TestAFetchWaitsForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		c := consume(t, b, "q", 10)
		fetched := make(chan []*workqueue.Delivery)
		go func() {
			list, err := c.Fetch(bg, 10)
			assert.NoError(t, err)
			fetched <- list
		}()
		synctest.Wait()
		publish(t, b, "q", "late")
		require.Len(t, <-fetched, 1)

		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		list, err := c.Fetch(ctx, 10)
		require.Empty(t, list)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = c.Fetch(bg, 0)
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		require.NoError(t, c.Close())
		_, err = c.Fetch(bg, 1)
		require.ErrorIs(t, err, workqueue.ErrConsumerClosed)
	})
}

func TestAnAcknowledgementIsFencedByItsDelivery(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "m")
	old := get(t, b, "q", "m")
	require.NoError(t, old.Nack(bg, true))
	now := get(t, b, "q", "m")
	for name, settle := range map[string]func() error{
		"ack":        func() error { return old.Ack(bg) },
		"nack":       func() error { return old.Nack(bg, true) },
		"reject":     func() error { return old.Reject(bg) },
		"return":     func() error { return old.Release(bg, 0) },
		"ack up to":  func() error { return old.AckUpTo(bg) },
		"nack up to": func() error { return old.NackUpTo(bg, true) },
	} {
		require.ErrorIs(t, settle(), workqueue.ErrSettled, name)
		require.Equal(t, 1, unacked(t, b, "q"), "%s must not touch the delivery that came after it", name)
	}
	require.NoError(t, now.Ack(bg))
}

func TestADeliveryOfAnotherBrokerIsRefused(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "m")
	d := get(t, b, "q", "m")
	other, err := workqueue.OpenBroker(bg, db, "another")
	require.NoError(t, err)
	for name, settle := range map[string]func(workqueue.BrokerTx) error{
		"ack":        func(x workqueue.BrokerTx) error { return x.Ack(d) },
		"nack":       func(x workqueue.BrokerTx) error { return x.Nack(d, true) },
		"return":     func(x workqueue.BrokerTx) error { return x.Release(d, 0) },
		"ack up to":  func(x workqueue.BrokerTx) error { return x.AckUpTo(d) },
		"nack up to": func(x workqueue.BrokerTx) error { return x.NackUpTo(d, false) },
	} {
		err := db.Update(bg, func(tx *pebblemq.Tx) error { _ = settle(other.In(tx)); return nil })
		require.ErrorIs(t, err, pebblemq.ErrInvalid, name)
	}
	require.NoError(t, d.Ack(bg))
}

func TestANackUpToThatOneDeadLetterHasNoRoomForSettlesNone(t *testing.T) {
	_, b := open(t)
	declareQueue(t, b, "dead", &workqueue.QueueConfig{MaxLength: 2, Overflow: workqueue.RejectPublish})
	declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
	publish(t, b, "q", "1", "2", "3", "4")
	c := consumeAs(t, b, "c", 0, 3)
	next(t, c, "1")
	two, three := next(t, c, "2"), next(t, c, "3")
	require.Error(t, three.NackUpTo(bg, false))
	require.Zero(t, ready(t, b, "dead"), "none has moved")
	require.Equal(t, 3, unacked(t, b, "q"))
	require.Equal(t, 1, ready(t, b, "q"), "and none gives credit")
	require.NoError(t, two.NackUpTo(bg, false))
	get(t, b, "dead", "1")
	get(t, b, "dead", "2")
	require.NoError(t, three.Ack(bg))
	next(t, c, "4")
}

func TestWhatCountsTowardsTheDeliveryLimit(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(*workqueue.Consumer, *workqueue.Delivery) error
		counts bool
	}{
		"nack":     {func(_ *workqueue.Consumer, d *workqueue.Delivery) error { return d.Nack(bg, true) }, true},
		"close":    {func(c *workqueue.Consumer, _ *workqueue.Delivery) error { return c.Close() }, true},
		"no fault": {func(_ *workqueue.Consumer, d *workqueue.Delivery) error { return d.Release(bg, 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, b := open(t)
			declare(t, b, "dead")
			declareWith(t, b, workqueue.QueueConfig{DeliveryLimit: 2, DeadLetter: toDead})
			publish(t, b, "q", "m")
			for range 2 {
				consumer := consume(t, b, "q", 1)
				require.NoError(t, c.end(consumer, next(t, consumer, "m")))
				require.NoError(t, consumer.Close())
			}
			d, ok, err := queueOf(t, b, "q").Get(bg)
			require.NoError(t, err)
			require.Equal(t, !c.counts, ok)
			if c.counts {
				require.Equal(t, workqueue.ReasonDeliveryLimit, get(t, b, "dead", "m").Deaths[0].Reason)
			} else {
				require.Equal(t, 1, d.DeliveryCount)
			}
		})
	}
}

func TestADeletedQueueRefusesWhatACancelledConsumerHolds(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "1")
	c := consume(t, b, "q", 1)
	d := next(t, c, "1")
	require.NoError(t, c.Cancel())
	require.NoError(t, queueOf(t, b, "q").Delete(bg))
	require.ErrorIs(t, d.Ack(bg), workqueue.ErrQueueDeleted)
	require.ErrorIs(t, d.AckUpTo(bg), workqueue.ErrQueueDeleted)
	require.NoError(t, c.Close())
	declare(t, b, "q")
	require.Zero(t, ready(t, b, "q")+unacked(t, b, "q"), "the new queue has nothing of the old one")
}

func TestTheAckTimeoutAppliesAfterACancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		publish(t, b, "q", "1")
		c := consume(t, b, "q", 1)
		d := next(t, c, "1")
		require.NoError(t, c.Cancel())
		pass(time.Minute)
		require.ErrorIs(t, d.Ack(bg), workqueue.ErrDeliveryLost)
		require.Equal(t, 2, get(t, b, "q", "1").DeliveryCount)
	})
}

func TestRunRunsAsManyHandlersAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "1", "2", "3", "4", "5")
		w := newWatcher(time.Second)
		runFor(t, b, time.Minute, &workqueue.RunOptions{Concurrency: 3}, w.handle)
		require.Equal(t, 3, w.most[""])
		require.Zero(t, ready(t, b, "q"))
	})
}

func TestRunLetsHandlersFinishWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "1", "2")
		runFor(t, b, time.Second, nil, func(ctx context.Context, _ *workqueue.Delivery) error {
			<-time.After(time.Minute)
			return ctx.Err()
		})
		require.Zero(t, unacked(t, b, "q"))
		require.False(t, get(t, b, "q", "2").Redelivered, "1 is done, and 2 was not begun")
	})
}

func TestAPanicIsNotTriedBeyondTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeliveryLimit: 2, DeadLetter: toDead})
		publish(t, b, "q", "m", "next")
		calls := map[string]int{}
		runFor(t, b, time.Hour, &workqueue.RunOptions{MaxAttempts: 3}, func(_ context.Context, d *workqueue.Delivery) error {
			if calls[string(d.Body)]++; string(d.Body) == "m" {
				panic(errors.New("no"))
			}
			return nil
		})
		require.Equal(t, map[string]int{"m": 2, "next": 1}, calls, "the limit of the queue is lower")
		get(t, b, "dead", "m")
	})
}
