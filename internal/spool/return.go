package spool

import "github.com/pebblemq/pebblemq/internal/store"

// Return gives a taken message back. Its count stays unless forgive says that
// the delivery was nobody's fault.
func (q *Spool) Return(t *store.Turn, m *Message, forgive bool) {
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
func (q *Spool) UndoReturn(m *Message, until Moment) {
	if m.forgiven {
		m.Count++
	}
	m.Until, m.Ahead = until, false
	q.move(m, out)
}

// Returned makes a message that was given back deliverable at its old place.
func (q *Spool) Returned(t *store.Turn, m *Message) {
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
func (q *Spool) waitAgain(t *store.Turn, m *Message) {
	if q.groups != nil && (q.groups.fair || m.group != nil) {
		q.groups.left(t, m)
	}
	if m.group == nil && !(q.groups != nil && q.groups.passing.again(t, m)) {
		q.wait(m)
	}
}

// wait puts a message among those that were delivered before.
func (q *Spool) wait(m *Message) {
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
func (q *Spool) NextRound(t *store.Turn) {
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
