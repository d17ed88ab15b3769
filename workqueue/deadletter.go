package workqueue

import (
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// burial is the move of a message to the dead letter place: out of one queue
// and into others, or nowhere, in one operation.
type burial struct {
	d      *Delivery
	reason string
	copies copies

	early *queue.Cancelled // if it was delayed, and not taken
}

// bury moves a taken message. It either changes nothing and says why it
// cannot, or does all of it.
func (q *declaredQueue) bury(t *store.Turn, d *Delivery, reason, failure string) (*burial, error) {
	b, err := q.copyDead(t, d, reason, failure)
	if err == nil {
		q.core.Settle(t, d.m)
	}
	return b, err
}

// buryDoomed is bury for a message that the queue itself gives up, which is never a part of a
// transaction.
func (q *declaredQueue) buryDoomed(t *store.Turn, d *Delivery, reason string) (*burial, error) {
	if reason == ReasonDeliveryLimit {
		if err := q.makeDead(t); err != nil {
			return nil, err
		}
	}
	return q.bury(t, d, reason, "")
}

// buryDelayed moves a message that is delayed.
func (q *declaredQueue) buryDelayed(t *store.Turn, at queue.Position, reason string) (b *burial, err error) {
	err = t.Try(func() error {
		c, err := q.core.Cancel(t, at, nil)
		if c == nil || err != nil {
			return err
		}
		d, err := newDelivery(q, nil, &queue.Message{Content: c.Content, Lane: at.Lane})
		if err == nil {
			b, err = q.copyDead(t, d, reason, "")
		}
		if err != nil {
			c.Undo()
			return err
		}
		b.early = c
		return nil
	})
	return b, err
}

// copyDead puts a dead message where it goes.
func (q *declaredQueue) copyDead(t *store.Turn, d *Delivery, reason, failure string) (*burial, error) {
	b := &burial{d: d, reason: reason}
	if place := q.deadPlace(reason); place != nil {
		// Not the copy of the receiver, which may have changed it.
		dead, err := decodeMessage(d.m.Data)
		if err != nil {
			return nil, err
		}
		dead.die(q.name, reason, failure, t.Now())
		if dead.exchange = place.Exchange; place.Key != "" {
			dead.key, dead.CC = place.Key, nil
		}
		targets, err := q.deadTargets(&dead, place)
		if err != nil {
			return nil, err
		}
		p := newParcel(&dead)
		p.payload = d.m.Payload
		err = t.Try(func() (err error) {
			b.copies, err = q.topology.spread(t, nil, targets, &p)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("dead letter of queue %q: %w", q.name, err)
		}
	}
	if len(b.copies) == 0 && reason == ReasonDeliveryLimit {
		q.topology.s.Log().Warn("message over the delivery limit was dropped: its queue has no dead letter place",
			"queue", q.name, "message_id", d.MessageID, "deliveries", d.DeliveryCount-1)
	}
	return b, nil
}

// deadReason returns why a message must become a dead letter, or "" if it may be delivered.
func (q *declaredQueue) deadReason(t *store.Turn, m *queue.Message) string {
	switch limit := q.config.DeliveryLimit; {
	case m.Expired(t.Now()) && !q.offered[m]:
		return ReasonExpired
	case limit != NoDeliveryLimit && int(m.Count) > limit:
		return ReasonDeliveryLimit
	}
	return ""
}

// cutRings drops the targets that would send a dead letter round and round.
func (q *declaredQueue) cutRings(targets []*end, dead *envelope) []*end {
	return slices.DeleteFunc(slices.Clone(targets), func(d *end) bool {
		cut := d.queue != nil && inRing(dead.deaths, d.queue.name)
		if cut {
			q.topology.s.Log().Warn("dead letter was dropped: nobody rejected it on its way round a ring of queues",
				"queue", d.queue.name, "message_id", dead.MessageID)
		}
		return cut
	})
}

func (b *burial) undo() {
	if b.early != nil {
		b.copies.undo()
		b.early.Undo()
		return
	}
	b.d.q.core.UndoSettle(b.d.m)
	b.copies.undo()
}

func (b *burial) show(t *store.Turn) {
	b.copies.show(t)
	b.d.q.totals.Dead.count(b.reason, 1)
	if b.early == nil && !b.d.q.deleted {
		b.d.q.core.Settled(t, b.d.m)
	}
}

// rejectOp buries a delivery that its consumer gave up.
type rejectOp struct {
	d       *Delivery
	reason  string
	failure string // of the handler of Run
	b       *burial
}

func (o *rejectOp) String() string { return fmt.Sprintf("reject a delivery of queue %q", o.d.Queue) }

// Frees lets it in on a disk that is nearly full.
func (o *rejectOp) Frees() {}

func (o *rejectOp) Run(t *store.Turn) (err error) {
	if err := o.d.settleable(); err != nil {
		return err
	}
	if o.b, err = o.d.q.bury(t, o.d, o.reason, o.failure); err != nil {
		return err
	}
	o.d.release(t)
	return nil
}

func (o *rejectOp) Undo() {
	o.d.reclaim()
	o.b.undo()
}

func (o *rejectOp) Visible(t *store.Turn) { o.b.show(t) }
