package spool

import (
	"container/heap"

	"github.com/pebblemq/pebblemq/internal/store"
)

// A message passes the line if its tenant has nothing in line before it (see backlog): it
// is parked at once, under its tenant, wherever it stands. Its tenant is then among the
// passing, which are in the order of their first message and are asked whenever the message
// at the front of the line gives way. So what is handed out is the same as if the line
// had been walked up to there, and the wait is not.

// What may pass the line; the rest stands in it. While there is no room to park anything, the first
// message of a tenant passes if it is small.
const (
	passingOfTenant = 64
	passingTenants  = 1024
	passingSmall    = 4 << 10
)

// passes lets m pass the line if it may, and reports whether it does. A line that one
// Take looks through is none to pass.
func (g *groups) passes(t *store.Turn, m *Message, fromDisk bool) bool {
	if g == nil {
		return false
	}
	q := g.q
	id, front := g.of(m.Data), q.front()
	if q.window.len() < g.room.line && (fromDisk || q.loaded == m.Seq) || !g.fair && len(id) == 0 || g.backlog.has(id, front, fromDisk) {
		g.backlog.note(id, m.Seq, front, fromDisk || q.loaded == m.Seq && q.room())
		return false
	}
	k := g.byID[string(id)]
	if k == nil {
		k = g.create(string(id))
	}
	if k.spilled() || len(k.parked) >= passingOfTenant || !g.roomToPass(k, m) {
		g.backlog.note(id, m.Seq, front, fromDisk || q.loaded == m.Seq && q.room())
		g.forget(k)
		return false
	}
	if g.pass(t, k, m); !g.fair {
		g.offer(t, k)
	}
	return true
}

func (g *groups) roomToPass(k *group, m *Message) bool {
	if !g.full() || g.q.free.bytes > 0 {
		return true
	}
	return len(k.parked) == 0 && len(g.passing) < passingTenants && len(m.Data) <= passingSmall
}

// single reports that nothing but messages of its tenant stands behind the front of the line.
func (g *groups) single(front *Message) bool {
	return len(g.q.returned) == 0 && g.backlog.single(front.Seq)
}

// pass parks m where it stands. What is passing is asked first.
func (g *groups) pass(t *store.Turn, k *group, m *Message) {
	heap.Push(&g.q.strays, m)
	g.q.withinFrontier(t, m.Seq) // is to be true by the time that it is taken
	if k.rank == 0 && g.fair {
		k.passing = true
	}
	g.keep(k, m)
}

// passAgain lets a message that is back pass the line, if it had passed it before.
func (g *groups) passAgain(t *store.Turn, m *Message) bool {
	if !g.fair || m.prime || m.Ahead || m.lean > 0 || m.Seq < g.q.front() {
		return false
	}
	id := g.of(m.Data)
	k := g.byID[string(id)]
	if k == nil {
		k = g.create(string(id))
	}
	if k.spilled() || !g.roomToPass(k, m) {
		g.forget(k)
		return false
	}
	g.pass(t, k, m)
	return true
}

// nextOfGroups returns the next message of a spool with groups, at its place or beyond. Enough of
// those at the front of the line are to step aside before.
func (g *groups) nextOfGroups(t *store.Turn, looked int) *Message {
	q := g.q
	for len(g.ahead) > 0 && (g.ahead[0].state != ready || g.ahead[0].aside) {
		m := heap.Pop(&g.ahead).(*Message)
		m.aside, m.popped = false, m.state == gone && !m.aside
	}
	if len(g.ahead) == 0 || len(q.primes) > 0 && q.solo == nil {
		return q.nextInPlace(t)
	}
	front, first := q.upcoming(), g.ahead[0]
	if q.low() {
		q.startLoading(t)
	}
	switch {
	case len(q.returned) > 0 && q.returned[0].Seq < first.Seq: // it may be of the same group
		return q.nextInPlace(t)
	case front == nil || first.Seq < front.Seq:
	case !g.blocks(front) || looked < lookAhead && !g.crowded(g.find(front), front):
		return q.nextInPlace(t)
	case !g.single(front):
		g.seek(t)
	}
	if !q.withinFrontier(t, first.Seq) { // soon; until then the line goes on
		return q.nextInPlace(t)
	}
	return heap.Pop(&g.ahead).(*Message)
}

// nextPassing returns the first tenant among the passing, if it goes before the message at
// the front of the line.
func (g *groups) nextPassing(t *store.Turn, front *Message) *group {
	for len(g.passing) > 0 {
		k := g.passing[0]
		g.skipGone(k)
		switch {
		case len(k.parked) == 0:
			heap.Pop(&g.passing)
			k.passing = false
			g.wantMore(t, k)
			g.forget(k)
		case k.parked[0].Seq != k.head:
			g.waits(k)
		case front != nil && front.Seq < k.head && !g.givesWay(front):
			return nil
		case g.noisy(k):
			g.stepAside(k)
		case !g.q.withinFrontier(t, k.head): // soon; until then the line goes on
			return nil
		default:
			return k
		}
	}
	return nil
}

// stepAside has a passing tenant wait until it is the quietest.
func (g *groups) stepAside(k *group) {
	heap.Remove(&g.passing, k.rank-1)
	k.passing = false
	g.waits(k)
}

// front returns the number that the front of the line has, below which nothing stands in it.
func (q *Spool) front() uint64 {
	if q.window.len() > 0 {
		return q.window.front().Seq
	}
	return q.loaded
}

// upcoming returns the message that is next at its place, primes aside.
func (q *Spool) upcoming() (m *Message) {
	q.skipGone()
	if n := len(q.ahead); n > 0 {
		return q.ahead[n-1]
	}
	if q.window.len() > 0 {
		m = q.window.front()
	}
	if len(q.returned) > 0 && q.returned[0].Seq < q.front() {
		m = q.returned[0]
	}
	return m
}

// passHeap orders tenants by the first of their messages.
type passHeap []*group

func (h passHeap) Len() int           { return len(h) }
func (h passHeap) Less(i, j int) bool { return h[i].head < h[j].head }

func (h passHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].rank, h[j].rank = i+1, j+1
}

func (h *passHeap) Push(x any) {
	k := x.(*group)
	*h = append(*h, k)
	k.rank = len(*h)
}

func (h *passHeap) Pop() any {
	old := *h
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*h, k.rank = old[:len(old)-1], 0
	return k
}
