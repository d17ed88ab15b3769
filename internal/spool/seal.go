package spool

import (
	"container/heap"

	"github.com/pebblemq/pebblemq/internal/store"
)

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
	q.meta.taken = uint64(q.taken) + q.unloaded
	q.meta.expires = sooner(q.expiry.next, q.expiry.retained)
	q.drop(t)
	m := q.meta // as of the states on disk
	m.entries, m.bytes = m.entries+q.order.late.settled.messages, m.bytes+q.order.late.settled.bytes
	m.nextDue = q.bad.earliest(m.nextDue)
	m.frontier, m.oldest = max(m.frontier, q.frontier.raisedTo), sooner(m.oldest, q.keep.unshown)
	t.Set(laneKey(q.layout.Meta, q.place, 0), m.encode())
}

// lowest returns the sequence number below which nothing is left.
func (q *Spool) lowest() uint64 {
	return min(q.head(), q.bad.stretches.first(), q.expiry.passed.first())
}

// head returns the sequence number below which nothing is left that can be read.
func (q *Spool) head() uint64 {
	q.trimOrder()
	q.trimWindow()
	low := min(q.loaded, q.groups.lowest())
	for len(q.strays) > 0 && !q.strays[0].here() {
		heap.Pop(&q.strays)
	}
	if len(q.strays) > 0 {
		low = min(low, q.strays[0].Seq)
	}
	if len(q.passed) > 0 {
		low = min(low, q.passed[0].Seq)
	}
	if q.window.len() > 0 {
		low = min(low, q.window.front().Seq)
	}
	return low
}

// trimOrder forgets the messages that are gone: at the front always, and
// everywhere once the rest may be the smaller part.
func (q *Spool) trimOrder() {
	n := 0
	for n < len(q.passed) && !q.passed[n].here() {
		n++
	}
	clear(q.passed[:n])
	q.passed = q.passed[n:]
	n = q.taken + len(q.returned) + len(q.ahead) + q.groups.waiting()
	if len(q.passed) < 2*n+chunkMessages {
		return
	}
	kept := make([]*Message, 0, n)
	for _, m := range q.passed {
		if m.here() {
			kept = append(kept, m)
		}
	}
	q.passed = kept
}

// trimWindow drops the messages that were settled while they waited, because Take
// may never come by: at the front always, and everywhere once they may be the larger
// part.
func (q *Spool) trimWindow() {
	q.skipGone()
	n := q.window.len()
	if waiting := int(q.meta.entries) - q.taken; n < 2*waiting+chunkMessages {
		return
	}
	for range n {
		if m := q.dequeue(); m.here() {
			q.enqueue(m)
		}
	}
}

// drop removes a settled range in bulk, which lets the engine delete whole
// tables instead of compacting tombstones. It ends at the first stretch that cannot be read, of
// which a segment may reach far.
func (q *Spool) drop(t *store.Turn) {
	low := q.meta.low
	if low <= q.dropped || low-q.dropped < dropMessages && q.deadSize < dropBytes {
		return
	}
	q.deleteEntries(t, q.dropped, low)
	q.dropped, q.deadSize = low, 0
}
