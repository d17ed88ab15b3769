package pebblemq

import (
	"context"
	"sync"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Future is the outcome of a call that does not wait for the disk. AppendAsync,
// PublishAsync and SendAsync return one. It is safe for concurrent use. The zero value
// has no outcome and never gets one.
type Future[T any] struct {
	mu struct {
		sync.Mutex
		settled bool
		done    chan struct{} // made for the first caller who has to wait
		value   T
		err     error
	}
}

// settledFuture is what Done returns once there is an outcome. It is closed.
var settledFuture = make(chan struct{})

func init() { close(settledFuture) }

// Done returns a channel that is closed when the outcome is known: the change is durable,
// or with NoSync has its place, or was refused. Wait returns at once from then on.
func (f *Future[T]) Done() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.settled {
		return settledFuture
	}
	if f.mu.done == nil {
		f.mu.done = make(chan struct{})
	}
	return f.mu.done
}

// Wait waits for the outcome and returns it; each call returns the same value. If ctx ends
// first, Wait returns its error. The change goes on then, and Wait may be called again. A
// known outcome is returned even if ctx has ended.
func (f *Future[T]) Wait(ctx context.Context) (T, error) {
	var none T
	if err := store.CheckContext(ctx); err != nil {
		return none, err
	}
	if value, err, settled := f.outcome(); settled {
		return value, err
	}
	select {
	case <-f.Done():
		value, err, _ := f.outcome()
		return value, err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (f *Future[T]) outcome() (value T, err error, settled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mu.settled {
		return value, nil, false
	}
	return f.mu.value, f.mu.err, true
}

// unsettled is a *Future of any type, for the layers. They settle it once: they fill room,
// which is not read before, and call settle.
type unsettled interface {
	room() any // a *T
	settle(err error)
}

func (f *Future[T]) room() any { return &f.mu.value }

func (f *Future[T]) settle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.err, f.mu.settled = err, true
	if f.mu.done != nil {
		close(f.mu.done)
	}
}
