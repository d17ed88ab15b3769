package workqueue

// QueueTotals counts what has happened in a queue since the store was opened, or the
// queue declared after that; nothing is written for it. Two of them with the time
// between give the rates that RabbitMQ shows. Only what was carried out counts: a
// refused publishing or transaction does not.
//
// Messages that came in and are gone were acknowledged, died, or were purged, cancelled or
// redriven; the last three are not counted here.
type QueueTotals struct {
	Published   uint64 // came in: published, dead letters of other queues, redriven; not requeued
	Delivered   uint64 // handed to a consumer or by Get, each time
	Redelivered uint64 // of Delivered, those with Delivery.Redelivered
	Acked       uint64
	Dead        Dead
}

// Dead counts dead letters by their reason. A queue without a dead letter place drops
// them; they count the same.
type Dead struct{ Rejected, Expired, MaxLen, DeliveryLimit uint64 }

// Total is how many they are together.
func (d Dead) Total() uint64 { return d.Rejected + d.Expired + d.MaxLen + d.DeliveryLimit }

// count adds n, which may be negative.
func (d *Dead) count(reason string, n int) {
	switch reason {
	case ReasonRejected:
		d.Rejected += uint64(n)
	case ReasonExpired:
		d.Expired += uint64(n)
	case ReasonMaxLen:
		d.MaxLen += uint64(n)
	case ReasonDeliveryLimit:
		d.DeliveryLimit += uint64(n)
	}
}

// countDelivery is called for each message that is handed out.
func (q *declaredQueue) countDelivery(d *Delivery) {
	q.totals.Delivered++
	if d.Redelivered {
		q.totals.Redelivered++
	}
}
