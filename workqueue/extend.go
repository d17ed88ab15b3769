package workqueue

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Extend begins the queue's AckTimeout of the delivery anew: a heartbeat of work that
// takes longer than it should. It returns ErrDeliveryLost if the delivery was lost
// already. It writes nothing, as a delivery does not outlive its process. RabbitMQ has
// no such thing, NATS calls it InProgress.
func (d *Delivery) Extend(ctx context.Context) error {
	if err := d.real(); err != nil {
		return err
	}
	return d.extend(store.WithDurability(ctx, store.NoSync), 0)
}

// extend makes the AckTimeout begin some time from now, and ends what park did.
func (d *Delivery) extend(relaxed context.Context, ahead time.Duration) error {
	var op store.Op = extendOp{d}
	if ahead > 0 {
		op = store.PromptFunc{OpFunc: func(t *store.Turn) error { return d.renew(t, ahead) }}
	}
	return d.b.s.Do(relaxed, op, store.NoSync)
}

// extendOp is extend from now on. It is a value, which costs no memory, because Run has one for
// each message.
type extendOp struct{ d *Delivery }

// Prompt lets it in whatever the disk.
func (o extendOp) Prompt() {}

func (o extendOp) Run(t *store.Turn) error { return o.d.renew(t, 0) }

func (o extendOp) Undo() {}

func (o extendOp) Visible(*store.Turn) {}

func (d *Delivery) renew(t *store.Turn, ahead time.Duration) error {
	if err := d.settleable(); err != nil {
		return err
	}
	if d.parked {
		d.begin(t, ahead)
		return nil
	}
	d.since = t.Now().Add(ahead)
	return nil
}

// begin has the delivery written, and its AckTimeout begin some time from now.
func (d *Delivery) begin(t *store.Turn, ahead time.Duration) {
	d.parked, d.since = false, t.Now().Add(ahead)
	d.q.core.Deliver(t, d.m)
	d.q.watch(t, d.since.Add(d.q.config.AckTimeout))
}

// park marks a delivery that Run keeps until its turn comes, as it was marked when Run got it. It
// has no AckTimeout, and is not counted if it goes back before it is handled.
func (d *Delivery) park(relaxed context.Context) error {
	return d.b.s.Do(relaxed, store.PromptFunc{OpFunc: func(t *store.Turn) error {
		if d.parked = d.state == pending && !d.q.deleted; d.parked {
			d.q.core.Withhold(t, d.m)
		}
		return nil
	}}, store.NoSync)
}
