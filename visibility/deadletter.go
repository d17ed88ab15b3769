package visibility

import (
	"strings"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// DeadLetterReason says why a message is in a dead-letter queue.
type DeadLetterReason uint8

const (
	ReasonMaxReceives DeadLetterReason = 1 // it was received MaxReceives times
	ReasonExpired     DeadLetterReason = 2 // its retention was over
)

// noteOf returns what is kept of an error.
func noteOf(err error) string {
	s := err.Error()
	return strings.ToValidUTF8(s[:min(len(s), MaxErrorBytes)], "")
}

// move is a message that leaves the queue other than by a Delete, and where it
// went, if anywhere.
type move struct {
	from, to *spool.Message
	dead     *Queue
}

// bury moves a message to the dead-letter queue.
func (q *Queue) bury(t *store.Turn, m *spool.Message, info DeadLetterInfo) move {
	info.Queue, info.At, info.LastError = q.name, t.Now(), m.Note
	data, err := encodeDead(m.Data, &info)
	if err != nil {
		q.s.Log().Error("dead letter is damaged, moved as it is", "queue", q.name, "sequence", m.Seq, "error", err)
		data = m.Data
	}
	born := q.spool.Born(m)
	if q.dead.conf().RestartRetention || info.Reason == ReasonExpired {
		born = info.At.UnixNano()
	}
	q.spool.Settle(t, m)
	to := q.dead.spool.Put(t, spool.Content{Data: data, Payload: m.Payload, Expires: born})
	return move{from: m, to: to, dead: q.dead}
}

func (m move) show(t *store.Turn, q *Queue) {
	q.spool.Settled(t, m.from)
	if m.to != nil {
		m.dead.spool.Show(t, m.to)
	}
}

// spent reports that a message was taken once too often.
func (c *QueueConfig) spent(m *spool.Message) bool {
	return c.MaxReceives > 0 && int64(m.Count) > int64(c.MaxReceives)
}
