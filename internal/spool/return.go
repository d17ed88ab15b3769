package spool

import (
	"container/heap"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Return gives a taken message back. Its count stays unless forgive says that
// the delivery was nobody's fault.
func (q *Spool) Return(t *store.Turn, m *Message, forgive bool) {
	m.state, m.forgiven = returning, forgive
	if forgive {
		m.Count--
	}
	q.takeIn(m)
	q.held[m.Seq] = m
	m.Until = 0
	q.order.mark(t, m)
	t.Touch(q)
	q.back = appendOpen(q.back, m, func(m *Message) bool { return m.state == returning })
}

// UndoReturn takes Return back.
func (q *Spool) UndoReturn(m *Message, until Moment) {
	if m.forgiven {
		m.Count++
	}
	m.state, m.Until, m.Ahead = taken, until, false
	q.handOut(m)
}

// Returned makes a message that was given back deliverable at its old place.
func (q *Spool) Returned(t *store.Turn, m *Message) {
	q.through(m)
	switch {
	case m.state == returning:
		if m.Suspect = m.prime || m.waiting && m.Suspect; m.waiting {
			m.waiting = false // nobody has seen it
		}
		q.waitAgain(t, m)
		q.mayExpire(t, m)
	case m.state == gone && q.groups != nil: // a purge came between
		q.groups.left(t, m)
	}
	q.ready(t)
}

// waitAgain puts a message where it waits after a delivery.
func (q *Spool) waitAgain(t *store.Turn, m *Message) {
	if q.groups != nil && (q.groups.fair || m.group != nil) {
		q.groups.left(t, m)
	}
	if m.group == nil && !(q.groups != nil && q.groups.line.again(t, m)) {
		q.wait(m)
	}
}

// wait puts a message among those that were delivered before.
func (q *Spool) wait(m *Message) {
	m.state = ready
	q.held[m.Seq] = m
	if m.prime && !q.groups.ordered() { // in a group, order comes first
		heap.Push(&q.primes, m)
	} else {
		q.line(m)
	}
}

// line puts a message before all others, or at its old place.
func (q *Spool) line(m *Message) {
	if m.Ahead {
		q.ahead = append(q.ahead, m)
		return
	}
	heap.Push(&q.returned, m)
}

// NextRound begins a receive. The receive finds all messages that were given back before, even if a
// change ahead of them waits for the disk and they are not visible yet. Their receivers were told
// so, and a delivery of now is written after that. The messages of a group that are taken in one
// round are in order for their receiver. So only those of other rounds block a group.
func (q *Spool) NextRound(t *store.Turn) {
	if q.groups != nil {
		q.groups.round++
	}
	for i, m := range q.back {
		q.back[i] = nil
		if m.state == returning { // or that was undone
			q.Returned(t, m)
		}
	}
	q.back = q.back[:0]
}
