package workqueue_test

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// exit ends the goroutine of a handler, as a failed require does.
func exit(context.Context, *workqueue.Delivery) error {
	runtime.Goexit()
	return nil
}

func TestAHandlerThatExitsItsGoroutineHasFailed(t *testing.T) {
	for name, o := range map[string]*workqueue.RunOptions{
		"alone":         nil,
		"together":      {Concurrency: 3},
		"by key":        {Key: byType},
		"by batch rate": {Rate: pebblemq.Rate{PerSecond: 1000}},
		"drained":       {DrainTimeout: time.Second},
		"with a limit":  {Timeout: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declare(t, b, "dead")
				declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, DeliveryLimit: 3})
				publishTyped(t, b, "k", "1", "2", "3", "4")
				begin := time.Now()
				runFor(t, b, time.Minute, o, exit)
				require.Equal(t, time.Minute, time.Since(begin), "Run ends with its context")
				require.Equal(t, 4, ready(t, b, "dead"))
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.Zero(t, st, "nothing is held")
			})
		})
	}
}

func TestAKeyIsFreeAfterItsHandlerHasExited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publishTyped(t, b, "k", "1", "2", "3")
		var done []string
		exited := map[string]bool{}
		runFor(t, b, time.Hour, &workqueue.RunOptions{Key: byType, Concurrency: 2}, func(ctx context.Context, d *workqueue.Delivery) error {
			if body := string(d.Body); !exited[body] {
				exited[body] = true
				return exit(ctx, d)
			}
			done = append(done, string(d.Body))
			return nil
		})
		slices.Sort(done)
		require.Equal(t, []string{"k/1", "k/2", "k/3"}, done)
	})
}

func TestAKeyFunctionThatExitsFailsTheDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "dead")
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, DeliveryLimit: 2})
		publish(t, b, "q", "bad")
		runFor(t, b, time.Hour, &workqueue.RunOptions{Key: func(*workqueue.Delivery) string {
			runtime.Goexit()
			return ""
		}}, nop)
		require.Equal(t, []string{"bad"}, in(t, b, "dead"))
	})
}

func TestARedriveWhoseFilterFailsLeavesNothingBehind(t *testing.T) {
	for name, fail := range map[string]func(){"exits": runtime.Goexit, "panics": func() { panic("oh") }} {
		o := &workqueue.RedriveOptions{Filter: func(*workqueue.Browsed) bool { fail(); return true }}
		t.Run(name, func(t *testing.T) {
			db, err := pebblemq.OpenMemory(nil)
			require.NoError(t, err)
			b := openBroker(t, db)
			dying(t, b, "q")
			bury(t, b, "q", "a", "b")
			info, err := waited(queueOf(t, b, "dead").Redrive(bg, o))
			require.NoError(t, err)
			require.Equal(t, workqueue.RedriveFailed, info.State)
			require.Contains(t, info.Reason, "filter")
			counted(t, redrive(t, b, nil), 2, 0, 0)
			require.NoError(t, db.Close())
		})
	}
}

func TestAProgressFunctionThatFailsIsLoggedAndTheCallGoesOn(t *testing.T) {
	for name, fail := range map[string]func(){"panics": func() { panic("oh") }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			_, b := open(t)
			declare(t, b, "work")
			defer serve(t, b, "work", func(ctx context.Context, d *workqueue.Delivery) error {
				if err := d.Report(ctx, workqueue.Message{}); err != nil {
					return err
				}
				return d.Reply(ctx, workqueue.Message{Body: []byte("done")})
			})()
			c := newCaller(t, b)
			for range 2 {
				reply, err := c.Call(bg, "", "work", workqueue.Message{}, &workqueue.CallOptions{Progress: func(*workqueue.Delivery) { fail() }})
				require.NoError(t, err)
				require.Equal(t, "done", string(reply.Body))
			}
			require.NoError(t, c.Close())
		})
	}
}

func TestAScheduleThatFailsHarmsNothingElse(t *testing.T) {
	for name, fail := range map[string]func(){"panics": func() { panic("oh") }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := openBroker(t, storetest.Open(t, nil))
				declare(t, b, "in", "copy")
				require.ErrorIs(t, b.PutJob(bg, scheduled(unnamed(fail))), pebblemq.ErrInvalid)
				bad := schedule{"bad", func(time.Time) time.Time { fail(); return time.Time{} }}
				require.ErrorContains(t, b.PutJob(bg, scheduled(bad)), "Schedule")
				calls := 0
				require.NoError(t, b.PutJob(bg, scheduled(schedule{"later bad", func(at time.Time) time.Time {
					if calls++; calls > 1 {
						fail()
					}
					return at.Add(time.Hour)
				}})))
				<-time.After(24 * time.Hour)
				require.Zero(t, readyIn(t, b, "in"), "it is over")
				publish(t, b, "in", "the store is in order")
			})
		})
	}
}

// unnamed is a schedule whose text cannot be had.
type unnamed func()

func (f unnamed) String() string              { f(); return "" }
func (f unnamed) Next(at time.Time) time.Time { return at.Add(time.Hour) }
