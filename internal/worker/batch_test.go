package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/worker"
)

type each []error

func (e each) Error() string { return fmt.Sprint(len(e), " errors") }
func (e each) Each() []error { return e }

func batches(k *kernel, h worker.BatchHandler[message], change func(*worker.Options[message])) worker.Options[message] {
	return options(k, nil, func(o *worker.Options[message]) {
		o.Batch, o.MaxAttempts = h, 3
		if change != nil {
			change(o)
		}
	})
}

func TestABatchHasWhatIsThereAndKeepsTheOrderOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1", "b/2", "a/3", "a/4", "b/5")
		var got [][]message
		o := batches(newKernel(), func(_ context.Context, batch []message) error {
			got = append(got, batch)
			return nil
		}, func(o *worker.Options[message]) { o.BatchSize, o.Key, o.InPlace = 4, keyOf, true })
		require.NoError(t, runFor(time.Hour, o, f))
		require.Len(t, got, 2)
		require.Len(t, got[0], 4)
		order := map[string][]int{}
		for _, m := range append(got[0], got[1]...) {
			order[keyOf(m)] = append(order[keyOf(m)], ids([]message{m})...)
		}
		require.Equal(t, map[string][]int{"a": {1, 3, 4}, "b": {2, 5}}, order)
	})
}

func TestABatchWaitsForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1")
		begin := time.Now()
		var sizes []int
		var at []time.Duration
		o := batches(newKernel(), func(_ context.Context, batch []message) error {
			sizes, at = append(sizes, len(batch)), append(at, time.Since(begin))
			return nil
		}, func(o *worker.Options[message]) { o.BatchSize, o.BatchWait = 3, time.Minute })
		for i := range 3 {
			time.AfterFunc(time.Duration(i+1)*20*time.Second, func() { f.put(message(fmt.Sprintf("b/%d", i))) })
		}
		require.NoError(t, runFor(time.Hour, o, f))
		require.Equal(t, []int{3, 1}, sizes)
		require.Equal(t, []time.Duration{40 * time.Second, 2 * time.Minute}, at)
	})
}

func TestEveryWayInWhichABatchCanEnd(t *testing.T) {
	for name, c := range map[string]struct {
		h    func(ctx context.Context, batch []message) error
		good bool // for a/1
		bad  bool // for b/2
		text string
	}{
		"nil":              {func(context.Context, []message) error { return nil }, true, true, ""},
		"error":            {func(context.Context, []message) error { return errBad }, false, false, "bad"},
		"panic":            {func(context.Context, []message) error { panic("oh") }, false, false, "panicked"},
		"Goexit":           {func(context.Context, []message) error { runtime.Goexit(); return nil }, false, false, "Goexit"},
		"Timeout":          {func(ctx context.Context, _ []message) error { <-ctx.Done(); return ctx.Err() }, false, false, "Timeout"},
		"one of them":      {partly, true, false, "bad"},
		"too few":          {func(context.Context, []message) error { return each{} }, false, false, "has 0 errors for a batch of"},
		"rejected":         {func(context.Context, []message) error { return worker.RejectWith(errBad) }, false, false, "bad"},
		"wrapped, in each": {func(ctx context.Context, b []message) error { return fmt.Errorf("so: %w", partly(ctx, b)) }, true, false, "bad"},
	} {
		for _, keyed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, keyed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake("a/1", "b/2")
					o := batches(newKernel(), c.h, func(o *worker.Options[message]) {
						if o.Timeout = time.Minute; keyed {
							o.Key, o.InPlace = keyOf, true
						}
					})
					require.NoError(t, runFor(time.Hour, o, f))
					for m, good := range map[message]bool{"a/1": c.good, "b/2": c.bad} {
						if good {
							require.Equal(t, done, f.verdicts(m))
							continue
						}
						require.Equal(t, worker.Dead, f.last(m).Verdict)
						require.ErrorContains(t, f.last(m).Err, c.text)
					}
					require.Zero(t, f.held())
				})
			})
		}
	}
}

// partly fails for b/2 only.
func partly(_ context.Context, batch []message) error {
	errs := make(each, len(batch))
	for i, m := range batch {
		if m == "b/2" {
			errs[i] = errBad
		}
	}
	return errs
}

func TestABatchThatLosesAMessageIsGivenBackUncounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1", "b/2")
		calls := 0
		o := batches(newKernel(), func(ctx context.Context, batch []message) error {
			if calls++; calls == 1 {
				require.Len(t, batch, 2)
				f.lose("a/1", errBad)
				<-ctx.Done()
				require.Equal(t, errBad, context.Cause(ctx))
				return ctx.Err()
			}
			return nil
		}, nil)
		require.NoError(t, runFor(time.Hour, o, f))
		require.Empty(t, f.verdicts("a/1"))
		require.Equal(t, []worker.Verdict{worker.Release, worker.Done}, f.verdicts("b/2"))
	})
}

func TestABatchThatFailsIsHandledAgainBeforeTheRestOfItsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1", "a/2", "a/3")
		var got [][]int
		o := batches(newKernel(), func(_ context.Context, batch []message) error {
			if got = append(got, ids(batch)); len(got) == 1 {
				return errBad
			}
			return nil
		}, func(o *worker.Options[message]) { o.BatchSize, o.Key, o.InPlace = 2, keyOf, true })
		require.NoError(t, runFor(time.Hour, o, f))
		var order []int
		for _, batch := range got {
			order = append(order, batch...)
		}
		require.Equal(t, []int{1, 2, 1, 2, 3}, order)
	})
}

func TestStopInABatchEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1", "b/2")
		o := batches(newKernel(), func(_ context.Context, batch []message) error {
			errs := make(each, len(batch))
			errs[0] = worker.StopWith(errBad)
			return errs
		}, nil)
		require.ErrorIs(t, worker.Run(context.Background(), o, worker.Source[message](f)), errBad)
		require.False(t, errors.Is(f.last("a/1").Err, errBad))
	})
}

func TestABatchErrorWithAnErrorThatPanicsIsAFailedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, k := newFake("a/1", "b/2"), newKernel()
		o := batches(k, func(context.Context, []message) error {
			return each{nil, (*fs.PathError)(nil)}
		}, func(o *worker.Options[message]) { o.BatchSize = 2 })
		require.NoError(t, runFor(time.Hour, o, f))
		for _, m := range []message{"a/1", "b/2"} {
			require.Equal(t, dead, f.verdicts(m))
			require.ErrorContains(t, f.last(m).Err, "handler panicked")
		}
	})
}
