package spool

import "github.com/pebblemq/pebblemq/internal/store"

// leanFrom is how many messages of a spool are out before the data of further ones
// is not kept in memory.
const leanFrom = 16 << 10

// Lean lets go of the data of a message that was just taken, if many are out. When it
// is handed out again, or settled by the spool's own doing, its data is read again;
// until then it is empty. It is for messages that are in no group.
func (q *Spool) Lean(m *Message) {
	if m.group == nil && !m.prime && q.taken > q.leanFrom {
		m.lean, m.Data = uint32(len(m.Data)), nil
	}
}

// Lean is Spool.Lean.
func (q *Lanes) Lean(m *Message) { q.of(m).Lean(m) }

// whole reads the data of a lean message again. It stays empty if it cannot be read,
// and is found damaged then.
func (q *Spool) whole(t *store.Turn, m *Message) *Message {
	if m.lean == 0 {
		return m
	}
	l, err := q.getEntry(t, m.Seq)
	if err != nil || l.gone || l.damaged {
		q.s.Log().Error("read a message that was in flight", "queue id", q.id, "seq", m.Seq, "error", err)
		return m
	}
	m.Data, m.lean = l.Data, 0
	return m
}
