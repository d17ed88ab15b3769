package spool

import "github.com/pebblemq/pebblemq/internal/store"

// leanFrom is how many messages of a spool are out before the data of further ones
// is not kept in memory.
const leanFrom = 16 << 10

// Lean lets go of the data of a message that was just taken, if many are out; print, of
// the data, stays as Message.Print. When it is handed out again, or settled by the
// spool's own doing, its data is read again; until then it is empty. It is for
// messages that are in no group and have leases.
func (q *Spool) Lean(m *Message, print func(data []byte) uint32) {
	if m.group == nil && !m.prime && m.segment.sealed && q.out.messages > q.leanFrom {
		m.Print = print(m.Data)
		m.lean, m.Data = uint32(len(m.Data)), nil
	}
}

// Lean is Spool.Lean.
func (q *Lanes) Lean(m *Message, print func([]byte) uint32) { q.of(m).Lean(m, print) }

// fill gives a lean message its data again.
func (m *Message) fill(data []byte) { m.Data, m.lean = data, 0 }

// whole reads the data of a lean message again, and reports false if it cannot be
// read.
func (q *Spool) whole(t *store.Turn, m *Message) bool {
	if m.lean == 0 {
		return true
	}
	l := q.order.find(t, m.Seq)
	if l.gone {
		l.err = damaged("missing message", nil)
	}
	if l.err != nil {
		q.SetAside(t, m, l.err)
		return false
	}
	m.fill(l.Data)
	return true
}
