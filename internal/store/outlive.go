package store

import (
	"context"
	"sync"
	"time"
)

// graceAfterCancel is how long a call goes on after its context has ended. It learns the
// outcome of an Op that has run, or carries out a mandatory one.
const graceAfterCancel = time.Second

// Outlive returns a context for work that must not be dropped when ctx ends: settling the
// message of a handler, for instance. It ends graceAfterCancel after ctx, or after
// the first wait that uses it if ctx has ended before. A call that uses it has no
// grace of its own. Stop frees its resources.
func Outlive(ctx context.Context) (late context.Context, stop context.CancelFunc) {
	l := &outliving{Context: ctx}
	return l, l.stop
}

// outliving is a context of Outlive. Most calls wait for nothing, so it costs no more
// than its memory until somebody waits.
type outliving struct {
	context.Context // that it outlives

	mu      sync.Mutex
	done    context.Context // nil until somebody waits
	end     context.CancelFunc
	unwatch func() bool
}

// Done begins to watch the context that it outlives.
func (l *outliving) Done() <-chan struct{} {
	if l.Context.Done() == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done, l.end = context.WithCancel(context.WithoutCancel(l.Context))
		l.unwatch = context.AfterFunc(l.Context, l.expire)
	}
	return l.done.Done()
}

// expire ends the context after the grace.
func (l *outliving) expire() {
	grace := time.NewTimer(graceAfterCancel)
	defer grace.Stop()
	select {
	case <-grace.C:
		l.end()
	case <-l.done.Done():
	}
}

// Err returns the error of the context that it outlives, once the grace is over.
func (l *outliving) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil || l.done.Err() == nil {
		return nil
	}
	return l.Context.Err()
}

// Deadline reports that there is none.
func (l *outliving) Deadline() (time.Time, bool) { return time.Time{}, false }

type outlivingKey struct{}

// graceOf returns how long a call waits for an outcome after its context has ended.
func graceOf(ctx context.Context) time.Duration {
	if ctx.Value(outlivingKey{}) != nil {
		return 0 // it is over
	}
	return graceAfterCancel
}

// Value tells the kernel that there is no further grace.
func (l *outliving) Value(key any) any {
	if key == (outlivingKey{}) {
		return true
	}
	return l.Context.Value(key)
}

func (l *outliving) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done != nil {
		l.unwatch()
		l.end()
	}
}
