package visibility

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// ChangeVisibility makes the visibility timeout of a message in flight end at d
// from now instead: later, to go on working on it, or earlier. With 0 the
// message is visible again at once, at its old place. The timeout may not end
// more than the MaxVisibilityTimeout of the queue after the receive: that is pebblemq.ErrInvalid and
// changes nothing. It applies to this delivery only.
//
// ErrNotInFlight says that the timeout has ended, or the message was released
// or deleted; ErrExpired that its retention is over; ErrStaleReceipt that it was received again. By default it returns
// before the change is durable.
func (q *Queue) ChangeVisibility(ctx context.Context, r Receipt, d time.Duration) error {
	op, err := q.newChange(r, d)
	if err != nil {
		return err
	}
	return q.s.Do(ctx, op, store.NoSync)
}

func (q *Queue) newChange(r Receipt, d time.Duration) (*changeOp, error) {
	if err := q.config().checkVisibility(d); err != nil {
		return nil, fmt.Errorf("%s: %w", named(q.name), err)
	}
	known, err := q.open(r)
	return &changeOp{q: q, delivery: known, d: d}, err
}

// released is the Holder of a message whose receiver has given it back.
var released any = "released"

// changeOp gives one message another end of its timeout.
type changeOp struct {
	q *Queue
	delivery
	d       time.Duration
	m       *queue.Message
	failure string // why it is given back, if anybody said

	until  queue.Moment // before
	holder any
	note   string
}

func (o *changeOp) String() string { return fmt.Sprintf("change visibility in queue %q", o.q.name) }

// Frees lets it in on a full disk.
func (o *changeOp) Frees() {}

func (o *changeOp) Run(t *store.Turn) error {
	m, err := o.inFlight(t)
	if err != nil {
		return err
	}
	until := t.Now().Add(o.d)
	limit := o.q.config().MaxVisibilityTimeout
	if latest := o.at().Add(limit); o.d > 0 && until.After(latest) {
		return o.q.refused(store.Invalid("visibility timeout %v would end %v after the receive, limit %v, which QueueConfig.MaxVisibilityTimeout says",
			o.d, until.Sub(o.at()), limit), o.delivery, m)
	}
	o.take(m)
	if o.failure != "" {
		m.SetNote(o.failure)
	}
	if o.d == 0 {
		o.q.leases.remove(m)
		o.q.core.Return(t, m, false)
		m.Hold(released)
		return nil
	}
	o.extend(t, until)
	return nil
}

// inFlight returns the message of a receipt while its timeout runs.
func (o *changeOp) inFlight(t *store.Turn) (*queue.Message, error) {
	m, err := o.q.find(t, o.delivery)
	if err != nil {
		return nil, err
	}
	if m == nil || !m.Taken() || !m.Until.After(t.Now()) {
		return nil, o.q.refused(ErrNotInFlight, o.delivery, m)
	}
	return m, nil
}

// take notes what Undo needs.
func (o *changeOp) take(m *queue.Message) {
	o.m, o.until, o.holder, o.note = m, m.Until, m.Holder(), m.Note()
}

// extend gives the message another end of its timeout.
func (o *changeOp) extend(t *store.Turn, until time.Time) {
	o.q.core.Extend(t, o.m, until)
	o.q.leases.moved(o.m)
	o.q.leases.arm(t)
}

// left returns how much longer the message may be in flight.
func (o *changeOp) left(t *store.Turn) time.Duration {
	return o.at().Add(o.q.config().MaxVisibilityTimeout).Sub(t.Now())
}

func (o *changeOp) Undo() {
	o.m.SetNote(o.note)
	if o.d == 0 {
		o.q.core.UndoReturn(o.m, o.until)
		o.m.Hold(o.holder)
		o.q.leases.add(o.m)
		return
	}
	o.q.core.UndoExtend(o.m, o.until)
	o.q.leases.moved(o.m)
}

func (o *changeOp) Visible(t *store.Turn) {
	o.q.attempts.changed(o.holder)
	if o.d == 0 {
		o.q.core.Returned(t, o.m)
	}
}
