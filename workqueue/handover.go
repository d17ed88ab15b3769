package workqueue

import (
	"sync"

	"github.com/pebblemq/pebblemq/internal/store"
)

// handovers are the deliveries that the application has got from the inboxes of a queue's consumers,
// and that are not written as delivered yet. That needs the baton, which Next does without: it is
// done with the next dispatch, or with the next group that is synced. A suspect is written before
// anybody gets it.
type handovers struct {
	store.Sealed
	mu    sync.Mutex
	list  []*Delivery
	asked bool // to be sealed
}

// add notes one that is handed over.
func (h *handovers) add(d *Delivery) {
	h.mu.Lock()
	asked := h.asked
	h.list, h.asked = append(h.list, d), true
	h.mu.Unlock()
	if !asked { // once for each group that is synced, however often a dispatch comes before
		d.b.s.TouchLate(h)
	}
}

// Seal writes them with a group that is synced.
func (h *handovers) Seal(t *store.Turn) {
	h.mu.Lock()
	h.asked = false
	h.mu.Unlock()
	h.write(t)
}

// write writes them. Most are settled by then.
func (h *handovers) write(t *store.Turn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, d := range h.list {
		h.list[i] = nil
		if d.state == pending && !d.parked && !d.q.deleted {
			d.q.core.Deliver(t, d.m)
		}
	}
	h.list = h.list[:0]
}
