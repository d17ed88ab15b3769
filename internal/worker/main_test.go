package worker_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kernel is a store without a disk.
type kernel struct {
	out  *strings.Builder
	down chan struct{}
	mu   sync.Mutex
}

func newKernel() *kernel { return &kernel{out: &strings.Builder{}, down: make(chan struct{})} }

func (k *kernel) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.out.Write(b)
}

// lines returns how often the log has a text.
func (k *kernel) lines(text string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Count(k.out.String(), text)
}

func (k *kernel) Log() *slog.Logger     { return slog.New(slog.NewTextHandler(io.Writer(k), nil)) }
func (k *kernel) Now() time.Time        { return time.Now() }
func (k *kernel) Down() <-chan struct{} { return k.down }

func (k *kernel) Cause() error {
	select {
	case <-k.down:
		return store.ErrClosed
	default:
		return nil
	}
}

// message is one of the fake source. Its key is the part before the slash.
type message string

func keyOf(m message) string {
	key, _, _ := strings.Cut(string(m), "/")
	return key
}

// fake is a queue in memory. A retried or released message comes back after its delay.
type fake struct {
	mu       sync.Mutex
	waiting  []message
	failed   map[message]int
	lost     map[message]func(error) // of what is held
	begun    map[message]int
	busy     int // begun and not ended
	outcomes map[message][]worker.Outcome
	wake     chan struct{}

	fetchErr  error // of the next Fetch
	settleErr error // of all Settles, while it is set
	limit     int   // Item.MaxAttempts
}

func newFake(messages ...message) *fake {
	return &fake{
		waiting: messages, failed: make(map[message]int), lost: make(map[message]func(error)), begun: make(map[message]int),
		outcomes: make(map[message][]worker.Outcome), wake: make(chan struct{}, 1),
	}
}

func (f *fake) put(m message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = append(f.waiting, m)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fake) Fetch(ctx context.Context, n int) ([]worker.Item[message], error) {
	for {
		if items, err := f.take(n); len(items) > 0 || err != nil {
			return items, err
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *fake) take(n int) (items []worker.Item[message], err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err, f.fetchErr = f.fetchErr, nil
	for len(f.waiting) > 0 && len(items) < n && err == nil {
		m := f.waiting[0]
		f.waiting = f.waiting[1:]
		items = append(items, worker.Item[message]{Message: m, Attempts: f.failed[m], MaxAttempts: f.limit})
	}
	return items, err
}

func (f *fake) Hold(calls context.Context, m message) (context.Context, worker.Holding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost[m] != nil {
		panic("message " + m + " is held twice")
	}
	held, lost := context.WithCancelCause(calls)
	f.lost[m] = lost
	return held, worker.HoldingFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.lost, m)
		lost(nil)
	})
}

func (f *fake) Begin(_ context.Context, m message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun[m]++
	f.busy++
	return nil
}

func (f *fake) End(message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy--
}

func (f *fake) Settle(_ context.Context, m message, o worker.Outcome) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settleErr != nil {
		return f.settleErr
	}
	f.outcomes[m] = append(f.outcomes[m], o)
	if o.Verdict == worker.Retry {
		f.failed[m] = o.Attempts
	}
	if o.Verdict == worker.Retry || o.Verdict == worker.Release {
		time.AfterFunc(o.Delay, func() { f.put(m) })
	}
	return nil
}

func (f *fake) Attrs(m message) []any { return []any{"queue", "fake", "id", string(m)} }

// lose takes a message away from Run.
func (f *fake) lose(m message, cause error) {
	f.mu.Lock()
	lost := f.lost[m]
	f.mu.Unlock()
	lost(cause)
}

// verdicts returns what became of a message.
func (f *fake) verdicts(m message) (list []worker.Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.outcomes[m] {
		list = append(list, o.Verdict)
	}
	return list
}

func (f *fake) last(m message) worker.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.outcomes[m][len(f.outcomes[m])-1]
}

func (f *fake) held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.lost) + f.busy
}

// watched counts calls and notes what must not be: two of a key at once.
type watched struct {
	mu     sync.Mutex
	calls  map[message]int
	order  []message
	busy   map[string]int
	now    int
	most   int
	double atomic.Bool
}

func newWatched() *watched {
	return &watched{calls: make(map[message]int), busy: make(map[string]int)}
}

// enter returns the number of the call of a message, and what to call at its end.
func (w *watched) enter(m message) (n int, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[m]++
	w.order = append(w.order, m)
	w.now++
	w.most = max(w.most, w.now)
	if w.busy[keyOf(m)]++; w.busy[keyOf(m)] > 1 {
		w.double.Store(true)
	}
	return w.calls[m], func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now--
		w.busy[keyOf(m)]--
	}
}

func (w *watched) count(m message) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[m]
}

// seen returns the calls in their order, of one key if it is given.
func (w *watched) seen(key string) (list []message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.order {
		if key == "" || keyOf(m) == key {
			list = append(list, m)
		}
	}
	return slices.Clone(list)
}

func second(attempts int) time.Duration { return time.Duration(attempts) * time.Second }

// options returns normalized ones.
func options(k *kernel, h worker.Handler[message], change func(*worker.Options[message])) worker.Options[message] {
	o := worker.Options[message]{Store: k, Of: `queue "fake"`, Handler: h, Backoff: second}
	if change != nil {
		change(&o)
	}
	if err := o.Normalize(); err != nil {
		panic(err)
	}
	return o
}

// runFor runs until the time is over.
func runFor(d time.Duration, o worker.Options[message], f *fake) error {
	ctx, stop := context.WithTimeout(context.Background(), d)
	defer stop()
	return worker.Run(ctx, o, worker.Source[message](f))
}
