package queue

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Take hands out the next message, or nil if there is none at the moment. Its
// delivery is counted. If the message is a suspect the Op is forced to Sync,
// and the message must not reach anyone before Visible. The lease end is kept
// with it; zero is none.
func (q *Lane) Take(t *store.Turn, until time.Time) *Message {
	m := q.pull(t)
	if m != nil {
		m.Until = At(until)
		q.Deliver(t, m)
	}
	return m
}

// pull takes the next message from where it waits.
func (q *Lane) pull(t *store.Turn) *Message {
	if q.closed || q.retention.behind {
		return nil
	}
	m := q.next(t)
	if m == nil {
		return nil
	}
	if m.prime && q.solo == nil {
		q.goSolo(t, m)
	}
	q.move(m, out)
	m.Until, m.Ahead = 0, false
	m.Count++
	if q.groups != nil {
		q.groups.took(t, m)
	}
	return m
}

// Deliver has the delivery of a taken message written, before the next fsync. If the message is a
// suspect the Op is forced to Sync, and the message must not reach anyone before Visible.
func (q *Lane) Deliver(t *store.Turn, m *Message) {
	m.prime, m.waiting = false, false
	q.order.markLater(t, m)
	t.Touch(q)
	t.Promise(markLen)
	if m.Suspect {
		t.ForceSync()
	}
}

// next returns the next deliverable message, where it waits.
func (q *Lane) next(t *store.Turn) *Message {
	if q.groups != nil {
		return q.groups.next(t)
	}
	return q.line.next(t)
}

// Extend gives a taken message another lease end.
func (q *Lane) Extend(t *store.Turn, m *Message, until time.Time) {
	m.Until = At(until)
	q.order.mark(t, m)
	t.Touch(q)
}

// UndoExtend takes Extend back.
func (q *Lane) UndoExtend(m *Message, until Moment) {
	m.Until = until
}

// Settle removes a message for good: one that is taken or, found by Lookup,
// one that waits.
func (q *Lane) Settle(t *store.Turn, m *Message) {
	m.later = false
	q.order.settle(t, m)
	q.settle(t, m)
}

// SettleLater is Settle in an Op that does nothing else. If a crash may take that back, it is
// written before the next fsync, and most often need not be written then.
func (q *Lane) SettleLater(t *store.Turn, m *Message) {
	if !t.Lax() || !q.plain(m) {
		q.Settle(t, m)
		return
	}
	m.later = true
	q.order.settleLater(t, m)
	q.settle(t, m)
}

// plain reports that nothing of the message stands in other records: these are written at once.
func (q *Lane) plain(m *Message) bool {
	return m.Expires == 0 && !m.stray && !m.Unique.set() && !m.Payload.Shared() && q.pins == nil
}

func (q *Lane) settle(t *store.Turn, m *Message) {
	q.expiry.unindex(t, m)
	q.retention.unindex(t, m)
	q.pins.remove(t, m)
	q.release(t, &m.Content, slotEntries)
	m.before = m.at
	q.move(m, gone)
	q.groups.settled(m)
	t.Hold(q.holder(slotEntries), m.Payload, -1)
	q.order.deadSize += m.dataLen()
	t.Touch(q)
}

// UndoSettle takes Settle back.
func (q *Lane) UndoSettle(m *Message) {
	q.order.undoSettle(m)
	switch {
	case m.before == inWindow, m.before == offered, m.before == parked && m.group == nil: // that place is gone
		m.before = returned
	}
	q.move(m, m.before)
	q.s.UndoHold(q.holder(slotEntries), m.Payload, -1)
	q.order.deadSize -= m.dataLen()
}

// Settled frees the memory of a message that was settled.
func (q *Lane) Settled(t *store.Turn, m *Message) {
	if m.before == out {
		m.Data = nil
	}
	if q.groups != nil {
		q.groups.left(t, m)
	}
	if q.through(m) {
		q.ready(t)
	}
}

// Drop settles a message whose retention is over and that goes nowhere, and counts it.
func (q *Lane) Drop(t *store.Turn, m *Message) {
	q.Settle(t, m)
	q.meta.outlived++
}

// Return gives a taken message back. Its count stays unless forgive says that
// the delivery was nobody's fault.
func (q *Lane) Return(t *store.Turn, m *Message, forgive bool) {
	q.move(m, returning)
	if m.forgiven = forgive; forgive {
		m.Count--
	}
	m.Until = 0
	q.order.mark(t, m)
	t.Touch(q)
	q.line.back = appendOpen(q.line.back, m, func(m *Message) bool { return m.at == returning })
}

// UndoReturn takes Return back.
func (q *Lane) UndoReturn(m *Message, until Moment) {
	if m.forgiven {
		m.Count++
	}
	m.Until, m.Ahead = until, false
	q.move(m, out)
}

// Returned makes a message that was given back deliverable at its old place.
func (q *Lane) Returned(t *store.Turn, m *Message) {
	q.through(m)
	switch {
	case m.at == returning:
		if m.Suspect = m.prime || m.waiting && m.Suspect; m.waiting {
			m.waiting = false // nobody has seen it
		}
		q.waitAgain(t, m)
		q.expiry.mayEnd(t, m)
	case m.at == gone && q.groups != nil: // a purge came between
		q.groups.left(t, m)
	}
	q.ready(t)
}

// waitAgain puts a message where it waits after a delivery.
func (q *Lane) waitAgain(t *store.Turn, m *Message) {
	if q.groups != nil && (q.groups.fair || m.group != nil) {
		q.groups.left(t, m)
	}
	if m.group == nil && !(q.groups != nil && q.groups.passing.again(t, m)) {
		q.wait(m)
	}
}

// wait puts a message among those that were delivered before.
func (q *Lane) wait(m *Message) {
	switch {
	case m.prime && !q.groups.ordered(): // in a group, order comes first
		q.move(m, tried)
	case m.Ahead:
		q.move(m, ahead)
	default:
		q.move(m, returned)
	}
}

// NextRound begins a receive. The receive finds all messages that were given back before, even if a
// change ahead of them waits for the disk and they are not visible yet. Their receivers were told
// so, and a delivery of now is written after that. The messages of a group that are taken in one
// round are in order for their receiver. So only those of other rounds block a group.
func (q *Lane) NextRound(t *store.Turn) {
	if q.groups != nil {
		q.groups.round++
	}
	for i, m := range q.line.back {
		q.line.back[i] = nil
		if m.at == returning { // or that was undone
			q.Returned(t, m)
		}
	}
	q.line.back = q.line.back[:0]
}

// SetAside takes a message out of everyone's reach that is out, or waits, and cannot be
// read. It stays in the queue.
func (q *Lane) SetAside(t *store.Turn, m *Message, err error) {
	if m.at == out {
		m.Count-- // it reached nobody
	}
	m.Until = 0
	q.order.mark(t, m) // or it would be counted as taken at the next start
	q.move(m, onDisk)
	t.Touch(q)
	q.bad.lose(t, m.Seq, err)
	if q.groups != nil {
		q.groups.left(t, m)
	}
	if q.through(m) {
		q.ready(t)
	}
}

// Purge removes what is ready or cannot be read, and what is delayed if asked, and
// returns how many messages that were. What is taken, and what is not visible yet, stays; of
// a lane with leases that is known once it is Recalled.
// It has no Undo: it belongs in an Op of its own.
func (q *Lane) Purge(t *store.Turn, delayedToo bool) int {
	before := q.meta.entries
	var back []*Message
	q.order.messages(func(m *Message) {
		if m.at == returning {
			back = append(back, m)
		}
	})
	q.order.purge(t)
	for _, m := range back { // whoever gave it back was told so
		q.groups.settled(m)
	}
	q.recount(t)
	q.groups.purge(t)
	q.line.window.empty()
	q.line.returned, q.line.ahead, q.crash.primes, q.returning, q.crash.unloaded = nil, nil, nil, 0, 0
	q.loaded, q.loader.plan.void, q.expiry.void, q.retention.void = q.shown, true, true, true
	q.bad.purge()
	q.expiry.passed, q.expiry.left = nil, tally{}
	q.reclaim(t)
	n := int(before - q.meta.entries)
	if delayedToo {
		n += q.delays.purge(t)
	}
	t.Touch(q)
	return n
}

// recount has the counters be those of what a purge has kept.
func (q *Lane) recount(t *store.Turn) {
	q.meta.entries, q.meta.bytes = 0, 0
	held := make(map[uint32]uint64)
	q.order.messages(func(m *Message) {
		q.meta.entries++
		q.meta.bytes += m.size()
		held[m.Payload.Generation]++ // 0, of those without, holds nothing
	})
	t.HoldOnly(q.holder(slotEntries), held)
}

// reclaim writes the records again of what a purge has kept.
func (q *Lane) reclaim(t *store.Turn) {
	q.order.messages(func(m *Message) { q.claim(t, &m.Content, slotEntries, m.position()) })
}
