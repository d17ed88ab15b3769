package spool

import "github.com/pebblemq/pebblemq/internal/store"

// Settled ranges are dropped in bulk once they reach one of these.
const (
	dropMessages = 16384
	dropBytes    = 4 << 20
)

// Seal writes the meta record.
func (q *Spool) Seal(t *store.Turn) {
	if q.closed {
		return
	}
	q.order.seal(t)
	q.meta.low = min(q.lowest(), q.order.late.low)
	q.meta.taken = q.out.messages + q.crash.unloaded
	q.meta.expires = sooner(q.expiry.next, q.expiry.retained)
	q.drop(t)
	m := q.meta // as of the states on disk
	m.entries, m.bytes = m.entries+q.order.late.settled.messages, m.bytes+q.order.late.settled.bytes
	m.nextDue = q.delays.earliest(m.nextDue)
	m.frontier, m.oldest = max(m.frontier, q.crash.frontier.raisedTo), sooner(m.oldest, q.retention.unshown)
	t.Set(laneKey(q.layout.Meta, q.place, 0), m.encode())
}

// lowest returns the sequence number below which nothing is left.
func (q *Spool) lowest() uint64 {
	return min(q.head(), q.bad.stretches.first(), q.expiry.passed.first())
}

// head returns the sequence number below which nothing is left that can be read.
func (q *Spool) head() uint64 { return q.order.firstLive(min(q.loaded, q.groups.lowest())) }

// drop removes a settled range in bulk, which lets the engine delete whole
// tables instead of compacting tombstones. It ends at the first stretch that cannot be read, of
// which a segment may reach far.
func (q *Spool) drop(t *store.Turn) {
	low := q.meta.low
	if low <= q.order.dropped || low-q.order.dropped < dropMessages && q.order.deadSize < dropBytes {
		return
	}
	q.deleteEntries(t, q.order.dropped, low)
	q.order.dropped, q.order.deadSize = low, 0
}
