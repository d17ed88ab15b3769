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
	kept := q.kept()
	unseen := q.meta.next - q.shown - q.unshown.gone
	n := int(q.meta.entries - unseen - uint64(len(kept)))
	q.meta.bytes = q.unseenBytes
	held := maps.Clone(q.unseenHeld)
	lo := q.meta.low
	for _, m := range kept {
		q.deleteEntries(t, lo, m.Seq)
		lo = m.Seq + 1
		q.meta.bytes += m.size()
		held[m.Payload.Generation]++ // 0, of those without, holds nothing
	}
	t.HoldOnly(q.holder(slotEntries), held)
	q.deleteEntries(t, lo, q.shown)
	q.meta.entries = unseen + uint64(len(kept))
	q.groups.purge(t)
	q.emptyWindow()
	q.returned, q.ahead, q.primes, q.unloaded = nil, nil, nil, 0
	q.unmarked.forget()
	q.loaded, q.plan.void, q.expiry.void, q.keep.void = q.shown, true, true, true
	q.bad.purge()
	clear(q.early)
	for seq, m := range q.held {
		if m.state != taken && m.state != returning {
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

// kept returns what a purge must not touch, in order.
func (q *Spool) kept() []*Message {
	var kept []*Message
	for _, from := range [][]*Message{q.order, q.strays} {
		for _, m := range from {
			if m.state == taken || m.state == returning {
				kept = append(kept, m)
			}
		}
	}
	slices.SortFunc(kept, func(a, b *Message) int { return cmp.Compare(a.Seq, b.Seq) })
	kept = slices.Compact(kept) // one may have come to be out in several ways
	q.order, q.strays = slices.Clone(kept), nil
	return kept
}

// deleteRead deletes a range and leaves in it what cannot be read.
func (q *Spool) deleteRead(t *store.Turn, from, to uint64) {
	for _, s := range q.bad.stretches {
		if s.to > from && s.from < to {
			q.deleteEntries(t, from, s.from)
			from = s.to
		}
	}
	q.deleteEntries(t, from, to)
}

func (q *Spool) deleteEntries(t *store.Turn, from, to uint64) {
	if from >= to {
		return
	}
	for _, k := range []store.Kind{q.layout.Entry, q.layout.Mark} {
		t.DeleteRange(seqKey(k, q.place, from), seqKey(k, q.place, to))
	}
}
