package spool

import (
	"container/heap"

	"github.com/pebblemq/pebblemq/internal/store"
)

// unshown is what was put and is not shown yet, of a spool whose layer limits it:
// what has to go may be among that, if much was put at once.
type unshown struct {
	kept     bool
	messages ring
	gone     uint64 // of those that were put and are not shown, whether kept or not
}

// KeepUnshown lets Oldest find what was put and is not shown yet, if it is put
// from now on.
func (q *Lanes) KeepUnshown() {
	q.keep = true
	for _, lane := range q.open {
		lane.unshown.kept = true
	}
}

// Oldest returns the message that waits and is the next to be delivered, or else
// the oldest one of the lowest lane. It returns nil if none waits that can be read. It
// is there to be settled.
func (q *Lanes) Oldest(t *store.Turn, lowest bool) *Message {
	for i := range q.open {
		if lowest {
			i = len(q.open) - 1 - i
		}
		if m := q.open[i].oldest(t); m != nil {
			return m
		}
	}
	return nil
}

// oldest returns the first message that waits. It looks on disk for one that was
// not loaded, while the next load is on its way.
func (q *Spool) oldest(t *store.Turn) *Message {
	q.skipGone()
	if q.low() {
		q.startLoading(t)
	}
	first := q.oldestInMemory()
	if len(q.ahead) == 0 && q.window.len() == 0 && (first == nil || first.Seq >= q.loaded) {
		to := q.shown
		if first != nil {
			to = min(to, first.Seq)
		}
		if m := q.probe(t, to); m != nil {
			return m
		}
	}
	if first == nil {
		first = q.oldestUnshown()
	}
	return first
}

func (q *Spool) oldestInMemory() (first *Message) {
	if n := len(q.ahead); n > 0 {
		return q.ahead[n-1]
	}
	if q.window.len() > 0 {
		first = q.window.front()
	}
	for len(q.primes) > 0 && q.primes[0].state != ready {
		m := heap.Pop(&q.primes).(*Message)
		m.popped = m.state == gone
	}
	for _, h := range []seqHeap{q.returned, q.primes} {
		if len(h) > 0 && (first == nil || h[0].Seq < first.Seq) {
			first = h[0]
		}
	}
	return first
}

// probe brings in the first message that is on disk only.
func (q *Spool) probe(t *store.Turn, to uint64) *Message {
	for q.probed = max(q.probed, q.loaded); q.probed < to; q.probed++ {
		if q.early[q.probed] != nil {
			continue
		}
		if l := q.order.find(t, q.probed); !l.gone && l.err == nil { // else the load tells
			return q.comeEarly(t, &l, false)
		}
	}
	return nil
}

func (q *Spool) oldestUnshown() *Message {
	for i := range q.unshown.messages.len() {
		if m := q.unshown.messages.at(i); m.state == ready {
			return m
		}
	}
	return nil
}
