package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

func TestADrainLetsHandlersFinishAndGivesTheRestBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1", "a/2", "b/3")
		o := options(newKernel(), func(ctx context.Context, _ message) error {
			<-time.After(20 * time.Second)
			return ctx.Err()
		}, func(o *worker.Options[message]) { o.Key, o.InPlace = keyOf, true })
		begin := time.Now()
		require.NoError(t, runFor(time.Second, o, f))
		require.Equal(t, 20*time.Second, time.Since(begin))
		require.Equal(t, done, f.verdicts("a/1"))
		for _, m := range []message{"a/2", "b/3"} {
			require.Equal(t, []worker.Verdict{worker.Release}, f.verdicts(m), "it was not handled, and does not count")
			require.Zero(t, f.begun[m])
		}
	})
}

func TestADrainEndsWithItsTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		set, want time.Duration
	}{"by default": {0, 30 * time.Second}, "set": {time.Minute, time.Minute}, "unlimited": {worker.Unlimited, 2 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake("a/1")
				var cause error
				o := options(newKernel(), func(ctx context.Context, _ message) error {
					select {
					case <-ctx.Done():
					case <-time.After(2 * time.Hour):
					}
					cause = context.Cause(ctx)
					return ctx.Err()
				}, func(o *worker.Options[message]) { o.DrainTimeout = c.set })
				begin := time.Now()
				require.NoError(t, runFor(0, o, f))
				if len(f.begun) == 0 { // Run had ended before the fetch
					return
				}
				require.Equal(t, c.want, time.Since(begin))
				if c.set == worker.Unlimited {
					require.NoError(t, cause)
					require.Equal(t, done, f.verdicts("a/1"))
					return
				}
				require.ErrorIs(t, cause, worker.ErrDrainTimeout)
				require.Equal(t, []worker.Verdict{worker.Release}, f.verdicts("a/1"), "that is not the message's fault")
			})
		})
	}
}

func TestRunReturnsWithoutHandlersThatDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1", "b/2")
		ctx, stop := context.WithCancel(context.Background())
		o := options(newKernel(), func(context.Context, message) error {
			stop()
			<-time.After(time.Hour)
			return nil
		}, func(o *worker.Options[message]) { o.Concurrency = 2 })
		begin := time.Now()
		err := worker.Run(ctx, o, worker.Source[message](f))
		require.ErrorIs(t, err, worker.ErrAbandoned)
		require.ErrorContains(t, err, `queue "fake"`)
		require.Equal(t, worker.DefaultDrainTimeout+worker.Grace, time.Since(begin))
		require.Zero(t, f.held())
		<-time.After(time.Hour)
	})
}

func TestWhatFailedInPlaceCountsWhenRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake("a/1", "a/2")
		o := options(newKernel(), func(context.Context, message) error { return errBad }, func(o *worker.Options[message]) {
			o.Key, o.InPlace = keyOf, true
			o.Backoff = func(int) time.Duration { return time.Hour }
		})
		require.NoError(t, runFor(90*time.Minute, o, f))
		require.Equal(t, worker.Outcome{Verdict: worker.Retry, Delay: 30 * time.Minute, Attempts: 2, Err: errBad}, f.last("a/1"))
		require.Equal(t, worker.Outcome{Verdict: worker.Release}, f.last("a/2"))
	})
}

func TestRunEndsWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, k := newFake("a/1"), newKernel()
		var cause error
		o := options(k, func(ctx context.Context, _ message) error {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil
		}, nil)
		ended := make(chan error)
		go func() { ended <- worker.Run(context.Background(), o, worker.Source[message](f)) }()
		synctest.Wait()
		close(k.down)
		require.ErrorIs(t, <-ended, store.ErrClosed)
		require.ErrorIs(t, cause, store.ErrClosed)
	})
}

func TestTheContextOfAHandlerEndsWhenItsMessageIsLost(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f, k := newFake("a/1", "a/2"), newKernel()
			var causes []error
			o := options(k, func(ctx context.Context, m message) error {
				if m == "a/1" {
					f.lose(m, errBad)
				}
				<-time.After(time.Second)
				causes = append(causes, context.Cause(ctx))
				return ctx.Err()
			}, func(o *worker.Options[message]) {
				if o.InPlace = inPlace; inPlace {
					o.Key = keyOf
				}
			})
			require.NoError(t, runFor(time.Minute, o, f))
			require.Equal(t, []error{errBad, nil}, causes)
			require.Empty(t, f.verdicts("a/1"), "others have it")
			require.Equal(t, done, f.verdicts("a/2"))
			require.Zero(t, k.lines("WARN"))
		})
	}
}

func TestAMessageThatIsLostBeforeItsCallIsNotHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := newFake("a/1", "a/2"), newWatched()
		o := options(newKernel(), func(_ context.Context, m message) error {
			_, leave := w.enter(m)
			defer leave()
			synctest.Wait() // until the other one is held
			f.lose("a/2", errBad)
			return nil
		}, func(o *worker.Options[message]) { o.Key = keyOf })
		require.NoError(t, runFor(time.Minute, o, f))
		require.Equal(t, []message{"a/1"}, w.seen(""))
		require.Empty(t, f.verdicts("a/2"))
	})
}

func TestHandlersHaveTheValuesOfTheContextOfRun(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
		var got any
		o := options(newKernel(), func(ctx context.Context, _ message) error {
			stop()
			got = ctx.Value(key{})
			return ctx.Err()
		}, nil)
		f := newFake("a/1")
		require.NoError(t, worker.Run(ctx, o, worker.Source[message](f)))
		require.Equal(t, "value", got)
		require.Equal(t, done, f.verdicts("a/1"))
	})
}
