package visibility_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

// running starts Run and returns a function that cancels and waits for it.
func running(q *visibility.Queue, h visibility.Handler, o *visibility.RunOptions) (stop func() error) {
	c, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- q.Run(c, h, o) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestRunHandlesEachMessageOnce(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		var mu sync.Mutex
		seen := map[string]int{}
		stop := running(q, func(_ context.Context, m *visibility.Received) error {
			mu.Lock()
			defer mu.Unlock()
			seen[string(m.Body)]++
			return nil
		}, &visibility.RunOptions{Concurrency: 4})
		for i := range 100 {
			send(t, q, fmt.Sprint(i))
		}
		synctest.Wait()
		require.NoError(t, stop())
		require.Len(t, seen, 100)
		require.Zero(t, stats(t, q))
	})
}

func TestRunKeepsALongHandlersMessage(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		var calls atomic.Int64
		stop := running(q, func(ctx context.Context, _ *visibility.Received) error {
			calls.Add(1)
			<-time.After(time.Hour)
			return ctx.Err()
		}, &visibility.RunOptions{Concurrency: 2, DrainTimeout: pebblemq.Unlimited})
		<-time.After(time.Minute)
		require.NoError(t, stop(), "waits for the handler")
		require.EqualValues(t, 1, calls.Load())
		require.Zero(t, stats(t, q))
	})
}

// The clock of a store need not be that of the process.
func TestRunKeepsALongHandlersMessageByTheClockOfTheStore(t *testing.T) {
	for _, ahead := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			clock := func() time.Time { return time.Now().Add(ahead) }
			q := open(t, storetest.Open(t, &pebblemq.Options{Clock: clock}), "q", &visibility.QueueConfig{Retention: time.Hour})
			send(t, q, "x")
			var calls atomic.Int64
			stop := running(q, func(ctx context.Context, _ *visibility.Received) error {
				calls.Add(1)
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Minute):
				}
				return ctx.Err()
			}, &visibility.RunOptions{Concurrency: 2})
			<-time.After(11 * time.Minute)
			require.EqualValues(t, 1, calls.Load())
			require.NoError(t, stop())
			require.Zero(t, stats(t, q))
		})
	}
}

func TestAMessageWhoseHandlerFailsIsHiddenForTheBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 3, VisibilityTimeout: time.Millisecond * 50})
		send(t, q, "error", "panic", "fine")
		calls := map[string][]time.Duration{}
		start := time.Now()
		stop := running(q, func(_ context.Context, m *visibility.Received) error {
			body := string(m.Body)
			calls[body] = append(calls[body], time.Since(start))
			switch body {
			case "error":
				return errors.New("no")
			case "panic":
				panic("no")
			}
			return nil
		}, &visibility.RunOptions{Backoff: pebblemq.Backoff{Jitter: pebblemq.NoJitter}})
		got, err := dead.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
		require.NoError(t, err)
		require.Equal(t, []string{"error"}, bodies(got))
		synctest.Wait()
		require.Equal(t, []string{"panic"}, bodies(receive(t, dead, 10)))
		require.NoError(t, stop())
		third := 300 * time.Millisecond
		require.Equal(t, third, time.Since(start), "what was received for the last time waits no longer")
		failing := []time.Duration{0, 100 * time.Millisecond, third}
		require.Equal(t, map[string][]time.Duration{"error": failing, "panic": failing, "fine": {0}}, calls)
		require.Zero(t, stats(t, q))
	})
}

func TestTheBackoffEndsWithTheLongestVisibilityTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxVisibilityTimeout: time.Minute, VisibilityTimeout: time.Minute})
		send(t, q, "slow", "quick")
		var at []time.Duration
		start := time.Now()
		stop := running(q, func(_ context.Context, m *visibility.Received) error {
			at = append(at, time.Since(start))
			if m.ReceiveCount == 1 && string(m.Body) == "slow" {
				<-time.After(50 * time.Second)
			}
			return errors.New("no")
		}, &visibility.RunOptions{Backoff: pebblemq.Backoff{Min: time.Hour, Max: time.Hour}})
		pass(90 * time.Second)
		require.NoError(t, stop())
		require.Equal(t, []time.Duration{0, 50 * time.Second, time.Minute}, at)
	})
}

func TestRunLeavesASettledMessageAlone(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "delete", "release", "keep")
		count := map[string]int{}
		stop := running(q, func(hctx context.Context, m *visibility.Received) error {
			count[string(m.Body)]++
			switch string(m.Body) {
			case "delete":
				if err := q.Delete(ctx, m.Receipt); err != nil {
					return err
				}
				<-time.After(time.Hour)
				return hctx.Err()
			case "release":
				if m.ReceiveCount == 1 {
					return q.ChangeVisibility(ctx, m.Receipt, 0)
				}
			case "keep":
				if m.ReceiveCount == 1 {
					return visibility.ErrKeep
				}
			}
			return nil
		}, nil)
		<-time.After(2 * time.Hour)
		require.NoError(t, stop())
		require.Equal(t, map[string]int{"delete": 1, "release": 2, "keep": 2}, count)
		require.Zero(t, stats(t, q))
	})
}

func TestRunTellsAHandlerThatItsLeaseIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		cause := make(chan error, 1)
		start := time.Now()
		stop := running(q, func(ctx context.Context, m *visibility.Received) error {
			if m.ReceiveCount == 1 {
				<-ctx.Done()
				cause <- context.Cause(ctx)
			}
			return nil
		}, &visibility.RunOptions{VisibilityTimeout: time.Hour})
		require.ErrorIs(t, <-cause, visibility.ErrLeaseLost)
		require.InDelta(t, 12, time.Since(start).Hours(), 0.5)
		require.NoError(t, stop())
	})
}

func TestRunEndsWithTheStoreAndTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q, gone := open(t, db, "q", nil), open(t, db, "gone", nil)
		nop := func(context.Context, *visibility.Received) error { return nil }
		errs := make(chan error)
		for _, q := range []*visibility.Queue{gone, q} {
			go func() { errs <- q.Run(ctx, nop, &visibility.RunOptions{Concurrency: 3}) }()
		}
		synctest.Wait()
		require.NoError(t, deleteQueue(db, "gone"))
		require.ErrorIs(t, <-errs, visibility.ErrQueueDeleted)
		require.NoError(t, db.Close())
		require.ErrorIs(t, <-errs, pebblemq.ErrClosed)
	})
}

// fail has one message handled, with an error.
func fail(t *testing.T, q *visibility.Queue, failure error) {
	t.Helper()
	ctx, stop := context.WithCancel(ctx)
	require.NoError(t, q.Run(ctx, func(context.Context, *visibility.Received) error {
		stop()
		return failure
	}, nil))
}

func TestRunGoesOnWithTheTimeoutOfAQueueThatWasAltered(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		var leases []time.Duration
		stop := running(q, func(_ context.Context, m *visibility.Received) error {
			leases = append(leases, time.Until(m.VisibleAt))
			<-time.After(time.Minute)
			return nil
		}, nil)
		send(t, q, "a")
		synctest.Wait()
		alter(t, db, "q", visibility.QueueConfig{VisibilityTimeout: time.Second, MaxVisibilityTimeout: 2 * time.Minute})
		pass(time.Minute)
		send(t, q, "b", "c")
		pass(2 * time.Minute)
		require.NoError(t, stop())
		require.Equal(t, []time.Duration{30 * time.Second, time.Second, time.Second}, leases)
		require.Zero(t, stats(t, q))
	})
}

func TestRunUsesTheValuesAndTheDurabilityOfItsContext(t *testing.T) {
	type key struct{}
	for _, d := range []pebblemq.Durability{pebblemq.Sync, pebblemq.NoSync} {
		for name, outcome := range map[string]error{"done": nil, "failed": errors.New("no")} {
			t.Run(d.String()+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fs := storetest.NewFS(vfs.NewCrashableMem())
					db, err := storetest.OpenFS(fs, store.Options{SyncInterval: time.Minute})
					require.NoError(t, err)
					q := open(t, db, "q", nil)
					send(t, q, "x")
					synced := db.Stats().Syncs
					c := context.WithValue(pebblemq.WithDurability(ctx, d), key{}, "value")
					c, stop := context.WithCancel(c)
					var seen any
					require.NoError(t, q.Run(c, func(ctx context.Context, m *visibility.Received) error {
						seen = ctx.Value(key{})
						synced = db.Stats().Syncs
						stop()
						return outcome
					}, nil))
					require.Equal(t, "value", seen)
					require.Equal(t, d == pebblemq.Sync, db.Stats().Syncs > synced, "the message is settled with that durability")
					require.NoError(t, db.Close())
				})
			})
		}
	}
}

// A message belongs to its receiver, so Run does not depend on what its handler does to it.
func TestRunSettlesAMessageThatItsHandlerHasChanged(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "done", "bad")
		stop := running(q, func(_ context.Context, m *visibility.Received) error {
			bad := string(m.Body) == "bad"
			m.Body, m.ID, m.Receipt, m.ReceiveCount = nil, "", "", 0
			m.VisibleAt, m.ExpiresAt = time.Time{}, time.Time{}
			if bad {
				return pebblemq.Reject(errors.New("no"))
			}
			return nil
		}, nil)
		<-time.After(time.Minute)
		require.NoError(t, stop())
		require.Zero(t, stats(t, q))
		dead, err := visibility.LookupQueue(ctx, db, "q.dead")
		require.NoError(t, err)
		require.Equal(t, []string{"bad"}, bodies(receive(t, dead, 10)))
	})
}
