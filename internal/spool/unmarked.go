package spool

import "github.com/pebblemq/pebblemq/internal/store"

// unmarked is what was taken since a group was synced last, and so has no mark
// on disk yet. Most of it is settled before it needs one.
type unmarked struct {
	store.Sealed
	q        *Spool
	messages []*Message
}

func (u *unmarked) add(m *Message) {
	m.dirty = true
	u.messages = append(u.messages, m)
}

// Seal writes the marks of what is still there.
func (u *unmarked) Seal(t *store.Turn) {
	for _, m := range u.messages {
		if m.state != gone && m.dirty && !u.q.closed {
			u.q.writeMark(t, m)
		}
	}
	clear(u.messages)
	u.messages = u.messages[:0]
}

// markLater has the mark written before the delivery counts as durable.
func (q *Spool) markLater(t *store.Turn, m *Message) {
	q.unmarked.add(m)
	t.TouchLate(&q.unmarked)
}

// forget spares a purge the marks of what it has removed.
func (u *unmarked) forget() {
	for _, m := range u.messages {
		m.dirty = m.dirty && (m.state == taken || m.state == returning)
	}
}
