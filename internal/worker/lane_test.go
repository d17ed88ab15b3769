package worker_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/worker"
)

func TestKeysAreHandledInOrderAndBesideOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keys, each = 20, 10
		var messages []message
		for n := range each {
			for k := range keys {
				messages = append(messages, message(fmt.Sprintf("k%d/%d", k, n)))
			}
		}
		f, w := newFake(messages...), newWatched()
		begin, last := time.Now(), time.Duration(0)
		o := options(newKernel(), func(_ context.Context, m message) error {
			n, leave := w.enter(m)
			defer leave()
			<-time.After(time.Second)
			w.mu.Lock()
			last = time.Since(begin)
			w.mu.Unlock()
			if n == 1 && ids([]message{m})[0] == 3 {
				return errBad
			}
			return nil
		}, func(o *worker.Options[message]) { o.Concurrency, o.Key, o.InPlace = 10, keyOf, true })
		require.NoError(t, runFor(time.Hour, o, f))
		require.False(t, w.double.Load())
		require.Equal(t, 10, w.most)
		require.Equal(t, 22*time.Second, last.Round(time.Second), "nothing waits for another key")
		for k := range keys {
			require.Equal(t, []int{0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9}, ids(w.seen(fmt.Sprint("k", k))))
		}
	})
}

func TestOneWorkerWithoutKeysKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var messages []message
		for i := range 100 {
			messages = append(messages, message(fmt.Sprintf("k/%d", i)))
		}
		f, w := newFake(messages...), newWatched()
		o := options(newKernel(), func(_ context.Context, m message) error {
			_, leave := w.enter(m)
			defer leave()
			return nil
		}, func(o *worker.Options[message]) { o.InFlight = 10 })
		require.NoError(t, runFor(time.Hour, o, f))
		require.Equal(t, messages, w.seen(""))
	})
}

func TestAKeyFunctionThatFailsIsAFailedAttempt(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("oh") }, "Goexit": runtime.Goexit} {
		for _, inPlace := range []bool{false, true} {
			t.Run(fmt.Sprint(name, inPlace), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, k := newFake("a/1", "b/2"), newKernel()
					o := options(k, func(context.Context, message) error { return nil }, func(o *worker.Options[message]) {
						o.MaxAttempts, o.InPlace = 3, inPlace
						o.Key = func(m message) string {
							if m == "a/1" {
								fail()
							}
							return keyOf(m)
						}
					})
					require.NoError(t, runFor(time.Hour, o, f))
					require.Equal(t, worker.Dead, f.last("a/1").Verdict)
					require.ErrorContains(t, f.last("a/1").Err, "Key function")
					require.Equal(t, 3, f.last("a/1").Attempts)
					require.Equal(t, done, f.verdicts("b/2"))
					require.Equal(t, 3, k.lines("WARN"))
				})
			})
		}
	}
}

func TestNotBeforeIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &later{fake: newFake("a/1", "a/2")}
		begin := time.Now()
		var at []time.Duration
		o := options(newKernel(), func(context.Context, message) error {
			at = append(at, time.Since(begin))
			return nil
		}, func(o *worker.Options[message]) { o.Key, o.InPlace = keyOf, true })
		ctx, stop := context.WithTimeout(context.Background(), 90*time.Minute)
		defer stop()
		require.NoError(t, worker.Run(ctx, o, worker.Source[message](f)))
		require.Equal(t, []time.Duration{time.Hour}, at)
		require.Equal(t, worker.Outcome{Verdict: worker.Release, Delay: 30 * time.Minute}, f.last("a/2"))
	})
}

// later is a source whose n-th message is due after n hours.
type later struct{ *fake }

func (l *later) Fetch(ctx context.Context, n int) ([]worker.Item[message], error) {
	items, err := l.fake.Fetch(ctx, n)
	for i := range items {
		items[i].NotBefore = time.Now().Add(time.Duration(ids([]message{items[i].Message})[0]) * time.Hour)
	}
	return items, err
}
