package queue

import (
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// deleteTo deletes the segments that end in a range.
func (o *order) deleteTo(t *store.Turn, from, to uint64) {
	q := o.q
	if from >= to {
		return
	}
	for _, k := range []store.Kind{q.layout.Segment, q.layout.State} {
		t.DeleteRange(seqKey(k, q.place, from), seqKey(k, q.place, to))
	}
}

// purge deletes what is shown and not out. Segments of which something stays are kept.
func (o *order) purge(t *store.Turn) {
	q := o.q
	lo := q.meta.low
	for _, s := range o.inOrder() {
		if s.dropped { // and is known for those who read
			continue
		}
		if s.purge(); s.live == 0 {
			if s.sealed && s.last >= q.shown { // what is not shown was settled before
				s.delete(t)
			} else {
				s.drop()
			}
			continue
		}
		if s.sealed {
			s.touch(t)
			q.order.deleteTo(t, lo, s.last)
			lo = s.last + 1
		}
	}
	q.order.deleteTo(t, lo, q.shown)
	o.pending = slices.DeleteFunc(o.pending, func(s *segment) bool { return s.dropped })
	o.recent = slices.DeleteFunc(o.recent, func(s *segment) bool { return s.dropped })
}

// inOrder returns all that is known of segments, in the order of the queue.
func (o *order) inOrder() []*segment { return append(o.known.all(), o.pending...) }
