package workqueue

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// AckUpTo is Ack of this delivery and of all that its consumer got before it and has
// not settled: AMQP's multiple acknowledgement. Of one that came from Get it is Ack. A few
// hundred are settled in one commit, the oldest first, so that others need not wait for many
// more. With an error those of the commits before it are settled, and the others are not; in a
// transaction all of them are, or none.
func (d *Delivery) AckUpTo(ctx context.Context) error {
	if err := d.real(); err != nil {
		return err
	}
	return d.settleUpTo(ctx, "ack", func(d *Delivery) store.Op { return ackOp{d: d} })
}

// NackUpTo is Nack of the same deliveries as AckUpTo, and in as many commits. If a dead letter
// place cannot be reached, nothing of the commit is settled. Requeued messages keep their order,
// unless the queue has a Retry.
func (d *Delivery) NackUpTo(ctx context.Context, requeue bool) error {
	if err := d.real(); err != nil {
		return err
	}
	if err := d.readyNack(ctx, requeue); err != nil {
		return err
	}
	return d.settleUpTo(ctx, "nack", func(d *Delivery) store.Op { return d.nack(requeue) })
}

// AckUpTo is Delivery.AckUpTo as a part of the transaction. Which deliveries it is
// about is settled at the commit.
func (t BrokerTx) AckUpTo(d *Delivery) error {
	if err := t.own(d); err != nil {
		return err
	}
	return t.x.Add(d.upTo("ack", func(d *Delivery) store.Op { return ackOp{d: d} }), 0)
}

// NackUpTo is Delivery.NackUpTo as a part of the transaction.
func (t BrokerTx) NackUpTo(d *Delivery, requeue bool) error {
	if err := t.own(d); err != nil {
		return err
	}
	if err := d.readyNack(t.x.Context(), requeue); err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(d.upTo("nack", func(d *Delivery) store.Op { return d.nack(requeue) }), len(d.m.Data))
}

func (d *Delivery) upTo(verb string, each func(*Delivery) store.Op) *upToOp {
	return &upToOp{d: d, verb: verb, each: each}
}

// settledAtOnce bounds how long a settlement of many deliveries holds the baton.
const settledAtOnce = 250

// settleUpTo settles deliveries, some in each change. If they are to be synced, the last change is, and
// all others with it.
func (d *Delivery) settleUpTo(ctx context.Context, verb string, each func(*Delivery) store.Op) error {
	sync := d.b.s.Synced(ctx, store.NoSync)
	if sync {
		ctx = store.WithDurability(ctx, store.NoSync)
	}
	for more := true; more; {
		op := &upToOp{d: d, verb: verb, each: each, most: settledAtOnce, sync: sync}
		if err := d.b.s.Do(ctx, op, store.NoSync); err != nil {
			return err
		}
		more = op.more
	}
	return nil
}

// upToOp settles deliveries that stand or fall together.
type upToOp struct {
	d    *Delivery
	verb string
	each func(*Delivery) store.Op
	most int  // 0 is any number
	sync bool // the last of them
	ops  []store.Op
	more bool // are left
}

func (o *upToOp) String() string {
	return fmt.Sprintf("%s the deliveries of queue %q up to one", o.verb, o.d.Queue)
}

// Frees lets it in on a disk that is nearly full.
func (o *upToOp) Frees() {}

func (o *upToOp) Run(t *store.Turn) error {
	if err := o.d.settleable(); err != nil {
		return err
	}
	list, more := o.d.before(o.most)
	for _, d := range list {
		op := o.each(d)
		if err := op.Run(t); err != nil {
			o.Undo()
			return err
		}
		o.ops = append(o.ops, op)
	}
	if o.more = more; o.sync && !more {
		t.ForceSync()
	}
	return nil
}

// before returns the first deliveries up to this one that its consumer has got, in order, and whether
// there are more. A hidden one has not come to the application.
func (d *Delivery) before(most int) (list []*Delivery, more bool) {
	if d.consumer == nil {
		return []*Delivery{d}, false
	}
	for other := range d.consumer.held.all() {
		switch {
		case other.number > d.number:
			return list, false
		case other.hidden:
		case most > 0 && len(list) == most:
			return list, true
		default:
			list = append(list, other)
		}
	}
	return list, false
}

func (o *upToOp) Undo() {
	for i := len(o.ops) - 1; i >= 0; i-- {
		o.ops[i].Undo()
	}
	o.ops = nil
}

func (o *upToOp) Visible(t *store.Turn) {
	for _, op := range o.ops {
		op.Visible(t)
	}
}
