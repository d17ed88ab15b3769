package queue

import (
	"container/heap"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Fairness is the other use of groups, of tenants then: no order is kept, but
// one that has more than its share of what is in flight gives way to those that
// have not. Its messages step aside, and are handed out when there are none of
// the others. It is the same parking and spilling: so a tenant with a backlog of
// millions is passed by the rest, at the cost of one look at each of its
// messages.
//
// The share is an equal part of what is in flight, with one part left for a
// tenant that comes next; so one which is alone gives way too. A message in no
// group is a tenant of its own.
//
// Those that wait are in a heap by what they have in flight. The least of all
// is the first to have its share again, and the first to be served when nobody
// has: nothing needs to be looked through when the share changes.

// The first messages of a tenant that has nothing else waiting do not stand in line at
// all, see passing.go. Where the line hides others, it is walked, see walk.go. While all
// of it is of one tenant, nothing steps aside.

// lookAhead is how many messages may step aside in one Take. A walk goes on with the
// rest; until then there is enough of those that stepped aside.
const lookAhead = 64

// fairness is what is known of all tenants together.
type fairness struct {
	inFlight int      // messages, of tenants
	active   int      // tenants, that have some
	single   int      // messages in no group
	waiting  fairHeap // tenants that have some parked in memory
}

// noisy reports that the tenant has more than its share in flight.
func (g *groups) noisy(k *group) bool {
	f := &g.fairness
	return k.inFlight > 1 && k.inFlight*(f.active+f.single+1) > f.inFlight+f.single
}

// givesWay reports that m, which comes next in the queue, steps aside: because
// its tenant is noisy, or has older ones that have stepped aside.
func (g *groups) givesWay(m *Message) bool {
	k := g.find(m)
	return k != nil && (len(k.parked) > 0 || k.spilled() || g.noisy(k))
}

// nextFair is next of a fair lane.
func (g *groups) nextFair(t *store.Turn) *Message {
	for range lookAhead {
		if k := g.quietest(t); k != nil && !g.noisy(k) {
			return g.bringOut(t, k)
		}
		front := g.q.line.upcoming()
		if len(g.q.crash.primes) == 0 || g.q.solo != nil {
			if k := g.passing.nextTenant(t, front); k != nil {
				return g.bringOut(t, k)
			}
			if front != nil && g.givesWay(front) && g.passing.single(front) {
				return g.nextNoisy(t, front)
			}
		}
		m := g.q.line.next(t)
		if m == nil {
			return g.nextNoisy(t, nil)
		}
		if m.at == tried || !g.givesWay(m) {
			return m
		}
		k := g.find(m)
		if g.park(t, k, m); len(k.parked) == 0 { // spilled, and it may go as soon as nobody else has anything
			g.wantMore(t, k)
		}
	}
	g.walker.seek(t)
	return g.nextNoisy(t, nil)
}

// nextNoisy returns the next message if all have more than their share. One at the front of
// the line need not step aside for that.
func (g *groups) nextNoisy(t *store.Turn, front *Message) *Message {
	k := g.quietest(t)
	if front != nil {
		at := g.find(front)
		first := k == nil || at.inFlight < k.inFlight || at.inFlight == k.inFlight && front.Seq < k.head
		if first && len(at.parked) == 0 && !at.spilled() {
			if !g.q.crash.within(t, front.Seq) {
				return nil
			}
			return g.q.line.next(t)
		}
	}
	if k != nil {
		return g.bringOut(t, k)
	}
	g.readBack(t) // there was no room for it, perhaps
	return nil
}

// quietest returns the tenant with the least in flight of those that wait.
func (g *groups) quietest(t *store.Turn) *group {
	f := &g.fairness
	for len(f.waiting) > 0 {
		k := f.waiting[0]
		switch {
		case len(k.parked) == 0:
			heap.Pop(&f.waiting)
			g.wantMore(t, k)
			g.forget(k)
		case k.parked[0].Seq != k.head:
			g.waits(k)
		default:
			return k
		}
	}
	return nil
}

// bringOut returns the first message of a tenant that waits, or nil if it is
// not to be handed out before the frontier has moved.
func (g *groups) bringOut(t *store.Turn, k *group) *Message {
	if !g.q.crash.within(t, k.parked[0].Seq) {
		return nil
	}
	return k.parked[0]
}

// wentOut puts the tenant of a message in its place that was parked until now.
func (g *groups) wentOut(m *Message) {
	k := m.group
	if k == nil {
		return
	}
	if len(k.parked) > 0 {
		g.waits(k)
	} else if k.rank > 0 {
		g.rest(k)
	}
	if k.id == "" { // each is a tenant of its own
		m.group = nil
		g.forget(k)
	}
}

// waits puts a tenant in its place among those that wait, or that pass.
func (g *groups) waits(k *group) {
	k.head = k.parked[0].Seq
	if k.rank == 0 {
		heap.Push(g.heapOf(k), k)
	} else {
		heap.Fix(g.heapOf(k), k.rank-1)
	}
}

// rest takes it out of there.
func (g *groups) rest(k *group) {
	heap.Remove(g.heapOf(k), k.rank-1)
	k.passing = false
}

func (g *groups) heapOf(k *group) heap.Interface {
	if k.passing {
		return &g.passing.tenants
	}
	return &g.fairness.waiting
}

// out notes that m is in flight.
func (g *groups) out(m *Message) *group {
	k := g.join(m)
	if !m.counted {
		m.counted = true
		g.count(k, 1)
	}
	return k
}

// in notes that it is not any more.
func (g *groups) in(t *store.Turn, m *Message) {
	k := m.group
	m.group = nil
	if m.counted {
		m.counted = false
		g.count(k, -1)
	}
	if k != nil {
		g.wantMore(t, k)
		g.forget(k)
	}
}

func (g *groups) count(k *group, n int) {
	f := &g.fairness
	if k == nil {
		f.single += n
		return
	}
	before := k.inFlight
	k.inFlight += n
	f.inFlight += n
	switch {
	case before == 0:
		f.active++
	case k.inFlight == 0:
		f.active--
	}
	if k.rank > 0 && !k.passing {
		heap.Fix(&f.waiting, k.rank-1)
	}
}

// fairHeap orders tenants by what they have in flight, and by age.
type fairHeap []*group

func (h fairHeap) Len() int { return len(h) }

func (h fairHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.inFlight != b.inFlight {
		return a.inFlight < b.inFlight
	}
	return a.head < b.head
}

func (h fairHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].rank, h[j].rank = i+1, j+1
}

func (h *fairHeap) Push(x any) {
	k := x.(*group)
	*h = append(*h, k)
	k.rank = len(*h)
}

func (h *fairHeap) Pop() any {
	old := *h
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*h, k.rank = old[:len(old)-1], 0
	return k
}
