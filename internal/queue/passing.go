package queue

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
// message of a tenant passes if it is small: that is 4 MiB at most.
const (
	passingOfTenant = 64
	passingTenants  = 1024
	passingSmall    = 4 << 10
)

// passing is what passes the line, and what is known of the line.
type passing struct {
	g       *groups
	tenants passHeap // of a fair lane
	ahead   seqHeap  // of another: what is offered and stands beyond the front of the line
	backlog backlog
}

// purge forgets all of it.
func (p *passing) purge() {
	p.tenants, p.ahead = passHeap{}, nil
	p.backlog.restart(0)
}

// passes does. A line that one Take looks through is none to pass.
func (p *passing) passes(t *store.Turn, m *Message, fromDisk bool) bool {
	q := p.g.q
	id, front := p.g.of(m.Data), q.line.front()
	near := q.line.window.len() < p.g.room.line && (fromDisk || q.loaded == m.Seq)
	alone := !p.g.fair && len(id) == 0 // in no group, which stands at its place only
	if near || alone || p.backlog.has(id, front, fromDisk) || !p.hasRoom(p.g.byID[string(id)], m) {
		p.backlog.note(id, m.Seq, front, fromDisk || q.loaded == m.Seq && q.line.room())
		return false
	}
	k := p.g.byID[string(id)]
	if k == nil {
		k = p.g.create(string(id))
	}
	if p.pass(t, k, m); !p.g.fair {
		p.g.offer(t, k)
	}
	return true
}

// hasRoom reports that m may pass, of a group of which something may be known.
func (p *passing) hasRoom(k *group, m *Message) bool {
	parked := 0
	if k != nil {
		parked = len(k.parked)
	}
	switch {
	case k != nil && k.spilled() || parked >= passingOfTenant || parked == 0 && p.tenants.Len()+len(p.ahead) >= passingTenants:
		return false
	case !p.g.full() || p.g.q.line.window.free.bytes > 0:
		return true
	}
	return parked == 0 && len(m.Data) <= passingSmall
}

// single reports that nothing but messages of its tenant stands behind the front of the line.
func (p *passing) single(front *Message) bool {
	return len(p.g.q.line.returned) == 0 && p.backlog.single(front.Seq)
}

// pass parks m where it stands. What is passing is asked first.
func (p *passing) pass(t *store.Turn, k *group, m *Message) {
	p.g.q.crash.within(t, m.Seq) // is to be true by the time that it is taken
	if k.rank == 0 && p.g.fair {
		k.passing = true
	}
	p.g.keep(k, m)
}

// again lets a message that is back pass the line, if it had passed it before.
func (p *passing) again(t *store.Turn, m *Message) bool {
	if !p.g.fair || m.prime || m.Ahead || m.lean > 0 || m.Seq < p.g.q.line.front() {
		return false
	}
	id := p.g.of(m.Data)
	k := p.g.byID[string(id)]
	if !p.hasRoom(k, m) {
		return false
	}
	if k == nil {
		k = p.g.create(string(id))
	}
	p.pass(t, k, m)
	return true
}

// next returns the next message of a lane with groups, at its place or beyond. Enough of
// those at the front of the line are to step aside before.
func (p *passing) next(t *store.Turn, looked int) *Message {
	q := p.g.q
	if len(p.ahead) == 0 || len(q.crash.primes) > 0 && q.solo == nil {
		return q.line.next(t)
	}
	front, first := q.line.upcoming(), p.ahead[0]
	if q.line.low() {
		q.loader.start(t)
	}
	switch {
	case len(q.line.returned) > 0 && q.line.returned[0].Seq < first.Seq: // it may be of the same group
		return q.line.next(t)
	case front == nil && q.loaded < min(first.Seq, q.shown): // the front of the line is being read
		return q.line.next(t)
	case front == nil || first.Seq < front.Seq:
	case !p.g.blocks(front) || looked < lookAhead && !p.g.crowded(p.g.find(front), front):
		return q.line.next(t)
	case !p.single(front):
		p.g.walker.seek(t)
	}
	if !q.crash.within(t, first.Seq) { // soon; until then the line goes on
		return q.line.next(t)
	}
	return first
}

// nextTenant returns the first tenant among the passing, if it goes before the message at
// the front of the line.
func (p *passing) nextTenant(t *store.Turn, front *Message) *group {
	for p.tenants.Len() > 0 {
		k := p.tenants.fairHeap[0]
		switch {
		case len(k.parked) == 0:
			heap.Pop(&p.tenants)
			k.passing = false
			p.g.wantMore(t, k)
			p.g.forget(k)
		case k.parked[0].Seq != k.head:
			p.g.waits(k)
		case front != nil && front.Seq < k.head && !p.g.givesWay(front):
			return nil
		case front == nil && p.g.q.loaded < min(k.head, p.g.q.shown): // it is being read
			return nil
		case p.g.noisy(k):
			p.stepAside(k)
		case !p.g.q.crash.within(t, k.head): // soon; until then the line goes on
			return nil
		default:
			return k
		}
	}
	return nil
}

// stepAside has a passing tenant wait until it is the quietest.
func (p *passing) stepAside(k *group) {
	p.g.rest(k)
	p.g.waits(k)
}

// passHeap orders tenants by the first of their messages.
type passHeap struct{ fairHeap }

func (h passHeap) Less(i, j int) bool { return h.fairHeap[i].head < h.fairHeap[j].head }
