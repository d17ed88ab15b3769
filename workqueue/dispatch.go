package workqueue

import (
	"cmp"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// ready is called when the queue may have messages to deliver.
func (q *declaredQueue) ready(t *store.Turn) {
	q.changed.Fire()
	if q.posted || len(q.consumers) == 0 {
		return
	}
	q.posted = true
	t.Post(&dispatchOp{q: q}, store.NoSync)
}

// dispatchOp hands out what is ready to the consumers that have room.
type dispatchOp struct {
	q      *declaredQueue
	buried []*burial
}

// Frees lets it in on a disk that is nearly full.
func (o *dispatchOp) Frees() {}

func (o *dispatchOp) Run(t *store.Turn) error {
	q := o.q
	if q.deleted {
		return nil
	}
	q.handovers.write(t)
	q.core.NextRound(t) // may find that there is something, which this Op is to hand out
	q.posted = false
	defer clear(q.offered)
	if len(q.consumers) > 0 {
		if unread := q.core.Unread(); unread != nil {
			q.anyConsumer().tell(unread)
		}
	}
	for !q.deleted {
		c := q.nextConsumer()
		if c == nil {
			return nil
		}
		d, b := q.take(t, c)
		switch {
		case b != nil:
			o.buried = append(o.buried, b)
		case d == nil:
			return nil
		default:
			c.served()
			c.deliver(d)
		}
	}
	return nil
}

func (o *dispatchOp) Undo() {}

func (o *dispatchOp) Visible(t *store.Turn) {
	for _, b := range o.buried {
		b.show(t)
	}
}

// nextConsumer returns who is to get the next message: of those with room, one of the
// highest priority, in turn.
func (q *declaredQueue) nextConsumer() *Consumer {
	if q.halted() {
		return nil
	}
	if q.config.SingleActive {
		return q.activeConsumer()
	}
	return q.turns.next()
}

// anyConsumer returns whose turn it is, or one that has no room if none has.
func (q *declaredQueue) anyConsumer() *Consumer {
	if c := q.turns.next(); c != nil {
		return c
	}
	return q.consumers[0]
}

// activeConsumer returns the one that gets everything, if it has room. One of a
// higher priority takes over once the active one holds nothing any more, so that no
// two of them have messages at a time.
func (q *declaredQueue) activeConsumer() *Consumer {
	if len(q.consumers) == 0 {
		return nil
	}
	if q.active == nil || q.active.held.n == 0 && q.turns.highest() > q.active.priority {
		q.active = slices.MaxFunc(q.consumers, func(a, b *Consumer) int { return cmp.Compare(a.priority, b.priority) })
	}
	if q.active.priority < q.turns.highest() || !q.active.hasRoom() {
		return nil
	}
	return q.active
}

// take takes the next message for a consumer, or none. A message over the
// delivery limit or past its time to live is buried instead.
func (q *declaredQueue) take(t *store.Turn, c *Consumer) (*Delivery, *burial) {
	for {
		m := q.pull(t, c)
		if m == nil {
			return nil, nil
		}
		d, err := newDelivery(q, c, m)
		if err != nil {
			q.core.SetAside(t, m, err)
			continue
		}
		if reason := q.deadReason(t, m); reason != "" {
			b, err := q.buryDoomed(t, d, reason)
			if err == nil {
				return nil, b
			}
			q.keepStuck(t, m, reason, err)
			continue
		}
		q.hold(t, d)
		q.countDelivery(d)
		return d, nil
	}
}

// pull takes the next message: for a consumer ahead of its need.
func (q *declaredQueue) pull(t *store.Turn, c *Consumer) *queue.Message {
	if c != nil {
		return q.core.Prefetch(t)
	}
	return q.core.Take(t, time.Time{})
}
