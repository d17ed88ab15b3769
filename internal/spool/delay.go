package spool

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Delayed is a message that waits for its time. It lives on disk only.
type Delayed struct {
	size    uint64
	payload store.Payload
	due     int64
	nextDue int64 // of the spool, before
}

// PutDelayed adds a message that becomes ready at due, at the end of the queue
// as it is then.
func (q *Spool) PutDelayed(t *store.Turn, data []byte, p store.Payload, due time.Time) Delayed {
	d := Delayed{size: uint64(len(data)) + uint64(p.Size), payload: p, due: nanos(due), nextDue: q.meta.nextDue}
	t.Set(dueKey(q.layout.Delayed, q.id, d.due, q.meta.delaySeq), encodeDelayed(0, p, data))
	t.Hold(q.holder(slotDelayed), p, 1)
	q.meta.delaySeq++
	if q.meta.delayed == 0 || d.due < q.meta.nextDue {
		q.meta.nextDue = d.due
	}
	if q.plan.putDue == 0 || d.due < q.plan.putDue {
		q.plan.putDue = d.due
	}
	q.meta.delayed++
	q.meta.delayedBytes += d.size
	t.Touch(q)
	return d
}

// UndoDelayed takes the last PutDelayed back.
func (q *Spool) UndoDelayed(d Delayed) {
	q.s.UndoHold(q.holder(slotDelayed), d.payload, 1)
	q.meta.delaySeq--
	q.meta.delayed--
	q.meta.delayedBytes -= d.size
	q.meta.nextDue = d.nextDue
}

// ShowDelayed lets the clock run for what was put.
func (q *Spool) ShowDelayed(t *store.Turn) { q.armDue(t) }

func (q *Spool) armDue(t *store.Turn) {
	if q.meta.delayed == 0 || q.closed {
		t.Disarm(q.due)
		return
	}
	t.Arm(q.due, time.Unix(0, q.meta.nextDue))
}
