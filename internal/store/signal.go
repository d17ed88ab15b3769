package store

import "sync"

// Signal wakes everyone who waits for something to change. Take C, look at the state, then wait:
// a Fire in between is not missed. Without waiters, Fire costs an uncontended lock. The zero
// value is ready.
type Signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// C returns a channel that the next Fire closes.
func (g *Signal) C() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch == nil {
		g.ch = make(chan struct{})
	}
	return g.ch
}

// Fire wakes all who took C since the last Fire.
func (g *Signal) Fire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch != nil {
		close(g.ch)
		g.ch = nil
	}
}
