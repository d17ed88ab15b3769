package visibility

import (
	"encoding/binary"
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A message is kept for the retention of its queue, from when it could be received
// for the first time: it was sent, or its delay was over. SQS counts from the send
// and stops delays at 15 minutes; here they may be longer than any retention.
//
// The spool finds what is over, see its retain.go. Whoever meets it before that, by
// a receive or a receipt, treats it as gone.

// DefaultRetention is that of SQS.
const DefaultRetention = 4 * 24 * time.Hour

// MaxRetention is the longest QueueConfig.Retention.
const MaxRetention = 100 * 365 * 24 * time.Hour

func checkRetention(d time.Duration) error {
	if d <= 0 || d > MaxRetention {
		return store.Invalid("Retention %v is not between 0 and %v", d, MaxRetention)
	}
	return nil
}

// bornOf returns when an encoded message was sent. It is called for each under the
// baton, and does not decode the rest.
func bornOf(data []byte) int64 {
	f := fields{rest: data}
	_, sent := f.head()
	return int64(sent)
}

// stamp sets when an encoded message was sent. Under the baton that is in order,
// unless the clock was set back.
func stamp(data []byte, sent time.Time) {
	binary.BigEndian.PutUint64(data[sentAt:], uint64(sent.UnixNano()))
}

// end returns when a message is over that was born then.
func (q *Queue) end(born int64) time.Time { return time.Unix(0, born).Add(q.conf().Retention) }

// expired is called with what is over, wherever it stands.
func (q *Queue) expired(t *store.Turn, m *spool.Message) func(*store.Turn) {
	q.leases.remove(m)
	moved := q.retire(t, m, m.Count)
	return func(t *store.Turn) {
		q.attempts.changed(m.Holder)
		moved.show(t, q)
		q.left(t)
	}
}

// retire takes a message out of the queue that is over.
func (q *Queue) retire(t *store.Turn, m *spool.Message, receives uint32) move {
	if q.conf().DeadLetterExpired {
		return q.bury(t, m, DeadLetterInfo{Reason: ReasonExpired, ReceiveCount: int(receives)})
	}
	q.spool.Drop(t, m)
	return move{from: m}
}

// keeps returns for how long the message of a receipt is kept.
func (q *Queue) keeps(d delivery) time.Duration { return q.end(d.born).Sub(q.s.Now()) }
