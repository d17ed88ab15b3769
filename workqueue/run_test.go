package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func nop(context.Context, *workqueue.Delivery) error { return nil }

// runFor runs a handler on queue "q" for a time.
func runFor(t testing.TB, b *workqueue.Broker, d time.Duration, o *workqueue.RunOptions, h workqueue.Handler) {
	t.Helper()
	ctx, stop := context.WithTimeout(bg, d)
	defer stop()
	require.NoError(t, queueOf(t, b, "q").Run(ctx, h, o))
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
		pass(time.Hour)
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
		"queue deleted": func(b *workqueue.Broker) error { return queueOf(t, b, "q").Delete(bg) },
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
					done <- queueOf(t, b, "q").Run(ctx, func(ctx context.Context, _ *workqueue.Delivery) error {
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

func TestRunLimitsItsRateAndAllowsABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		begin := time.Now()
		var perSecond [20]atomic.Int32
		ctx, stop := context.WithTimeout(bg, 20*time.Second-1)
		defer stop()
		go func() {
			<-time.After(10 * time.Second)
			for range 100 {
				publish(t, b, "q", "m")
			}
		}()
		require.NoError(t, queueOf(t, b, "q").Run(ctx, func(context.Context, *workqueue.Delivery) error {
			perSecond[int(time.Since(begin).Seconds())].Add(1)
			return nil
		}, &workqueue.RunOptions{Concurrency: 10, Interval: time.Second / 4, Burst: 10}))
		require.EqualValues(t, 10+3, perSecond[10].Load(), "what was not used in ten quiet seconds, and what came by since")
		for second := 11; second < 20; second++ {
			require.EqualValues(t, 4, perSecond[second].Load(), "second %d", second)
		}
	})
}

func TestAPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, DeliveryLimit: 3})
		publish(t, b, "q", "m")
		calls := 0
		runFor(t, b, time.Minute, nil, func(context.Context, *workqueue.Delivery) error { calls++; panic("oh") })
		require.Equal(t, 3, calls)
		require.Equal(t, workqueue.ReasonDeliveryLimit, get(t, b, "dead", "m").Deaths[0].Reason)
	})
}

func TestRunDrainsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		for range 10 {
			publish(t, b, "q", "m")
		}
		begin, done := time.Now(), 0
		runFor(t, b, time.Second, nil, func(ctx context.Context, _ *workqueue.Delivery) error {
			<-time.After(10 * time.Minute)
			done++
			return ctx.Err()
		})
		require.Equal(t, 10*time.Minute, time.Since(begin), "the handler was waited for")
		require.Equal(t, 1, done)
		require.Equal(t, 9, ready(t, b, "q"))
		require.Equal(t, 1, get(t, b, "q", "m").DeliveryCount)
	})
}

func TestTheDrainHasATimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "in time", "too slow", "waits")
		begin := time.Now()
		runFor(t, b, time.Second, &workqueue.RunOptions{Concurrency: 2, DrainTimeout: time.Minute}, func(ctx context.Context, d *workqueue.Delivery) error {
			if string(d.Body) == "in time" {
				<-time.After(30 * time.Second)
				return ctx.Err()
			}
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), workqueue.ErrDeliveryLost)
			return ctx.Err()
		})
		require.Equal(t, time.Minute+time.Second, time.Since(begin))
		require.Equal(t, 2, get(t, b, "q", "too slow").DeliveryCount)
		require.Equal(t, 1, get(t, b, "q", "waits").DeliveryCount)
	})
}

func TestATimeoutMayBeLongerThanTheAckTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		publish(t, b, "q", "m")
		calls := 0
		runFor(t, b, 3*time.Hour, &workqueue.RunOptions{Timeout: time.Hour, Attempts: 2}, func(ctx context.Context, d *workqueue.Delivery) error {
			if calls++; calls == 2 {
				<-time.After(59 * time.Minute)
				return ctx.Err()
			}
			<-ctx.Done()
			return ctx.Err()
		})
		require.Equal(t, 2, calls)
		require.Zero(t, ready(t, b, "q"))
	})
}

func TestExtendIsAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		publish(t, b, "q", "m", "n")
		c := consume(t, b, "q", 2)
		d, forgotten := next(t, c, "m"), next(t, c, "n")
		for range 10 {
			<-time.After(50 * time.Second)
			require.NoError(t, d.Extend(bg))
		}
		require.ErrorIs(t, forgotten.Extend(bg), workqueue.ErrDeliveryLost)
		require.NoError(t, d.Ack(bg))
		require.ErrorIs(t, d.Extend(bg), workqueue.ErrSettled)
		require.ErrorIs(t, new(workqueue.Delivery).Extend(bg), pebblemq.ErrInvalid)
		require.NoError(t, c.Close())
	})
}

// TestTheAckTimeoutHoldsBesideExtendedDeliveries: one with a long time ahead does not
// keep the queue from looking at the others.
func TestTheAckTimeoutHoldsBesideExtendedDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		publish(t, b, "q", "long")
		ctx, stop := context.WithCancel(bg)
		done := make(chan error, 1)
		go func() {
			done <- queueOf(t, b, "q").Run(ctx, func(context.Context, *workqueue.Delivery) error {
				<-time.After(50 * time.Minute)
				return nil
			}, &workqueue.RunOptions{Timeout: time.Hour, Prefetch: 1})
		}()
		<-time.After(10 * time.Minute)
		publish(t, b, "q", "short")
		d := get(t, b, "q", "short")
		<-time.After(70 * time.Second)
		require.ErrorIs(t, d.Ack(bg), workqueue.ErrDeliveryLost)
		stop()
		require.NoError(t, <-done)
	})
}

func TestWhatNobodyTookFromTheConsumerDoesNotCountWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		publish(t, b, "q", "m", "n")
		c := consume(t, b, "q", 2)
		next(t, c, "m")
		<-time.After(2 * time.Minute)
		require.NoError(t, c.Close())
		require.Equal(t, 2, get(t, b, "q", "m").DeliveryCount)
		require.Equal(t, 1, get(t, b, "q", "n").DeliveryCount)
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
		"interval": {Interval: -1}, "long interval": {Interval: workqueue.MaxInterval + 1}, "backoff": {Backoff: pebblemq.Backoff{Min: -1}}, "prefetch": {Prefetch: -2},
		"concurrency": {Concurrency: workqueue.MaxConcurrency + 1}, "drain": {DrainTimeout: -1},
		"burst": {Burst: -1, Interval: 1}, "large burst": {Burst: workqueue.MaxBurst + 1, Interval: 1}, "burst of no rate": {Burst: 2},
		"limit of no key": {KeyConcurrency: 1}, "key concurrency": {KeyConcurrency: -1, Key: byType},
		"large key concurrency": {KeyConcurrency: workqueue.MaxConcurrency + 1, Key: byType},
	} {
		require.ErrorIs(t, queueOf(t, b, "q").Run(bg, nop, &o), pebblemq.ErrInvalid, name)
	}
}
