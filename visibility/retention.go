package visibility

import (
	"encoding/binary"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// DefaultRetention is that of queues that say nothing else.
const DefaultRetention = 4 * 24 * time.Hour

// MaxRetention is the longest, where SQS stops at 14 days.
const MaxRetention = MaxDelay

// sentAt returns when an encoded message was sent, which is where its retention
// begins unless the queue core knows otherwise.
func sentAt(data []byte) int64 {
	if len(data) < messageHead {
		return 0
	}
	return int64(binary.BigEndian.Uint64(data[2:]))
}

// stamp sets that. It is done under the baton: then messages are sent in the order in
// which they stand, and the queue core needs no index to know the oldest.
func stamp(data []byte, now time.Time) {
	binary.BigEndian.PutUint64(data[2:], uint64(now.UnixNano()))
}

// retain tells the queue core how long to keep messages.
func (q *Queue) retain(t *store.Turn) {
	c := q.config()
	q.core.Retain(t, c.Retention, c.DeadLetterExpired)
}

// outlived ends a message whose retention is over.
func (q *Queue) outlived(t *store.Turn, m *queue.Message) func(*store.Turn) {
	return q.retire(t, m, int(m.Count)).show
}

func (q *Queue) retire(t *store.Turn, m *queue.Message, receives int) move {
	if q.config().DeadLetterExpired {
		return q.bury(t, m, DeadLetterInfo{Reason: ReasonExpired, ReceiveCount: receives})
	}
	q.leases.remove(m)
	q.core.Drop(t, m)
	return move{q: q, from: m}
}

// arrive returns when the retention here began of a message that comes from another
// queue. What would be over already begins anew: a move is not to lose it.
func (q *Queue) arrive(t *store.Turn, born int64) int64 {
	if q.config().RetentionRestarts || q.outlives(t, born) {
		return t.Now().UnixNano()
	}
	return born
}

// outlives reports whether a message that was born then is gone by now.
func (q *Queue) outlives(t *store.Turn, born int64) bool {
	return !time.Unix(0, born).Add(q.config().Retention).After(t.Now())
}
