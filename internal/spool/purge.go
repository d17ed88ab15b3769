package spool

import (
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Purge removes what is ready or cannot be read, and what is delayed if asked, and
// returns how many messages that were. What is taken, and what is not visible yet, stays; of
// a spool with leases that is known once it is Recalled.
// It has no Undo: it belongs in an Op of its own.
func (q *Spool) Purge(t *store.Turn, delayedToo bool) int {
	before := q.meta.entries
	var back []*Message
	q.order.messages(func(m *Message) {
		if m.at == returning {
			back = append(back, m)
		}
	})
	q.order.purge(t)
	for _, m := range back { // whoever gave it back was told so
		q.groups.settled(m)
	}
	q.recount(t)
	q.groups.purge(t)
	q.line.window.empty()
	q.line.returned, q.line.ahead, q.crash.primes, q.returning, q.crash.unloaded = nil, nil, nil, 0, 0
	q.loaded, q.loader.plan.void, q.expiry.void, q.retention.void = q.shown, true, true, true
	q.bad.purge()
	q.expiry.passed, q.expiry.left = nil, tally{}
	q.reclaim(t)
	n := int(before - q.meta.entries)
	if delayedToo {
		n += q.delays.purge(t)
	}
	t.Touch(q)
	return n
}

// recount has the counters be those of what a purge has kept.
func (q *Spool) recount(t *store.Turn) {
	q.meta.entries, q.meta.bytes = 0, 0
	held := make(map[uint32]uint64)
	q.order.messages(func(m *Message) {
		q.meta.entries++
		q.meta.bytes += m.size()
		held[m.Payload.Generation]++ // 0, of those without, holds nothing
	})
	t.HoldOnly(q.holder(slotEntries), held)
}

// deleteEntries deletes the segments that end in a range.
func (q *Spool) deleteEntries(t *store.Turn, from, to uint64) {
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
			q.deleteEntries(t, lo, s.last)
			lo = s.last + 1
		}
	}
	q.deleteEntries(t, lo, q.shown)
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
