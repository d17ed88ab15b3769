package spool

import "github.com/pebblemq/pebblemq/internal/store"

// Limited says that the layer limits the queue, and looks for the Oldest. What expires makes room
// first, and is in memory for that.
func (q *Lanes) Limited() {
	q.limited = true
	for _, lane := range q.open {
		lane.limited = true
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
	if q.line.low() {
		q.loader.start(t)
	}
	first := q.line.oldest()
	if len(q.line.ahead) == 0 && q.line.window.len() == 0 && (first == nil || first.Seq >= q.loaded) {
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

// probe brings in the first message that is on disk only.
func (q *Spool) probe(t *store.Turn, to uint64) *Message {
	for q.loader.probed = max(q.loader.probed, q.loaded); q.loader.probed < to; q.loader.probed++ {
		if q.order.inMemory(q.loader.probed) != nil {
			continue
		}
		if l := q.order.find(t, q.loader.probed); !l.gone && l.err == nil { // else the load tells
			return q.comeEarly(t, &l, false)
		}
	}
	return nil
}

// oldestUnshown returns the first message that was put and is not shown yet: what has to go may be
// among that, if much was put at once.
func (q *Spool) oldestUnshown() *Message {
	for seq := q.shown; seq < q.meta.next; seq++ {
		if m := q.order.inMemory(seq); m != nil {
			return m
		}
	}
	return nil
}
