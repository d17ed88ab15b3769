package workqueue

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// QueueTotals counts what has happened in a queue since the store was opened, or the
// queue declared after that; nothing is written for it. Two of them with the time
// between give the rates that RabbitMQ shows. Only what was carried out counts: a
// refused publishing or transaction does not.
//
// What came in and is not there any more was acknowledged, died, or was purged,
// cancelled or redriven, which is not counted here.
type QueueTotals struct {
	Published   uint64 // came in: published, dead letters of other queues, redriven; not requeued
	Delivered   uint64 // handed to a consumer or by Get, each time
	Redelivered uint64 // of Delivered, those with Delivery.Redelivered
	Acked       uint64
	Dead        Dead
}

// Dead counts messages by the reason for which they left a queue, to its dead letter
// place or, without one, for good.
type Dead struct{ Rejected, Expired, MaxLen, DeliveryLimit uint64 }

func (d *Dead) count(reason string) {
	switch reason {
	case ReasonRejected:
		d.Rejected++
	case ReasonExpired:
		d.Expired++
	case ReasonMaxLen:
		d.MaxLen++
	case ReasonDeliveryLimit:
		d.DeliveryLimit++
	}
}

// QueueTotals returns the totals of a queue, exact at one moment, or ErrUnknownQueue.
// What is not durable yet, of Sync calls that are still under way, does not count.
func (b *Broker) QueueTotals(ctx context.Context, name string) (st QueueTotals, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		q, err := b.t.queue(name)
		if err == nil {
			st = q.totals
		}
		return err
	}), store.Sync)
	return st, err
}

// countDelivery is called for each message that is handed out.
func (q *queue) countDelivery(d *Delivery) {
	q.totals.Delivered++
	if d.Redelivered {
		q.totals.Redelivered++
	}
}
