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

// purge settles what is shown of a segment and not out.
func (s *segment) purge() {
	n := len(s.members)
	if s.sealed {
		n = int(s.last - s.first + 1)
	}
	for i := range n {
		if s.first+uint64(i) < s.q.shown && !s.isGone(i) {
			s.purgeMember(i)
		}
	}
	s.absent = slices.DeleteFunc(s.absent, func(m seqMark) bool { return m.seq < s.q.shown })
}

func (s *segment) purgeMember(i int) {
	var m *Message
	if s.members != nil {
		m = s.members[i]
	}
	if m != nil && m.at == out {
		return
	}
	s.live--
	if m != nil {
		if m.here() {
			s.inMemory--
		}
		m.at = gone
	}
	if s.sealed {
		s.settled.set(i)
		if m != nil {
			s.members[i] = nil
		}
	}
}

// isGone reports that a member was settled.
func (s *segment) isGone(i int) bool {
	if s.sealed {
		return s.settled.has(i)
	}
	return s.members[i].at == gone
}
