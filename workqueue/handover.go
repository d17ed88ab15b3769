package workqueue

import (
	"context"
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

// handOver has the delivery written, and gives the receiver a body of its own. It runs outside the
// baton, so the delivery may have been lost by then, and settled by somebody else: then
// there may be no body any more, and it returns nil. It does so as well if the body
// cannot be read: the message is set aside then.
func (d *Delivery) handOver(ctx context.Context) (*Delivery, error) {
	switch {
	case d.consumer == nil: // Get has done it
	case !d.suspect:
		d.q.handovers.add(d)
	default:
		if err := d.confess(ctx); err != nil {
			return nil, err
		}
	}
	return d.withBody()
}

// confess has the delivery of a suspect on disk before it is handed over. If that cannot be waited
// for, the message goes back.
func (d *Delivery) confess(ctx context.Context) error {
	err := d.b.s.Do(ctx, confessOp{d}, store.NoSync)
	if err != nil {
		_ = d.b.s.Insist(ctx, giveUpOp{&requeueOp{d: d, forgive: true}}) // fails if the store has, and then it returns anyway
	}
	return err
}

// confessOp has the delivery of a suspect written.
type confessOp struct{ d *Delivery }

// Frees lets it in on a disk that is nearly full: it is what consumers wait for.
func (o confessOp) Frees() {}

func (o confessOp) Run(t *store.Turn) error {
	if d := o.d; d.state == pending && !d.q.deleted {
		d.q.spool.Deliver(t, d.m)
	}
	return nil
}

func (o confessOp) Undo() {}

// Visible is when it is on disk.
func (o confessOp) Visible(*store.Turn) { o.d.hidden = false }
