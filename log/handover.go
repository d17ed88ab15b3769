package log

import (
	"context"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// handover is the end of a tenure whose member is a Run, or has callbacks. The partition
// goes to its heir when the calls of handlers that have begun are settled, or OnRevoked
// has returned, or after the drain. Other members hand over at once.
//
// Invariant: no call begins after revoke. A tenure that has been revoked is idle or has a
// timer, unless the drain is unlimited. Tenures between which a Seek lies have it in common.
type handover struct {
	mu      sync.Mutex
	busy    int // calls under way, and the hold of a member with callbacks
	held    bool
	revoked bool
	timer   *time.Timer
}

// begin reports false if the partition is to go to another member.
func (h *handover) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.revoked {
		return false
	}
	h.busy++
	return true
}

// end reports whether that was the last call of a tenure that has been revoked. If it was
// the last one but for the hold, OnRevoked is to be called now.
func (h *handover) end() (last, onlyHeld bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy--
	last = h.revoked && h.busy == 0
	if last && h.timer != nil {
		h.timer.Stop()
	}
	return last, h.revoked && h.drained()
}

// drained reports whether no calls are under way. The mutex is held.
func (h *handover) drained() bool { return h.busy == 0 || h.held && h.busy == 1 }

// working reports whether calls are under way.
func (h *handover) working() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.drained()
}

// revoke lets no further call begin. It reports whether there is none under way; if there
// are, over is called after the drain.
func (h *handover) revoke(drain time.Duration, over func()) (idle bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy > 0 && !h.revoked && drain > 0 {
		h.timer = time.AfterFunc(drain, over)
	}
	h.revoked = true
	return h.busy == 0
}

// hold keeps the partition for a member that knows of it by its callbacks, until release.
// It reports false if the partition is to go to another member.
func (h *handover) hold() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.revoked {
		return false
	}
	if !h.held {
		h.held = true
		h.busy++
	}
	return true
}

// release ends the hold. It reports what end does.
func (h *handover) release() bool {
	h.mu.Lock()
	was := h.held
	h.held = false
	h.mu.Unlock()
	if !was {
		return false
	}
	last, _ := h.end()
	return last
}

func (h *handover) holds() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held
}

func (h *handover) ending() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revoked
}

// owner returns the member whose the partition is, or will be. The baton is held.
func (c *claim) owner() *Member {
	switch {
	case c.heir != nil:
		return c.heir
	case c.tenure != nil:
		return c.tenure.member
	}
	return nil
}

// pass gives the partition to another member, as soon as the calls of the present one are
// settled. The baton is held.
func (c *claim) pass(to *Member) {
	t := c.tenure
	if t == nil || t.member.left.Load() || t.hand.revoke(t.member.o.DrainTimeout, func() { t.passOn() }) {
		c.assign(to)
		return
	}
	c.heir = to
}

// settled ends a call of a handler that has begun.
func (t *tenure) settled() {
	switch last, onlyHeld := t.hand.end(); {
	case last:
		t.passOn()
	case onlyHeld:
		t.member.wake.Fire()
	}
}

// passOn gives the partition to its heir. The tenure may be over by then.
func (t *tenure) passOn() {
	c := t.claim
	relaxed := store.WithDurability(context.Background(), store.NoSync)
	_ = c.g.topic.s.Do(relaxed, store.PromptFunc{OpFunc: func(*store.Turn) error {
		if c.heir != nil && c.tenure != nil && c.tenure.hand == t.hand { // it may have been moved since
			c.assign(c.heir)
			c.g.publish()
		}
		return nil
	}}, store.NoSync) // it fails if the store has stopped, and then there is no heir any more
}
