package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/pebblemq/pebblemq/internal/store"
)

// run is a Run under way.
type run[M any] struct {
	o       Options[M]
	caller  context.Context // of Run
	late    context.Context // for what is given back
	ctx     context.Context // ends when nothing more may begin
	stop    context.CancelFunc
	calls   context.Context // of all calls; ends when the drain is over
	endCall context.CancelCauseFunc

	limit     *limiter       // nil is no limit
	lanes     lanes[M]       // those with a key
	ready     chan *lane[M]  // has room for all tasks
	tasks     sync.WaitGroup // under way
	abandoned atomic.Int64   // calls that go on without a worker

	mu  sync.Mutex
	err error // what Run returns
}

// Run calls the handler for the messages of the sources until ctx ends or it has to stop.
// Then it waits for the calls under way and gives everything else back. The options are
// normalized.
func Run[M any](ctx context.Context, o Options[M], sources ...Source[M]) error {
	r := newRun(ctx, o, len(sources))
	var stop context.CancelFunc
	r.late, stop = store.Outlive(store.WithDurability(ctx, store.NoSync)) // a crash gives back anyway
	defer stop()
	idle := make(chan struct{})
	var feeds, workers, watch sync.WaitGroup
	watch.Go(func() { r.watch(idle) })
	for _, s := range sources {
		feeds.Go(func() { r.feed(s) })
	}
	for range o.Concurrency {
		workers.Go(r.work)
	}
	feeds.Wait()
	r.tasks.Wait()
	close(r.ready)
	workers.Wait()
	close(idle)
	watch.Wait()
	r.endCall(nil)
	return r.result()
}

func newRun[M any](ctx context.Context, o Options[M], sources int) *run[M] {
	r := &run[M]{o: o, caller: ctx, limit: newLimiter(o.Rate), ready: make(chan *lane[M], sources*o.InFlight)}
	r.lanes.byKey = make(map[string]*lane[M])
	r.ctx, r.stop = context.WithCancel(ctx)
	r.calls, r.endCall = context.WithCancelCause(context.WithoutCancel(ctx))
	return r
}

// fail lets nothing more begin. Run returns the first error, but an unknown outcome before
// any other.
func (r *run[M]) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil || errors.Is(err, store.ErrUnknownOutcome) && !errors.Is(r.err, store.ErrUnknownOutcome) {
		r.err = err
	}
	r.stop()
}

func (r *run[M]) result() error {
	r.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.abandoned.Load(); n > 0 {
		return errors.Join(r.err, fmt.Errorf("%w: %d of %s", ErrAbandoned, n, r.o.Of))
	}
	return r.err
}

// watch ends the calls when the store stops, or when the drain takes too long.
func (r *run[M]) watch(idle <-chan struct{}) {
	select {
	case <-idle:
		return
	case <-r.o.Store.Down():
		r.fail(r.o.Store.Cause())
		r.endCall(r.o.Store.Cause())
		return
	case <-r.ctx.Done():
	}
	var over <-chan time.Time
	if r.o.DrainTimeout != Unlimited {
		timer := time.NewTimer(r.o.DrainTimeout)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-idle:
	case <-r.o.Store.Down():
		r.endCall(r.o.Store.Cause())
	case <-over:
		r.endCall(ErrDrainTimeout)
	}
}

// feed fetches messages of a source, as many as there is room for.
func (r *run[M]) feed(s Source[M]) {
	room := semaphore.NewWeighted(int64(r.o.InFlight))
	free := func() { room.Release(1) }
	for failures := 0; r.ctx.Err() == nil; {
		n := r.reserve(room)
		if n == 0 {
			return
		}
		items, err := s.Fetch(r.ctx, n)
		room.Release(int64(n - len(items)))
		r.accept(items, s, free)
		switch {
		case err == nil || store.IsUnread(err):
			failures = 0
		case passes(err):
			failures++
			r.o.Store.Log().Warn("no messages can be fetched", "from", r.o.Of, "error", err)
			store.Pause(r.ctx, r.o.Backoff(failures))
		default:
			if err = ended(r.ctx, err); err != nil {
				r.fail(err)
			}
			return
		}
	}
}

// fetchMost is how many messages one Fetch takes at most, so that a Fetch of one does not
// cost as much as InFlight is large.
const fetchMost = 128

// reserve waits for a place and takes those that are free, up to fetchMost. It returns 0 if
// Run ends.
func (r *run[M]) reserve(room *semaphore.Weighted) (n int) {
	if room.Acquire(r.ctx, 1) != nil {
		return 0
	}
	for n = 1; n < min(r.o.InFlight, fetchMost) && room.TryAcquire(1); n++ {
	}
	return n
}

// work serves one lane after the other.
func (r *run[M]) work() {
	var c call[M]
	defer c.stop()
	for l := range r.ready {
		c.lanes = append(c.lanes[:0], l)
		r.serve(&c)
	}
}
