package worker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

func nop(context.Context, message) error { return nil }

func TestAnErrorOfAFetchEndsRunUnlessItPasses(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		ends bool
	}{
		"closed":       {store.ErrClosed, true},
		"failed":       {store.ErrFailed, true},
		"deleted":      {store.CaseOf(store.ErrDeleted, "queue was deleted"), true},
		"another":      {errBad, true},
		"unreadable":   {store.ErrUnreadable, false},
		"disk full":    {store.ErrDiskFull, false},
		"queue full":   {store.ErrFull, false},
		"both at once": {errors.Join(store.ErrDiskFull, store.ErrUnknownOutcome), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake("a/1")
				f.fetchErr = c.err
				err := runFor(time.Hour, options(newKernel(), nop, nil), f)
				if c.ends {
					require.ErrorIs(t, err, c.err)
					require.Empty(t, f.verdicts("a/1"))
					return
				}
				require.NoError(t, err)
				require.Equal(t, done, f.verdicts("a/1"))
			})
		})
	}
}

func TestAnOutcomeIsStoredAsSoonAsItCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, k := newFake("a/1", "a/2"), newKernel()
		f.settleErr = store.ErrDiskFull
		time.AfterFunc(time.Minute, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.settleErr = nil
		})
		require.NoError(t, runFor(time.Hour, options(k, nop, nil), f))
		require.Equal(t, done, f.verdicts("a/1"))
		require.Equal(t, done, f.verdicts("a/2"))
		require.Equal(t, k.lines("WARN"), k.lines(`msg="outcome of a handler is not stored" queue=fake id=a/1`))
	})
}

func TestRunEndsWhileAnOutcomeCannotBeStored(t *testing.T) {
	for name, c := range map[string]struct {
		err, want error
	}{
		"full":    {store.ErrDiskFull, nil},
		"lost":    {store.CaseOf(store.ErrLost, "receipt is stale"), nil},
		"unknown": {store.ErrUnknownOutcome, store.ErrUnknownOutcome},
		"deleted": {store.ErrDeleted, store.ErrDeleted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake("a/1")
				f.settleErr = c.err
				require.ErrorIs(t, runFor(time.Hour, options(newKernel(), nop, nil), f), c.want)
				require.Zero(t, f.held())
			})
		})
	}
}

func TestAnUnknownOutcomeIsReturnedAfterTheEndOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1")
		f.settleErr = store.ErrUnknownOutcome
		ctx, stop := context.WithCancel(context.Background())
		o := options(newKernel(), func(context.Context, message) error { stop(); return nil }, nil)
		require.ErrorIs(t, worker.Run(ctx, o, worker.Source[message](f)), store.ErrUnknownOutcome)
	})
}

func TestTheAttemptsOfAQueueCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1", "b/2")
		f.failed["a/1"], f.limit = 4, 5
		require.NoError(t, runFor(time.Hour, options(newKernel(), func(context.Context, message) error { return errBad }, nil), f))
		require.Equal(t, []worker.Verdict{worker.Dead}, f.verdicts("a/1"))
		require.Equal(t, 5, f.last("a/1").Attempts)
		require.Len(t, f.verdicts("b/2"), 5)
	})
}

func TestAttemptsAreTwentyOrUnlimited(t *testing.T) {
	for _, c := range []struct{ set, want int }{{0, 20}, {worker.Unlimited, 3600}} {
		synctest.Test(t, func(t *testing.T) {
			f, calls := newFake("a/1"), 0
			o := options(newKernel(), func(context.Context, message) error { calls++; return errBad }, func(o *worker.Options[message]) {
				o.MaxAttempts, o.Backoff = c.set, func(int) time.Duration { return time.Second }
			})
			require.NoError(t, runFor(time.Hour-time.Millisecond, o, f))
			require.Equal(t, c.want, calls)
		})
	}
}

func TestOnErrorHearsOfEachFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, k := newFake("a/1"), newKernel()
		var heard []string
		o := options(k, func(context.Context, message) error { return errBad }, func(o *worker.Options[message]) {
			o.MaxAttempts = 2
			o.OnError = func(_ context.Context, m message, err error) {
				heard = append(heard, fmt.Sprint(m, " ", err))
				panic("oh")
			}
		})
		require.NoError(t, runFor(time.Hour, o, f))
		require.Equal(t, []string{"a/1 bad", "a/1 bad"}, heard)
		require.Equal(t, worker.Dead, f.last("a/1").Verdict)
		require.Equal(t, 2, k.lines("OnError panicked"))
	})
}

func TestTheFirstMiddlewareIsOutermost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		around := func(name string) func(worker.Handler[message]) worker.Handler[message] {
			return func(next worker.Handler[message]) worker.Handler[message] {
				return func(ctx context.Context, m message) error {
					order = append(order, name)
					return next(ctx, m)
				}
			}
		}
		o := options(newKernel(), nop, func(o *worker.Options[message]) {
			o.Middleware = append(o.Middleware, around("outer"), around("inner"))
		})
		require.NoError(t, runFor(time.Hour, o, newFake("a/1")))
		require.Equal(t, []string{"outer", "inner"}, order)
	})
}

func TestBadOptionsAreRefused(t *testing.T) {
	none := func(worker.Handler[message]) worker.Handler[message] { return nil }
	many := func(context.Context, []message) error { return nil }
	for text, change := range map[string]func(*worker.Options[message]){
		`handler of queue "fake" is nil`: func(o *worker.Options[message]) { o.Handler = nil },
		"Concurrency -1":                 func(o *worker.Options[message]) { o.Concurrency = -1 },
		"Concurrency 4097 of":            func(o *worker.Options[message]) { o.Concurrency = worker.MaxConcurrency + 1 },
		"MaxAttempts -2 ":                func(o *worker.Options[message]) { o.MaxAttempts = -2 },
		"MaxAttempts 1000001 ":           func(o *worker.Options[message]) { o.MaxAttempts = worker.MaxAttempts + 1 },
		"Timeout -1ns":                   func(o *worker.Options[message]) { o.Timeout = -1 },
		"DrainTimeout -2ns":              func(o *worker.Options[message]) { o.DrainTimeout = -2 },
		"Burst or PerKey without":        func(o *worker.Options[message]) { o.Rate.Burst = 1 },
		"Rate.PerSecond -1":              func(o *worker.Options[message]) { o.Rate.PerSecond = -1 },
		"Rate.PerSecond 1e+07":           func(o *worker.Options[message]) { o.Rate.PerSecond = 1e7 },
		"Rate.Burst -1":                  func(o *worker.Options[message]) { o.Rate = worker.Rate{PerSecond: 1, Burst: -1} },
		"Rate.Burst 100001":              func(o *worker.Options[message]) { o.Rate = worker.Rate{PerSecond: 1, Burst: worker.MaxBurst + 1} },
		"needs a Key":                    func(o *worker.Options[message]) { o.Rate = worker.Rate{PerSecond: 1, PerKey: true} },
		"which have messages of several keys": func(o *worker.Options[message]) {
			o.Batch, o.Key, o.Rate = many, keyOf, worker.Rate{PerSecond: 1, PerKey: true}
		},
		"are for RunBatch":                      func(o *worker.Options[message]) { o.BatchSize = 2 },
		"BatchWait of queue \"fake\" are for":   func(o *worker.Options[message]) { o.BatchWait = 2 },
		"BatchSize 1001":                        func(o *worker.Options[message]) { o.Batch, o.BatchSize = many, worker.MaxBatchSize+1 },
		"BatchWait -1ns":                        func(o *worker.Options[message]) { o.Batch, o.BatchWait = many, -1 },
		"Middleware 0 of queue \"fake\" is nil": func(o *worker.Options[message]) { o.Middleware = append(o.Middleware, nil) },
		"returns no handler":                    func(o *worker.Options[message]) { o.Middleware = append(o.Middleware, none) },
		"wraps a handler of one message":        func(o *worker.Options[message]) { o.Batch, o.Middleware = many, append(o.Middleware, none) },
	} {
		o := worker.Options[message]{Store: newKernel(), Of: `queue "fake"`, Handler: nop, Backoff: second}
		change(&o)
		err := o.Normalize()
		require.ErrorIs(t, err, store.ErrInvalid, text)
		require.ErrorContains(t, err, text)
	}
}
