package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// runFor runs a handler on queue "q" for a time.
func runFor(t testing.TB, b *workqueue.Broker, d time.Duration, o *workqueue.RunOptions, h workqueue.Handler) {
	t.Helper()
	ctx, stop := context.WithTimeout(bg, d)
	defer stop()
	require.NoError(t, b.Run(ctx, "q", h, o))
}

func TestRunTriesInPlaceWithABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "m")
		begin := time.Now()
		var at []time.Duration
		runFor(t, b, time.Minute, &workqueue.RunOptions{
			Attempts: 4, Backoff: pebblemq.Backoff{Min: time.Second, Jitter: pebblemq.NoJitter},
		}, func(_ context.Context, d *workqueue.Delivery) error {
			at = append(at, time.Since(begin))
			require.Equal(t, 1, d.DeliveryCount)
			if len(at) < 4 {
				return errors.New("not yet")
			}
			return nil
		})
		require.Equal(t, []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}, at)
		require.Zero(t, ready(t, b, "q"))
	})
}

func TestRunGivesUpItsBackoffWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "m")
		calls := 0
		runFor(t, b, time.Minute, &workqueue.RunOptions{Attempts: 2, Backoff: pebblemq.Backoff{Min: time.Hour, Max: time.Hour}},
			func(context.Context, *workqueue.Delivery) error { calls++; return errors.New("no") })
		require.Equal(t, 1, calls)
		require.Equal(t, 2, get(t, b, "q", "m").DeliveryCount)
	})
}

func TestAHandlerMayRejectAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		publish(t, b, "q", "m")
		calls := 0
		runFor(t, b, time.Minute, &workqueue.RunOptions{Attempts: 5}, func(context.Context, *workqueue.Delivery) error {
			calls++
			return fmt.Errorf("%w: not a number", workqueue.ErrReject)
		})
		require.Equal(t, 1, calls)
		require.Equal(t, workqueue.ReasonRejected, get(t, b, "dead", "m").Deaths[0].Reason)
	})
}

func TestAHandlerHasATimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "m")
		calls := 0
		runFor(t, b, time.Minute, &workqueue.RunOptions{Timeout: time.Second, Attempts: 2}, func(ctx context.Context, _ *workqueue.Delivery) error {
			if calls++; calls == 2 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		require.Equal(t, 2, calls)
		require.Zero(t, ready(t, b, "q"))
	})
}

func TestTheContextOfAHandlerEndsWithItsDelivery(t *testing.T) {
	for name, lose := range map[string]func(b *workqueue.Broker) error{
		"ack timeout":   func(*workqueue.Broker) error { <-time.After(time.Minute); return nil },
		"queue deleted": func(b *workqueue.Broker) error { return b.DeleteQueue(bg, "q") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
				publish(t, b, "q", "m")
				ctx, stop := context.WithCancel(bg)
				defer stop()
				calls := 0
				done := make(chan error, 1)
				go func() {
					done <- b.Run(ctx, "q", func(ctx context.Context, _ *workqueue.Delivery) error {
						if calls++; calls == 2 {
							stop()
							return nil
						}
						<-ctx.Done()
						require.ErrorIs(t, context.Cause(ctx), workqueue.ErrDeliveryLost)
						return ctx.Err()
					}, &workqueue.RunOptions{Attempts: 3})
				}()
				synctest.Wait()
				require.NoError(t, lose(b))
				err := <-done
				if name == "queue deleted" {
					require.ErrorIs(t, err, workqueue.ErrQueueDeleted)
					require.Equal(t, 1, calls)
					return
				}
				require.NoError(t, err)
				require.Equal(t, 2, calls, "it came again")
			})
		})
	}
}

func TestRunKeepsAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		for range 20 {
			publish(t, b, "q", "m")
		}
		calls := 0
		runFor(t, b, 10*time.Second-1, &workqueue.RunOptions{Concurrency: 1, Interval: time.Second},
			func(context.Context, *workqueue.Delivery) error { calls++; return nil })
		require.Equal(t, 10, calls)
		require.Equal(t, 1, get(t, b, "q", "m").DeliveryCount, "the one that waited does not count")
	})
}

func TestReturnDoesNotCount(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "m")
	for range 3 {
		d := get(t, b, "q", "m")
		require.Equal(t, 1, d.DeliveryCount)
		require.NoError(t, d.Return(bg))
		require.ErrorIs(t, d.Return(bg), workqueue.ErrSettled)
	}
	d := get(t, b, "q", "m")
	errNo := errors.New("no")
	require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		require.NoError(t, b.In(tx).Return(d))
		return errNo
	}), errNo)
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Return(d) }))
	require.Equal(t, 1, get(t, b, "q", "m").DeliveryCount)
}

func TestBadRunOptionsAreRefused(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	for name, o := range map[string]workqueue.RunOptions{
		"attempts": {Attempts: -1}, "many attempts": {Attempts: workqueue.MaxAttempts + 1}, "timeout": {Timeout: -1},
		"interval": {Interval: -1}, "backoff": {Backoff: pebblemq.Backoff{Min: -1}}, "prefetch": {Prefetch: -2},
		"concurrency": {Concurrency: workqueue.MaxConcurrency + 1},
	} {
		require.ErrorIs(t, b.Run(bg, "q", nil, &o), pebblemq.ErrInvalid, name)
	}
}
