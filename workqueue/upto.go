package workqueue

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// AckUpTo is Ack of this delivery and of all that its consumer got before it and has
// not settled, in one commit: AMQP's multiple acknowledgement. Of one that came from
// Get it is Ack.
func (d *Delivery) AckUpTo(ctx context.Context) error {
	if err := d.real(); err != nil {
		return err
	}
	return d.b.s.Do(ctx, d.upTo("ack", func(d *Delivery) store.Op { return ackOp{d: d} }), store.NoSync)
}

// NackUpTo is Nack of the same deliveries as AckUpTo, in one commit: all of them or, if a dead
// letter place cannot be reached, none. Requeued messages keep their order, unless the queue
// has a Retry.
func (d *Delivery) NackUpTo(ctx context.Context, requeue bool) error {
	if err := d.real(); err != nil {
		return err
	}
	if err := d.readyNack(ctx, requeue); err != nil {
		return err
	}
	return d.b.s.Do(ctx, d.upTo("nack", func(d *Delivery) store.Op { return d.nack(requeue) }), store.NoSync)
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

// upToOp settles deliveries that stand or fall together.
type upToOp struct {
	d    *Delivery
	verb string
	each func(*Delivery) store.Op
	ops  []store.Op
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
	for _, d := range o.d.before() {
		op := o.each(d)
		if err := op.Run(t); err != nil {
			o.Undo()
			return err
		}
		o.ops = append(o.ops, op)
	}
	return nil
}

// before returns the delivery and those that its consumer got before it, in order. A suspect of
// which it is not on disk yet that it is out has not come to the application.
func (d *Delivery) before() (list []*Delivery) {
	if d.consumer == nil {
		return []*Delivery{d}
	}
	for other := range d.consumer.held {
		if other.number <= d.number && !other.hidden {
			list = append(list, other)
		}
	}
	slices.SortFunc(list, func(a, b *Delivery) int { return cmp.Compare(a.number, b.number) })
	return list
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
