package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/worker"
)

var errBad = errors.New("bad")

// dead is what becomes of a message that fails each of its three attempts.
var (
	done     = []worker.Verdict{worker.Done}
	dead     = []worker.Verdict{worker.Retry, worker.Retry, worker.Dead}
	atOnce   = []worker.Verdict{worker.Dead}
	snoozed  = []worker.Verdict{worker.Release, worker.Release, worker.Done}
	recovers = []worker.Verdict{worker.Retry, worker.Done}
)

// endings are the ways in which a handler can end. The n-th call of each message ends so.
var endings = map[string]struct {
	handler func(ctx context.Context, n int) error
	want    []worker.Verdict
	text    string // of the last error
}{
	"nil":                   {func(context.Context, int) error { return nil }, done, ""},
	"error":                 {func(context.Context, int) error { return errBad }, dead, "bad"},
	"error once":            {func(_ context.Context, n int) error { return []error{errBad, nil}[n-1] }, recovers, ""},
	"panic":                 {func(context.Context, int) error { panic("oh") }, dead, "handler panicked: oh"},
	"panic of the runtime":  {func(_ context.Context, n int) error { return []error{}[n] }, dead, "out of range"},
	"panic with nil":        {func(context.Context, int) error { panic(nil) }, dead, "handler panicked"},
	"Goexit":                {func(context.Context, int) error { runtime.Goexit(); return nil }, dead, "runtime.Goexit"},
	"Goexit in a panic":     {func(context.Context, int) error { defer runtime.Goexit(); panic("oh") }, dead, "runtime.Goexit"},
	"Timeout":               {func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }, dead, "longer than its Timeout: context deadline"},
	"Timeout, and done":     {func(ctx context.Context, _ int) error { <-ctx.Done(); return nil }, done, ""},
	"never":                 {func(context.Context, int) error { <-time.After(24 * time.Hour); return nil }, dead, "has not returned"},
	"Reject":                {func(context.Context, int) error { return fmt.Errorf("no: %w", worker.RejectWith(errBad)) }, atOnce, "no: bad"},
	"Reject after its time": {func(ctx context.Context, _ int) error { <-ctx.Done(); return worker.RejectWith(errBad) }, atOnce, "bad"},
	"Release": {func(_ context.Context, n int) error {
		return []error{worker.ReleaseAfter(0), worker.ReleaseAfter(time.Hour), nil}[n-1]
	}, snoozed, ""},
	"left":                        {func(context.Context, int) error { return worker.ErrLeave }, nil, ""},
	"a context of another's end":  {func(context.Context, int) error { return context.Canceled }, dead, "context canceled"},
	"an error that is not itself": {func(context.Context, int) error { var e *odd; return e }, dead, "odd"},
	"an error without a text":     {func(context.Context, int) error { var e *fs.PathError; return e }, dead, "handler panicked"},
	"an error that cannot unwrap": {func(context.Context, int) error { var e *hollow; return e }, dead, "handler panicked"},
}

type odd struct{}

func (*odd) Error() string { return "odd" }

// hollow is an error whose nil pointer has a text, but panics in Unwrap.
type hollow struct{ err error }

func (*hollow) Error() string   { return "hollow" }
func (e *hollow) Unwrap() error { return e.err }

func TestEveryWayInWhichAHandlerCanEndIsAnOutcome(t *testing.T) {
	for name, e := range endings {
		for _, concurrency := range []int{1, 8} {
			for _, keyed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %d at a time, keys %v", name, concurrency, keyed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testEnding(t, e.handler, e.want, e.text, concurrency, keyed) })
				})
			}
		}
	}
}

func testEnding(t *testing.T, handler func(context.Context, int) error, want []worker.Verdict, text string, concurrency int, keyed bool) {
	var messages []message
	for i := range 12 {
		messages = append(messages, message(fmt.Sprintf("k%d/%d", i%3, i)))
	}
	f, w, k := newFake(messages...), newWatched(), newKernel()
	o := options(k, func(ctx context.Context, m message) error {
		n, leave := w.enter(m)
		defer leave()
		return handler(ctx, n)
	}, func(o *worker.Options[message]) {
		o.Concurrency, o.MaxAttempts, o.Timeout = concurrency, 3, time.Minute
		if keyed {
			o.Key, o.InPlace = keyOf, true
		}
	})
	begin := time.Now()
	err := runFor(10*time.Hour, o, f)
	require.Equal(t, 10*time.Hour, time.Since(begin), "Run ends with its context")
	require.Zero(t, f.held())
	abandoned := text == "has not returned"
	require.Equal(t, abandoned, errors.Is(err, worker.ErrAbandoned), "%v", err)
	if !abandoned {
		require.NoError(t, err)
		require.LessOrEqual(t, w.most, concurrency)
		require.False(t, keyed && w.double.Load(), "two of a key at once")
	}
	calls, failures := max(len(want), 1), 0
	for _, v := range want {
		if v == worker.Retry || v == worker.Dead {
			failures++
		}
	}
	if keyed && len(want) > 0 {
		want = want[len(want)-1:] // the rest happens in place
	}
	for _, m := range messages {
		require.Equal(t, calls, w.count(m), m)
		require.Equal(t, calls, f.begun[m], m)
		require.Equal(t, want, f.verdicts(m), m)
		if text != "" {
			require.ErrorContains(t, f.last(m).Err, text)
		}
	}
	require.Equal(t, failures*len(messages), k.lines("level=WARN msg=\"handler failed"), "one line for each failure")
	require.Equal(t, failures*len(messages), k.lines("queue=fake id=k"))
	if keyed && !abandoned {
		for _, key := range []string{"k0", "k1", "k2"} {
			require.IsNonDecreasing(t, ids(w.seen(key)), "order by key is kept")
		}
	}
	<-time.After(24 * time.Hour) // for the abandoned
}

// ids returns the numbers of messages.
func ids(messages []message) (list []int) {
	for _, m := range messages {
		var n int
		_, _ = fmt.Sscanf(string(m[len(keyOf(m))+1:]), "%d", &n)
		list = append(list, n)
	}
	return list
}

func TestStopEndsRunWithItsError(t *testing.T) {
	for _, concurrency := range []int{1, 8} {
		for _, keyed := range []bool{false, true} {
			for name, stop := range map[string]error{"an error": errBad, "nil": nil} {
				t.Run(fmt.Sprintf("%s, %d at a time, keys %v", name, concurrency, keyed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f, finished := newFake("a/1", "a/2", "b/3", "c/4"), atomic.Int64{}
						o := options(newKernel(), func(_ context.Context, m message) error {
							if m == "a/1" {
								return worker.StopWith(stop)
							}
							<-time.After(time.Second)
							finished.Add(1)
							return nil
						}, func(o *worker.Options[message]) {
							if o.Concurrency = concurrency; keyed {
								o.Key, o.InPlace = keyOf, true
							}
						})
						err := worker.Run(context.Background(), o, worker.Source[message](f))
						require.Error(t, err)
						if stop != nil {
							require.Equal(t, stop, err)
						}
						require.Zero(t, f.held())
						require.Equal(t, worker.Release, f.last("a/1").Verdict, "it does not count")
						total := 0
						for _, m := range []message{"a/1", "a/2", "b/3", "c/4"} {
							if v := f.verdicts(m); len(v) > 0 && v[0] == worker.Done {
								total++
							}
						}
						require.EqualValues(t, finished.Load(), total, "what had begun is finished")
					})
				})
			}
		}
	}
}
