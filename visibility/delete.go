package visibility

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Delete removes the message that the receipt was given for, which says that it has been
// processed. It also works after the visibility timeout has ended. If the message was received
// again, it returns ErrStaleReceipt. In a FIFO queue it returns ErrNotInFlight once the timeout
// has ended. Deleting what is deleted already, purged or moved to the dead-letter queue is a
// success, until its retention is over: then it is ErrExpired. In a transaction it is
// ErrNotInFlight, because the effects beside it would happen twice.
//
// By default it returns before the deletion is durable: a crash may bring the
// message back, to be received once more.
func (q *Queue) Delete(ctx context.Context, r Receipt) error {
	d, err := q.open(r)
	if err != nil {
		return err
	}
	return settle(ctx, q, "delete", &deleteOp{q: q, delivery: d})
}

// find returns the message of a receipt, or nil if it is gone.
func (q *Queue) find(t *store.Turn, d delivery) (*queue.Message, error) {
	if q.dropped {
		return nil, q.gone()
	}
	if q.outlives(t, d.born) {
		return nil, q.refused(ErrExpired, d, nil)
	}
	m, err := q.core.Lookup(t, d.lane, d.seq)
	if m == nil || err != nil {
		return nil, err
	}
	if m.Taken() && m.Slot == 0 { // it was on disk only
		q.leases.add(m)
		q.leases.arm(t)
	}
	if d.print != printOf(m) {
		return nil, nil // a crash lost the message, and another has its number
	}
	// A crash may have lost the latest receives, so a receipt may be ahead of what is known, in
	// count and in time; one that is ahead in count only is of a receive that was lost and has
	// been followed by another since.
	since := int64(m.Since)
	if d.count == m.Count && d.since == since || d.count > m.Count && d.since > since {
		return m, nil
	}
	return nil, q.refused(ErrStaleReceipt, d, m)
}

// deleteOp removes one message.
type deleteOp struct {
	q *Queue
	delivery
	sparing bool // of messages that were released
	strict  bool // refuses a receipt that is used up
	m       *queue.Message
}

func (o *deleteOp) String() string { return fmt.Sprintf("delete from queue %q", o.q.name) }

// Frees lets it in on a full disk.
func (o *deleteOp) Frees() {}

func (o *deleteOp) Run(t *store.Turn) error {
	m, err := o.q.find(t, o.delivery)
	switch {
	case err != nil:
		return err
	case m == nil && o.strict:
		return o.q.refused(ErrNotInFlight, o.delivery, nil)
	case m == nil:
		return nil
	case o.q.over(t, m):
		return o.q.refused(ErrNotInFlight, o.delivery, m)
	}
	if o.sparing && m.Holder() == released {
		return nil
	}
	o.q.leases.remove(m)
	o.q.core.SettleLater(t, m)
	o.m = m
	return nil
}

func (o *deleteOp) Undo() {
	if o.m == nil {
		return
	}
	o.q.core.UndoSettle(o.m)
	if o.m.Taken() {
		o.q.leases.add(o.m)
	}
}

func (o *deleteOp) Visible(t *store.Turn) {
	if o.m != nil {
		o.q.attempts.changed(o.m.Holder())
		o.q.core.Settled(t, o.m)
		o.q.left(t)
	}
}
