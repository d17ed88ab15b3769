package queue

import "slices"

// group is what is known of a group while something of it is in flight or
// parked. Of all the others nothing is known, and nothing needs to be: whatever
// of them comes to the front of the queue may go.
//
//	window ──▶ open? ──yes──▶ in flight (hidden) ──▶ settled, or parked again
//	             │no               ▲
//	             ▼                 │ when what is before it has been settled
//	           parked ──▶ offered ─┘
//	             │ ▲
//	 too many of │ │ in chunks,
//	         them▼ │ when they are needed
//	           spilled
//
// Invariant: what is parked, offered or spilled of a group stands in the queue
// before all of it that is in the window or has not been loaded, with the
// exception of what was returned, which is parked wherever it stands.
type group struct {
	id      string
	hidden  []uint64 // in flight, in order, until the end of that is visible
	parked  seqHeap
	offered *Message // the first of the parked, when it stands among the returned

	number   uint64 // of its spilled ones in the index
	from, to uint64 // where these lie; the same if there are none
	slot     int    // in the heap of groups that have some, from 1
	wanted   bool   // is to be read back

	inFlight int    // of a tenant, see fair.go
	head     uint64 // the first of its parked
	rank     int    // in the heap of tenants that wait, or of those that pass, from 1
	passing  bool   // which of them

	round   uint64 // that took something of it last
	ceiling uint64 // the first that was in flight when that round began
}

// none is the ceiling of a group of which nothing is in flight.
const none = ^uint64(0)

// idle reports that nothing needs to be known of the group.
func (g *group) idle() bool {
	return len(g.hidden) == 0 && g.inFlight == 0 && g.rank == 0 && len(g.parked) == 0 && g.offered == nil && !g.spilled()
}

func (g *group) spilled() bool { return g.from < g.to }

// open reports whether the message with that number may be taken in this round:
// everything of its group that stands before it is gone, or taken in the same
// round.
func (g *group) open(seq, round uint64) bool {
	switch {
	case len(g.parked) > 0 && g.parked[0].Seq < seq:
		return false
	case g.offered != nil && g.offered.Seq < seq:
		return false
	case g.spilled() && g.from < seq:
		return false
	}
	return g.inReach(seq, round)
}

// inReach reports that nothing in flight stands before the message with that
// number but what was taken in the same round.
func (g *group) inReach(seq, round uint64) bool {
	if g.round == round {
		return seq < g.ceiling
	}
	return seq < g.first()
}

// first returns the first that is in flight.
func (g *group) first() uint64 {
	if len(g.hidden) == 0 {
		return none
	}
	return g.hidden[0]
}

// hide notes that a message is in flight.
func (g *group) hide(seq uint64) {
	i, found := slices.BinarySearch(g.hidden, seq)
	if !found {
		g.hidden = slices.Insert(g.hidden, i, seq)
	}
}

// bare notes that it is not.
func (g *group) bare(seq uint64) {
	if i, found := slices.BinarySearch(g.hidden, seq); found {
		g.hidden = slices.Delete(g.hidden, i, i+1)
	}
}

// spillHeap orders groups by the first that they have spilled.
type spillHeap []*group

func (h spillHeap) Len() int           { return len(h) }
func (h spillHeap) Less(i, j int) bool { return h[i].from < h[j].from }

func (h spillHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

func (h *spillHeap) Push(x any) {
	g := x.(*group)
	*h = append(*h, g)
	g.slot = len(*h)
}

func (h *spillHeap) Pop() any {
	old := *h
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*h, g.slot = old[:len(old)-1], 0
	return g
}
