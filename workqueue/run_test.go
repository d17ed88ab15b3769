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

// runFor runs a handler on queue "q" for a time, and waits for it as long as it takes.
func runFor(t testing.TB, b *workqueue.Broker, d time.Duration, o *workqueue.RunOptions, h workqueue.Handler) {
	t.Helper()
	ctx, stop := context.WithTimeout(bg, d)
	defer stop()
	var options workqueue.RunOptions
	if o != nil {
		options = *o
	}
	if options.DrainTimeout == 0 {
		options.DrainTimeout = pebblemq.Unlimited
	}
	require.NoError(t, queueOf(t, b, "q").Run(ctx, h, &options))
}

func TestRunTriesAgainWithABackoff(t *testing.T) {
	for name, key := range map[string]func(*workqueue.Delivery) string{"at the tail": nil, "in place": func(*workqueue.Delivery) string { return "k" }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declare(t, b, "q")
				publish(t, b, "q", "m")
				begin := time.Now()
				var at []time.Duration
				runFor(t, b, time.Minute, &workqueue.RunOptions{
					Key: key, Backoff: pebblemq.Backoff{Min: time.Second, Jitter: pebblemq.NoJitter},
				}, func(_ context.Context, d *workqueue.Delivery) error {
					at = append(at, time.Since(begin))
					if key == nil {
						require.Equal(t, len(at), d.DeliveryCount)
					} else {
						require.Equal(t, 1, d.DeliveryCount)
					}
					if len(at) < 4 {
						return errors.New("not yet")
					}
					return nil
				})
				require.Equal(t, []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}, at)
				require.Zero(t, ready(t, b, "q"))
			})
		})
	}
}

func TestRunGivesUpItsBackoffWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "m")
		calls := 0
		runFor(t, b, time.Minute, &workqueue.RunOptions{Key: func(*workqueue.Delivery) string { return "k" }, Backoff: pebblemq.Backoff{Min: time.Hour, Max: time.Hour, Jitter: pebblemq.NoJitter}},
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
		runFor(t, b, time.Minute, nil, func(context.Context, *workqueue.Delivery) error {
			calls++
			return pebblemq.Reject(errors.New("not a number"))
		})
		require.Equal(t, 1, calls)
		death := get(t, b, "dead", "m").Deaths[0]
		require.Equal(t, workqueue.ReasonRejected, death.Reason)
		require.Equal(t, "not a number", death.Error)
	})
}

func TestAHandlerHasATimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "m")
		calls := 0
		runFor(t, b, time.Minute, &workqueue.RunOptions{Timeout: time.Second}, func(ctx context.Context, _ *workqueue.Delivery) error {
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
					}, nil)
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
		runFor(t, b, 10*time.Second-1, &workqueue.RunOptions{Concurrency: 1, Rate: pebblemq.Rate{PerSecond: 1}},
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
		}, &workqueue.RunOptions{Concurrency: 10, Rate: pebblemq.Rate{PerSecond: 4, Burst: 10}}))
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
			require.ErrorIs(t, context.Cause(ctx), pebblemq.ErrDrainTimeout)
			return ctx.Err()
		})
		require.Equal(t, time.Minute+time.Second, time.Since(begin))
		require.Equal(t, 1, get(t, b, "q", "too slow").DeliveryCount, "which is not its fault")
		require.Equal(t, 1, get(t, b, "q", "waits").DeliveryCount)
	})
}

func TestATimeoutMayBeLongerThanTheAckTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		publish(t, b, "q", "m")
		calls := 0
		runFor(t, b, 3*time.Hour, &workqueue.RunOptions{Timeout: time.Hour}, func(ctx context.Context, d *workqueue.Delivery) error {
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
			}, &workqueue.RunOptions{Timeout: time.Hour, Prefetch: 1, DrainTimeout: pebblemq.Unlimited})
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

func TestReleaseDoesNotCount(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "m")
	for range 3 {
		d := get(t, b, "q", "m")
		require.Equal(t, 1, d.DeliveryCount)
		require.NoError(t, d.Release(bg, 0))
		require.ErrorIs(t, d.Release(bg, 0), workqueue.ErrSettled)
	}
	d := get(t, b, "q", "m")
	errNo := errors.New("no")
	require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		require.NoError(t, b.In(tx).Release(d, 0))
		return errNo
	}), errNo)
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Release(d, 0) }))
	require.Equal(t, 1, get(t, b, "q", "m").DeliveryCount)
}

func TestReleaseWithADelayDoesNotCountAndGoesToTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{DeliveryLimit: 2})
		publish(t, b, "q", "m", "n")
		for range 5 {
			require.NoError(t, get(t, b, "q", "m").Release(bg, time.Hour))
			get(t, b, "q", "n").Release(bg, 0)
			pass(time.Hour)
			require.NoError(t, get(t, b, "q", "n").Release(bg, time.Minute))
			d := get(t, b, "q", "m")
			require.Equal(t, 1, d.DeliveryCount)
			require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Release(d, time.Minute) }))
			pass(time.Hour)
			require.NoError(t, get(t, b, "q", "n").Release(bg, time.Minute))
			pass(time.Hour)
		}
		for _, bad := range []time.Duration{-1, workqueue.MaxDelay + 1} {
			require.ErrorIs(t, get(t, b, "q", "m").Release(bg, bad), pebblemq.ErrInvalid)
			break
		}
	})
}

// A handler that snoozes does so as often as it likes, and one that fails is a dead letter
// with its last error.
func TestAHandlerSaysWhatBecomesOfItsMessage(t *testing.T) {
	for name, key := range map[string]func(*workqueue.Delivery) string{"without keys": nil, "by key": byType} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declareWith(t, b, workqueue.QueueConfig{DeliveryLimit: 3})
				publish(t, b, "q", "snoozes", "fails", "is fine")
				calls := map[string]int{}
				runFor(t, b, 100*time.Hour, &workqueue.RunOptions{Key: key}, func(_ context.Context, d *workqueue.Delivery) error {
					body := string(d.Body)
					switch calls[body]++; body {
					case "snoozes":
						if calls[body] < 50 {
							return pebblemq.Release(time.Hour)
						}
					case "fails":
						return fmt.Errorf("failure %d", calls[body])
					}
					return nil
				})
				require.Equal(t, map[string]int{"snoozes": 50, "fails": 3, "is fine": 1}, calls)
				d := get(t, b, "q.dead", "fails")
				require.Equal(t, "failure 3", d.Deaths[0].Error)
				require.Equal(t, 1, d.Deaths[0].Count)
				require.Equal(t, d.Deaths[0].Time, d.Deaths[0].Latest)
				require.Zero(t, unacked(t, b, "q"))
			})
		})
	}
}

func TestAHandlerStopsRun(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "m")
	enough := errors.New("enough")
	require.ErrorIs(t, queueOf(t, b, "q").Run(bg, func(context.Context, *workqueue.Delivery) error { return pebblemq.Stop(enough) }, nil), enough)
	require.Equal(t, 1, get(t, b, "q", "m").DeliveryCount, "which is not counted")
}

func TestRunBatchSettlesEachMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{DeliveryLimit: 2})
		publish(t, b, "q", "fine", "fails", "released", "rejected")
		ctx, stop := context.WithTimeout(bg, time.Minute)
		defer stop()
		var sizes []int
		released := false
		require.NoError(t, queueOf(t, b, "q").RunBatch(ctx, func(_ context.Context, batch []*workqueue.Delivery) error {
			sizes = append(sizes, len(batch))
			errs := make(pebblemq.BatchError, len(batch))
			for i, d := range batch {
				switch body := string(d.Body); {
				case body == "fails":
					errs[i] = errors.New("no")
				case body == "rejected":
					errs[i] = pebblemq.Reject(errors.New("never"))
				case body == "released" && !released:
					released = true
					errs[i] = pebblemq.Release(time.Second)
				}
			}
			return errs
		}, &workqueue.RunOptions{BatchSize: 4}))
		require.Equal(t, 4, sizes[0])
		require.ElementsMatch(t, []string{"fails", "rejected"}, in(t, b, "q.dead"))
		require.Zero(t, unacked(t, b, "q")+ready(t, b, "q"))
	})
}

func TestBadRunOptionsAreRefused(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	for name, o := range map[string]workqueue.RunOptions{
		"attempts": {MaxAttempts: -2}, "timeout": {Timeout: -1}, "backoff": {Backoff: pebblemq.Backoff{Min: -1}}, "prefetch": {Prefetch: -2},
		"concurrency": {Concurrency: pebblemq.MaxConcurrency + 1}, "drain": {DrainTimeout: -2}, "rate": {Rate: pebblemq.Rate{PerSecond: -1}},
		"burst of no rate": {Rate: pebblemq.Rate{Burst: 2}}, "rate of no key": {Rate: pebblemq.Rate{PerSecond: 1, PerKey: true}},
		"batch": {BatchSize: 2}, "no middleware": {Middleware: []workqueue.Middleware{nil}},
	} {
		require.ErrorIs(t, queueOf(t, b, "q").Run(bg, nop, &o), pebblemq.ErrInvalid, name)
	}
}
