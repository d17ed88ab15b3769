package workqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Requeue is where a message goes that is given back to another place than its old
// one. Its zero value is the tail of the queue, at once.
type Requeue struct {
	// Head puts the message before all of its priority, also those that were put
	// there before. When the store is opened again it has its old place.
	Head bool
	// Delay keeps the message from consumers for a time; then it goes to the tail.
	// It counts as delayed meanwhile. A message whose time to live ends before
	// that is a dead letter at that end. At most MaxDelay; not with Head.
	Delay time.Duration
}

// Requeue gives the message back as Nack does, but to another place than its old one,
// in one commit. It keeps its priority, its end of life, its unique key, its death
// history and its DeliveryCount, comes back as Redelivered, and is never refused by a
// limit of the queue. The durability is as that of Ack. RabbitMQ cannot do this:
// there one publishes the message again.
func (d *Delivery) Requeue(ctx context.Context, to Requeue) error {
	if err := d.real(); err != nil {
		return err
	}
	op, err := d.requeue(to)
	if err != nil {
		return err
	}
	return d.do(ctx, "requeue", op)
}

// Requeue is Delivery.Requeue as a part of the transaction. A Delay begins at the
// commit.
func (t BrokerTx) Requeue(d *Delivery, to Requeue) error {
	if err := t.own(d); err != nil {
		return err
	}
	op, err := d.requeue(to)
	if err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(op, len(d.m.Data))
}

func (d *Delivery) requeue(to Requeue) (store.Op, error) {
	switch {
	case to.Delay < 0 || to.Delay > MaxDelay:
		return nil, store.Invalid("Delay %v of a requeue is not between 0 and %v", to.Delay, MaxDelay)
	case to.Head && to.Delay > 0:
		return nil, store.Invalid("a requeue to the head has a Delay of %v", to.Delay)
	case to.Head:
		return &requeueOp{d: d, ahead: true}, nil
	}
	return &tailOp{d: d, delay: to.Delay}, nil
}

// tailOp gives a delivery back to the tail, at once or after a delay: it takes the
// message out and puts it in anew, with what is known of it.
type tailOp struct {
	d       *Delivery
	delay   time.Duration
	forgive bool // the delivery does not count
	put     placed
}

func (o *tailOp) String() string { return fmt.Sprintf("requeue a delivery of queue %q", o.d.Queue) }

// Frees lets it in on a disk that is nearly full: it adds no more than it removes.
func (o *tailOp) Frees() {}

func (o *tailOp) Run(t *store.Turn) error {
	if err := o.d.settleable(); err != nil {
		return err
	}
	q, m := o.d.q, o.d.m
	c := m.Content
	if o.forgive && c.Count > 0 {
		c.Count--
	}
	q.core.Settle(t, m)
	o.put = q.putBack(t, m.Lane, c, o.delay)
	o.d.release(t)
	return nil
}

// putBack adds a message that was in the queue before.
func (q *declaredQueue) putBack(t *store.Turn, lane byte, c queue.Content, delay time.Duration) placed {
	if delay == 0 {
		return placed{q: q, m: q.core.Put(t, lane, c)}
	}
	due := t.Now().Add(delay)
	if end := time.Unix(0, c.Expires); c.Expires != 0 && end.Before(due) {
		due = end // and is a dead letter then
	}
	d := q.core.PutDelayed(t, lane, c, due)
	return placed{q: q, delayed: &d}
}

func (o *tailOp) Undo() {
	o.d.reclaim()
	o.put.undo()
	o.d.q.core.UndoSettle(o.d.m)
}

func (o *tailOp) Visible(t *store.Turn) {
	if !o.d.q.deleted {
		o.d.q.core.Settled(t, o.d.m)
	}
	if o.put.show(t); o.put.m != nil && !o.d.q.deleted {
		o.d.q.cameBack(t, o.put.m)
	}
}

// returned lets a message that was given back be delivered again, or buries it.
func (q *declaredQueue) returned(t *store.Turn, m *queue.Message) {
	if !q.deleted {
		q.core.Returned(t, m)
		q.cameBack(t, m)
	}
}

// cameBack sees to the fate of a message that waits again.
func (q *declaredQueue) cameBack(t *store.Turn, m *queue.Message) {
	if limit := q.config.DeliveryLimit; limit != NoDeliveryLimit && int(m.Count) >= limit && m.Waits() {
		t.Post(&doomOp{q: q, lane: m.Lane, seq: m.Seq}, store.NoSync)
	}
}
