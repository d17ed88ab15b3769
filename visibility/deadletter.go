package visibility

import (
	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// move is a message that goes to the dead-letter queue, as part of the receive
// that would have been one too many.
type move struct {
	from, to *spool.Message
}

// bury moves a message that was just taken. That take is not counted.
func (q *Queue) bury(t *store.Turn, m *spool.Message) move {
	data, err := encodeDead(m.Data, &DeadLetterInfo{Queue: q.name, ReceiveCount: int(m.Count) - 1, At: t.Now()})
	if err != nil {
		q.s.Log().Error("dead letter is damaged, moved as it is", "queue", q.name, "sequence", m.Seq, "error", err)
		data = m.Data
	}
	q.spool.Settle(t, m)
	return move{from: m, to: q.dead.spool.Put(t, spool.Content{Data: data, Payload: m.Payload})}
}

func (m move) show(t *store.Turn, q *Queue) {
	q.spool.Settled(t, m.from)
	q.dead.spool.Show(t, m.to)
}
