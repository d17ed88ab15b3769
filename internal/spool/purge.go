package spool

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Purge removes what is ready or cannot be read, and what is delayed if asked, and
// returns how many messages that were. What is taken, and what is not visible yet, stays; of
// a spool with leases that is known once it is Recalled.
// It has no Undo: it belongs in an Op of its own.
func (q *Spool) Purge(t *store.Turn, delayedToo bool) int {
	kept, back := q.kept()
	unseen := q.meta.next - q.shown - q.unshown.gone
	n := int(q.meta.entries - unseen - uint64(len(kept)))
	q.meta.bytes = q.unseenBytes
	held := maps.Clone(q.unseenHeld)
	for _, m := range kept {
		q.meta.bytes += m.size()
		held[m.Payload.Generation]++ // 0, of those without, holds nothing
	}
	t.HoldOnly(q.holder(slotEntries), held)
	q.order.purge(t, kept)
	for _, m := range back { // whoever gave it back was told so
		q.groups.settled(m)
	}
	q.meta.entries = unseen + uint64(len(kept))
	q.groups.purge(t)
	q.emptyWindow()
	q.returned, q.ahead, q.primes, q.unloaded = nil, nil, nil, 0
	q.loaded, q.plan.void, q.expiry.void, q.keep.void = q.shown, true, true, true
	q.bad.purge()
	q.expiry.passed, q.expiry.left = nil, tally{}
	clear(q.early)
	for seq, m := range q.held {
		if m.state != taken {
			delete(q.held, seq)
		}
	}
	q.reclaim(t, kept)
	if delayedToo {
		n += q.purgeDelayed(t)
	}
	t.Touch(q)
	return n
}

func (q *Spool) purgeDelayed(t *store.Turn) int {
	n := int(q.meta.delayed)
	lo, hi := q.span(q.layout.Delayed)
	t.DeleteRange(lo, hi)
	if q.identify != nil {
		t.DeleteRange(q.span(q.layout.DelayedID))
	}
	t.HoldOnly(q.holder(slotDelayed), nil)
	q.meta.delayed, q.meta.delayedBytes, q.meta.nextDue = 0, 0, 0
	q.bad.late, q.bad.lateMessages = nil, 0
	q.armDue(t)
	return n
}

// kept returns what a purge must not touch, in order, and what it removes that was given back and is
// not visible yet.
func (q *Spool) kept() (kept, back []*Message) {
	for _, from := range [][]*Message{q.passed, q.strays} {
		for _, m := range from {
			switch m.state {
			case taken:
				kept = append(kept, m)
			case returning:
				back = append(back, m)
			}
		}
	}
	slices.SortFunc(kept, func(a, b *Message) int { return cmp.Compare(a.Seq, b.Seq) })
	kept = slices.Compact(kept) // one may have come to be out in several ways
	q.passed, q.strays = slices.Clone(kept), nil
	return kept, back
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

// purge deletes what is shown, but for some messages. Segments of which something stays are
// kept.
func (o *order) purge(t *store.Turn, kept []*Message) {
	q := o.q
	stays := make(map[uint64]bool, len(kept))
	for _, m := range kept {
		stays[m.Seq] = true
	}
	lo := q.meta.low
	for _, s := range o.inOrder() {
		if s.dropped { // and is known for those who read
			continue
		}
		if s.purge(stays); s.live == 0 {
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
func (o *order) inOrder() []*segment {
	all := slices.SortedFunc(maps.Values(o.known), func(a, b *segment) int { return cmp.Compare(a.first, b.first) })
	return append(all, o.pending...)
}

// purge settles what is shown of a segment, and does not stay.
func (s *segment) purge(stays map[uint64]bool) {
	n := len(s.members)
	if s.sealed {
		n = int(s.last - s.first + 1)
	}
	for i := range n {
		seq := s.first + uint64(i)
		if seq >= s.q.shown || stays[seq] || s.isGone(i) {
			continue
		}
		s.live--
		if s.sealed {
			s.settled.set(i)
		}
		if i < len(s.members) && s.members[i] != nil {
			if s.members[i].here() {
				s.inMemory--
			}
			if s.members[i].state = gone; s.sealed {
				s.members[i] = nil
			}
		}
	}
	s.absent = slices.DeleteFunc(s.absent, func(m seqMark) bool { return !stays[m.seq] })
}

// isGone reports that a member was settled.
func (s *segment) isGone(i int) bool {
	if s.sealed {
		return s.settled.has(i)
	}
	return s.members[i].state == gone
}
