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
	s    *store.Store
	mu   sync.Mutex
	list []*Delivery
}

// add notes one that is handed over.
func (h *handovers) add(d *Delivery) {
	h.mu.Lock()
	first := len(h.list) == 0
	h.list = append(h.list, d)
	h.mu.Unlock()
	if first {
		h.s.TouchLate(h)
	}
}

// Seal has them written with a group that is synced.
func (h *handovers) Seal(t *store.Turn) { h.write(t) }

// write has them written. Most are settled by then.
func (h *handovers) write(t *store.Turn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, d := range h.list {
		h.list[i] = nil
		if d.state == pending && !d.parked && !d.q.deleted {
			d.q.spool.Deliver(t, d.m)
		}
	}
	h.list = h.list[:0]
}
