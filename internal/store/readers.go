package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// readers keeps the engine open while someone reads from it. The engine
// panics on use after Close, so every read enters first.
type readers struct {
	mu struct {
		sync.Mutex
		n       int
		closing bool
		idle    chan struct{}
	}
}

func (r *readers) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closing {
		return ErrClosed
	}
	r.mu.n++
	return nil
}

func (r *readers) exit() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.n--; r.mu.n == 0 && r.mu.closing {
		close(r.mu.idle)
	}
}

// shut turns new readers away and waits for those inside. It reports whether all left
// within closePatience.
func (r *readers) shut() bool {
	r.mu.Lock()
	r.mu.closing = true
	r.mu.idle = make(chan struct{})
	if r.mu.n == 0 {
		close(r.mu.idle)
	}
	idle := r.mu.idle
	r.mu.Unlock()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-idle:
		return true
	case <-patience.C:
		return false
	}
}

// Bounds of the wait for an engine that does not answer, because the disk does not, in calls
// without a context. No caller needs to know when a view is closed.
const (
	engineGrace = time.Second
	viewGrace   = 10 * time.Millisecond
)

// asideBriefly is aside for such calls.
func (s *Store) asideBriefly(grace time.Duration, f, late func()) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = s.aside(ctx, f, late) // what the caller wanted happens in the end
}

// engineTables asks the engine for its tables, level by level.
func (s *Store) engineTables(ctx context.Context) ([]pebble.SSTableInfo, error) {
	if err := s.readers.enter(); err != nil {
		return nil, err
	}
	var levels [][]pebble.SSTableInfo
	var failed error
	if err := s.aside(ctx, func() { levels, failed = s.db.SSTables() }, func() {}); err != nil {
		return nil, err
	}
	return slices.Concat(levels...), damaged(failed)
}

// aside runs f, a call of the engine that takes the lock of its manifest. The engine holds that
// lock for as long as the manifest waits for room, and for ever once it is parked. So the
// caller, which has entered, waits no longer than until that is known or its context ends. aside
// exits the reader when f is done. If the caller has left by then, late runs before that.
func (s *Store) aside(ctx context.Context, f, late func()) error {
	stuck, done := s.stuck.C(), make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	var why error
	select {
	case <-done:
		s.readers.exit()
		return nil
	case <-s.failed:
		s.readers.exit()
		return s.Cause()
	case <-stuck:
		why = s.stuckError()
	case <-ctx.Done():
		why = ctx.Err()
	}
	go func() {
		defer s.readers.exit()
		select {
		case <-done:
			late()
		case <-s.failed:
		}
	}()
	return why
}
