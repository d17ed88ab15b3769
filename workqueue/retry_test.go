package workqueue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

var steps = &pebblemq.Backoff{Min: time.Second, Max: 3 * time.Second, Factor: 2, Jitter: pebblemq.NoJitter}

func TestAFailedMessageIsDeliveredAgainAfterTheBackoffOfItsQueue(t *testing.T) {
	for name, nack := range map[string]func(*pebblemq.DB, *workqueue.Broker, *workqueue.Delivery) error{
		"nack":       func(_ *pebblemq.DB, _ *workqueue.Broker, d *workqueue.Delivery) error { return d.Nack(bg, true) },
		"nack up to": func(_ *pebblemq.DB, _ *workqueue.Broker, d *workqueue.Delivery) error { return d.NackUpTo(bg, true) },
		"in a transaction": func(db *pebblemq.DB, b *workqueue.Broker, d *workqueue.Delivery) error {
			return db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Nack(d, true) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := storetest.Open(t, nil)
				b := openBroker(t, db)
				declare(t, b, "dead")
				declareWith(t, b, workqueue.QueueConfig{Retry: steps, DeliveryLimit: 4, DeadLetter: toDead})
				publish(t, b, "q", "m")
				for _, wait := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second} {
					require.NoError(t, nack(db, b, get(t, b, "q", "m")))
					pass(wait - time.Millisecond)
					_, ok, err := queueOf(t, b, "q").Get(bg)
					require.NoError(t, err)
					require.False(t, ok, "it waits %v", wait)
					pass(time.Millisecond)
				}
				require.NoError(t, nack(db, b, get(t, b, "q", "m")))
				require.Empty(t, drain(t, b), "it is over the limit at once")
				get(t, b, "dead", "m")
			})
		})
	}
}

func TestAFailedHandlerOfRunWaitsForTheBackoffOfItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declareWith(t, b, workqueue.QueueConfig{Retry: steps})
		publish(t, b, "q", "m")
		ctx, stop := context.WithCancel(bg)
		start, at := time.Now(), []time.Duration(nil)
		require.NoError(t, queueOf(t, b, "q").Run(ctx, func(_ context.Context, d *workqueue.Delivery) error {
			if at = append(at, time.Since(start)); d.DeliveryCount == 4 {
				stop()
				return nil
			}
			return errors.New("not yet")
		}, nil))
		require.Equal(t, []time.Duration{0, time.Second, 3 * time.Second, 6 * time.Second}, at)
	})
}

// A dependency that is down for a minute must not use up the deliveries of a message.
func TestAFailedHandlerOfRunWaitsWithoutARetryToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		publish(t, b, "q", "fails", "does not")
		var calls []string
		var last time.Duration
		begin, exact := time.Now(), &workqueue.RunOptions{Backoff: pebblemq.Backoff{Jitter: pebblemq.NoJitter}}
		runFor(t, b, time.Hour, exact, func(_ context.Context, d *workqueue.Delivery) error {
			calls, last = append(calls, string(d.Body)), time.Since(begin)
			if string(d.Body) == "fails" {
				return errors.New("down")
			}
			return nil
		})
		require.Equal(t, []string{"fails", "does not", "fails"}, calls[:3], "it holds up no others")
		require.Len(t, calls, 1+workqueue.DefaultDeliveryLimit)
		require.Equal(t, 10*time.Minute+42300*time.Millisecond, last)
		get(t, b, "dead", "fails")
	})
}

func TestWhatDidNotFailComesBackAtOnce(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{Retry: steps})
	publish(t, b, "q", "1", "2")
	require.NoError(t, get(t, b, "q", "1").Release(bg, 0))
	c := consume(t, b, "q", 1)
	next(t, c, "1")
	require.NoError(t, c.Close())
	require.Equal(t, []string{"1", "2"}, drain(t, b))
}

func TestRetryIsStoredWithTheQueueAndMayBeAltered(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{Retry: steps})
	stored, err := queueOf(t, b, "q").Info(bg)
	require.NoError(t, err)
	require.Equal(t, steps, stored.Config.Retry)
	require.NoError(t, errOf(b.DeclareQueue(bg, "q", &stored.Config)), "what it returns is the same again")
	_, err = b.DeclareQueue(bg, "q", &workqueue.QueueConfig{})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, "Retry")
	require.NoError(t, queueOf(t, b, "q").Alter(bg, nil))
	publish(t, b, "q", "m")
	require.NoError(t, get(t, b, "q", "m").Nack(bg, true))
	get(t, b, "q", "m")
	require.ErrorIs(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{Retry: &pebblemq.Backoff{Factor: 0.5}}), pebblemq.ErrInvalid)
}
