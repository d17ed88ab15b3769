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

// extend has the AckTimeout begin some time from now, and ends what park did.
func (d *Delivery) extend(relaxed context.Context, ahead time.Duration) error {
	return d.b.s.Do(relaxed, store.PromptFunc{OpFunc: func(t *store.Turn) error {
		if err := d.settleable(); err != nil {
			return err
		}
		d.since = t.Now().Add(ahead)
		if d.parked {
			d.parked = false
			if !d.q.watching && d.q.config.AckTimeout != NoAckTimeout {
				d.q.watch(t, d.since.Add(d.q.config.AckTimeout))
			}
		}
		return nil
	}}, store.NoSync)
}

// park has Run keep deliveries whose turn has not come. They have no AckTimeout, and are not
// counted if they go back before they are handled.
func (c *Consumer) park(relaxed context.Context, list ...*Delivery) error {
	return c.b.s.Do(relaxed, store.PromptFunc{OpFunc: func(*store.Turn) error {
		for _, d := range list {
			d.parked = d.state == pending
		}
		return nil
	}}, store.NoSync)
}
