package spool

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Delayed is a message that waits for its time. It lives on disk only.
type Delayed struct {
	Position
	size    uint64
	payload store.Payload
	nextDue int64 // of the spool, before
}

// PutDelayed adds a message that becomes ready at due, at the end of the queue
// as it is then.
func (q *Spool) PutDelayed(t *store.Turn, c Content, due time.Time) Delayed {
	at := Position{Lane: q.lane, Due: int64(At(due)), Seq: q.meta.delaySeq}
	d := Delayed{Position: at, size: c.size(), payload: c.Payload, nextDue: q.meta.nextDue}
	t.Set(dueKey(q.layout.Delayed, q.place, at.Due, at.Seq), c.encodeDelayed())
	q.indexID(t, &c, at)
	q.claim(t, &c, slotDelayed, at)
	t.Hold(q.holder(slotDelayed), c.Payload, 1)
	q.meta.delaySeq++
	if q.laterLeft() == 0 || d.Due < q.meta.nextDue {
		q.meta.nextDue, q.nextLate = d.Due, 0
	}
	if q.plan.putDue == 0 || d.Due < q.plan.putDue {
		q.plan.putDue = d.Due
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
	q.meta.nextDue, q.nextLate = d.nextDue, 0
}

// ShowDelayed lets the clock run for what was put.
func (q *Spool) ShowDelayed(t *store.Turn) { q.armDue(t) }

// Rouse has what is due read, if its timer has not run yet, and reports whether that is under way.
func (q *Spool) Rouse(t *store.Turn) bool {
	if q.closed || q.laterLeft() == 0 || q.meta.nextDue > t.Now().UnixNano() {
		return false
	}
	q.startLoading(t)
	return q.loading
}

func (q *Spool) armDue(t *store.Turn) {
	if q.laterLeft() == 0 || q.closed {
		t.Disarm(q.due)
		return
	}
	t.Arm(q.due, time.Unix(0, q.meta.nextDue))
}
