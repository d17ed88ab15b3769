package visibility

import (
	"container/heap"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// leaseHeap holds what is in flight in the order in which its time ends, and
// one timer for the first. A timer for each message would make the scheduler's
// memory grow with messages; looking through all of them at each tick would be
// polling.
//
// The timer is armed when a lease becomes the earliest. It is not moved back
// when that one is extended or settled, which is what happens to most: it
// fires then, finds nothing due and arms itself for what is first.
//
// Invariant: messages[i].Slot == i+1; Slot is 0 outside the heap. If there are
// messages the timer is armed for the first one or earlier.
type leaseHeap struct {
	messages []*queue.Message
	timer    *store.Timer
	armed    time.Time // zero if it is not
}

func (h *leaseHeap) Len() int           { return len(h.messages) }
func (h *leaseHeap) Less(i, j int) bool { return h.messages[i].Until < h.messages[j].Until }

func (h *leaseHeap) Swap(i, j int) {
	m := h.messages
	m[i], m[j] = m[j], m[i]
	m[i].Slot, m[j].Slot = int32(i)+1, int32(j)+1
}

func (h *leaseHeap) Push(x any) {
	m := x.(*queue.Message)
	h.messages = append(h.messages, m)
	m.Slot = int32(len(h.messages))
}

func (h *leaseHeap) Pop() any {
	last := len(h.messages) - 1
	m := h.messages[last]
	h.messages[last] = nil
	h.messages, m.Slot = h.messages[:last], 0
	return m
}

// add puts a message in, without the timer.
func (h *leaseHeap) add(m *queue.Message) {
	if m.Slot == 0 {
		heap.Push(h, m)
	}
}

func (h *leaseHeap) remove(m *queue.Message) {
	if m.Slot > 0 {
		heap.Remove(h, int(m.Slot)-1)
	}
}

// moved restores the order after m got another end.
func (h *leaseHeap) moved(m *queue.Message) {
	if m.Slot > 0 {
		heap.Fix(h, int(m.Slot)-1)
	}
}

// arm sees to it that the timer fires in time for the first.
func (h *leaseHeap) arm(t *store.Turn) {
	if len(h.messages) == 0 {
		return
	}
	if first := h.messages[0].Until.Time(); h.armed.IsZero() || first.Before(h.armed) {
		h.armed = first
		t.Arm(h.timer, first)
	}
}

// expire is what the timer calls.
func (q *Queue) expire(t *store.Turn) {
	q.leases.armed = time.Time{}
	if q.dropped {
		return
	}
	if len(q.leases.messages) > 0 && !q.leases.messages[0].Until.After(t.Now()) {
		t.Post(&expiry{q: q}, store.NoSync)
		return
	}
	q.leases.arm(t)
}

// rouse ends what is due, if its timer has not run yet, and reports whether that is under way: who
// asks gets what is visible.
func (q *Queue) rouse(t *store.Turn) bool {
	due := len(q.leases.messages) > 0 && !q.leases.messages[0].Until.After(t.Now())
	if due {
		t.Post(&expiry{q: q}, store.NoSync)
	}
	return q.core.Rouse(t) || due
}

// resume is called with what was in flight when the store was closed.
func (q *Queue) resume(t *store.Turn, m *queue.Message) {
	q.leases.add(m)
	q.leases.arm(t)
}

// expiredAtOnce bounds how long one expiry holds the baton.
const expiredAtOnce = 1024

// expiry is the Op that makes messages visible again whose time has ended. The
// count of the receive stays.
type expiry struct {
	q     *Queue
	ended []*queue.Message
}

func (e *expiry) Run(t *store.Turn) error {
	h := &e.q.leases
	if e.q.dropped {
		return nil
	}
	for len(h.messages) > 0 && len(e.ended) < expiredAtOnce {
		m := h.messages[0]
		if m.Until.After(t.Now()) {
			break
		}
		h.remove(m)
		e.q.core.Return(t, m, false)
		e.ended = append(e.ended, m)
	}
	h.arm(t)
	return nil
}

func (e *expiry) Undo() {}

func (e *expiry) Visible(t *store.Turn) {
	for _, m := range e.ended {
		e.q.attempts.changed(m.Holder())
		e.q.core.Returned(t, m)
	}
}

// Frees lets it in on a full disk, for consumers to make room.
func (e *expiry) Frees() {}
