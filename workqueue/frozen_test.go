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

// The disk freezes while a handler runs. Run ends with its context and the grace, and
// says so if the outcome of a delivery is unknown.
func TestRunEndsWithItsContextOnAFrozenDisk(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		durability pebblemq.Durability
		failure    error
		noRoom     bool
		o          workqueue.RunOptions
		ends       time.Duration
		err        error
	}{
		"an acknowledgement":       {durability: pebblemq.Sync, ends: 3 * time.Second, err: pebblemq.ErrUnknownOutcome},
		"one that is not synced":   {ends: 2 * time.Second},
		"one that has no room":     {noRoom: true, ends: 3 * time.Second},
		"a failure":                {durability: pebblemq.Sync, failure: no, ends: 3 * time.Second, err: pebblemq.ErrUnknownOutcome},
		"a failure, and no room":   {failure: no, noRoom: true, ends: 3 * time.Second},
		"a rejection":              {durability: pebblemq.Sync, failure: pebblemq.Reject(no), ends: 3 * time.Second, err: pebblemq.ErrUnknownOutcome},
		"a rejection, and no room": {failure: pebblemq.Reject(no), noRoom: true, ends: 3 * time.Second},
		"by key, and no room":      {noRoom: true, o: workqueue.RunOptions{Key: byType, Concurrency: 2}, ends: 3 * time.Second},
		"another attempt, no room": {failure: no, noRoom: true, o: workqueue.RunOptions{Key: func(*workqueue.Delivery) string { return "k" }, Backoff: pebblemq.Backoff{Min: time.Second}}, ends: 3 * time.Second},
		"an interval, no room":     {noRoom: true, o: workqueue.RunOptions{Rate: pebblemq.Rate{PerSecond: 1.0 / 3600}, Concurrency: 2}, ends: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cold := storetest.OpenCold(t, "")
				b := openBroker(t, cold.DB)
				dying(t, b, "q")
				publishTyped(t, b, "k", "1", "2")
				ctx, stop := context.WithTimeout(pebblemq.WithDurability(bg, c.durability), storetest.Patience)
				defer stop()
				var begin time.Time
				calls := 0
				err := queueOf(t, b, "q").Run(ctx, func(context.Context, *workqueue.Delivery) error {
					if calls++; calls > 1 {
						return c.failure
					}
					cold.Freeze()
					if c.noRoom {
						cold.Fill(t)
					}
					begin = time.Now()
					return c.failure
				}, &c.o)
				require.Equal(t, c.ends, time.Since(begin).Round(time.Second))
				if c.err == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, c.err)
				}
				cold.Thaw()
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.Zero(t, st.Unacked, "nothing is held")
				require.Zero(t, st.Consumers)
				storetest.Close(t, cold.DB)
			})
		})
	}
}

// A call gives back the messages and consumers that it holds when its context ends.
func TestACallThatEndsOnAFrozenDiskLeavesNothingBehind(t *testing.T) {
	for name, noRoom := range map[string]bool{"frozen": false, "frozen, and no room": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cold := storetest.OpenCold(t, "")
				b := openBroker(t, cold.DB)
				declare(t, b, "q")
				publish(t, b, "q", "m")
				ctx, stop := context.WithTimeout(pebblemq.WithDurability(bg, pebblemq.Sync), storetest.Patience)
				defer stop()
				cold.Freeze()
				under := b.PublishAsync(bg, "", "q", workqueue.Message{})
				var ended [3]error
				var calls [3]chan error
				for i, call := range []func() error{
					func() error { _, err := queueOf(t, b, "q").Consume(ctx, nil); return err },
					func() error { _, _, err := queueOf(t, b, "q").Get(ctx); return err },
					func() error { _, err := b.NewCaller(ctx); return err },
				} {
					calls[i] = make(chan error, 1)
					go func() { calls[i] <- call() }()
				}
				synctest.Wait()
				if noRoom {
					cold.Fill(t)
				}
				for i, c := range calls {
					ended[i] = <-c
					require.ErrorIs(t, ended[i], context.DeadlineExceeded)
				}
				cold.Thaw()
				<-under.Done()
				require.Equal(t, []string{"q"}, queues(t, b))
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.Zero(t, st.Consumers)
				require.Zero(t, st.Unacked)
				require.Equal(t, 2, int(st.Ready))
				storetest.Close(t, cold.DB)
			})
		})
	}
}
