package workqueue

import (
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// checkRetry fills the Retry in.
func (c *QueueConfig) checkRetry() error {
	if c.Retry == nil {
		return nil
	}
	full, err := c.Retry.WithDefaults()
	if err != nil {
		return fmt.Errorf("field Retry: %w", err)
	}
	c.Retry = &full
	return nil
}

// pause returns how long a message waits after its latest delivery has failed: as
// the queue's Retry says, or otherwise.
func (q *declaredQueue) pause(deliveries int, otherwise time.Duration) time.Duration {
	if limit := q.config.DeliveryLimit; limit != NoDeliveryLimit && deliveries >= limit {
		return 0
	}
	if q.config.Retry != nil {
		return q.config.Retry.Delay(deliveries)
	}
	return otherwise
}

// nackOp gives a delivery back: to its old place, or, after a pause, to the tail.
type nackOp struct {
	d     *Delivery
	pause time.Duration // for a queue without a Retry
	op    store.Op
}

func (o *nackOp) String() string { return fmt.Sprintf("requeue a delivery of queue %q", o.d.Queue) }

// Frees lets it in on a disk that is nearly full.
func (o *nackOp) Frees() {}

func (o *nackOp) Run(t *store.Turn) error {
	o.op = &requeueOp{d: o.d}
	if pause := o.d.q.pause(int(o.d.m.Count), o.pause); pause > 0 {
		o.op = &tailOp{d: o.d, delay: pause}
	}
	return o.op.Run(t)
}

func (o *nackOp) Undo()                 { o.op.Undo() }
func (o *nackOp) Visible(t *store.Turn) { o.op.Visible(t) }
