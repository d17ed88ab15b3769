package queue

import (
	"container/heap"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// What may be parked in memory, beside what the store's lanes share. The rest is
// spilled.
const (
	parkedOfGroup  = 256  // messages of one group
	parkedOfTenant = 2048 // or, since few are noisy, of one tenant
	parkedMessages = 8192
	parkedBytes    = 4 << 20
)

// groups keep the order within the groups of a lane: while something of a group
// is in flight, what stands behind it waits, and nobody else does.
//
// An index by group would make that easy, and every message dear: one more key
// to write, to delete and to compact, for the sake of the few that ever have to
// wait. Instead messages are read in the order of the queue as ever, and one
// that comes to the front while its group is blocked steps aside: it is parked,
// in memory. When its group goes on it is offered: it stands among the messages
// that were returned, at its place. What there is no room for is spilled: it is
// forgotten but for a key in an index, through which it is read back when its
// turn comes. So a group with a backlog of millions takes as much memory as any
// other, and is passed by the rest once, not again and again. Those of which it is known
// that nothing stands in line before them need not pass it, see passing.go.
//
// The index is derived and not needed after a restart, which begins to load at
// low again, below everything that is parked.
//
// Invariant: a group of which something is in flight, parked or spilled is in
// byID. A message that is taken, returning, or being settled has its group in
// group and its number in hidden.
type groups struct {
	q    *Lane
	of   func(data []byte) []byte
	byID map[string]*group

	room room
	pace pace
	fair bool // they are tenants, see fair.go
	fairness
	passing passing
	walker  walker

	leaving []*Message // were settled since the last Take
	round   uint64     // see NextRound
	number  uint64     // of the group that spilled last
	parked  int        // messages in memory, and their bytes
	bytes   int
	spilled spillHeap
	wanted  []*group // to be read back, in this order
	loading bool
	stale   bool     // there is an index of an earlier process
	void    bool     // what is being read back is not to be used
	spare   []*group // for reuse
}

// room is these limits, for tests to make smaller.
type room struct {
	ofGroup, messages, bytes int
	readBack                 int // see wantedMessages
	spill                    int // see paceMessages
	line                     int // see lookAhead
}

// spareGroups is how many are kept for reuse.
const spareGroups = 1024

func newGroups(q *Lane, of func([]byte) []byte, fair bool) *groups {
	ofGroup := parkedOfGroup
	if fair {
		ofGroup = parkedOfTenant
	}
	g := &groups{
		q: q, of: of, fair: fair, byID: make(map[string]*group), round: 1, // no group has been in it
		room: room{ofGroup, parkedMessages, parkedBytes, wantedMessages, paceMessages, lookAhead},
	}
	g.walker.g, g.passing.g = g, g
	g.passing.backlog.restart(0)
	g.pace = pace{timer: store.NewTimer(g.goOn), left: g.room.spill, step: g.room.spill}
	return g
}

// appendOpen appends m, and before the list grows drops what has been seen to, as
// all is in the end: nobody may receive for a long time.
func appendOpen(list []*Message, m *Message, open func(*Message) bool) []*Message {
	if len(list) == cap(list) {
		list = slices.DeleteFunc(list, func(m *Message) bool { return !open(m) })
	}
	return append(list, m)
}

// next returns the next message that may be taken. Those that may not step
// aside.
func (g *groups) next(t *store.Turn) *Message {
	if g.fair {
		return g.nextFair(t)
	}
	g.leave(t)
	looked := 0
	for m := g.passing.next(t, looked); m != nil; m = g.passing.next(t, looked) {
		k := g.find(m)
		if k != nil {
			k.bare(m.Seq) // if it was a prime suspect that waited for another
			if k.offered == m {
				k.offered = nil
			}
			if !g.open(k, m) {
				g.park(t, k, m)
				if looked++; looked == walkMessages {
					g.walker.seek(t)
					return nil
				}
				continue
			}
		}
		switch {
		case !g.q.crash.within(t, m.Seq):
			if k != nil && m.at != tried {
				k.offered, m.group = m, k
			}
			return nil
		case !m.prime || g.q.solo == nil:
			return m
		}
		g.setAside(m)
	}
	g.readBack(t) // there was no room for it, perhaps
	return nil
}

// setAside has a prime suspect wait until the other one is through. Its group
// waits with it.
func (g *groups) setAside(m *Message) {
	if k := g.join(m); k != nil {
		k.hide(m.Seq)
		k.ceiling = min(k.ceiling, m.Seq)
	}
	g.q.move(m, tried)
}

// find returns the group that m belongs to, if anything is known of it.
func (g *groups) find(m *Message) *group {
	if m.group != nil {
		return m.group
	}
	if id := g.of(m.Data); len(id) > 0 {
		return g.byID[string(id)]
	}
	return nil
}

// blocks reports that m, at the front of the queue, will step aside.
func (g *groups) blocks(m *Message) bool {
	if g == nil {
		return false
	}
	if g.fair {
		return g.givesWay(m)
	}
	k := g.find(m)
	return k != nil && !g.open(k, m)
}

func (g *groups) open(k *group, m *Message) bool { return k.open(m.Seq, g.round) }

// took notes that m is in flight, and offers what may be taken along with it.
func (g *groups) took(t *store.Turn, m *Message) {
	g.pace.took = true
	if g.fair {
		g.wentOut(m)
		g.out(m)
	}
	k := g.join(m)
	switch {
	case k == nil:
		g.readBack(t)
		return
	case g.fair:
		g.wantMore(t, k)
		return
	}
	if k.round != g.round {
		k.round, k.ceiling = g.round, k.first()
	}
	k.hide(m.Seq)
	if k.offered == nil && len(k.parked) > 0 && k.open(k.parked[0].Seq, g.round) {
		g.bring(k)
	}
	g.wantMore(t, k)
}

// adopted notes a message that was in flight when the store was closed.
func (g *groups) adopted(m *Message) {
	switch {
	case g == nil:
		return
	case g.fair:
		g.out(m)
		return
	}
	if k := g.join(m); k != nil {
		k.hide(m.Seq)
	}
}

// join makes the group of m known, if it has one.
func (g *groups) join(m *Message) *group {
	if m.group != nil {
		return m.group
	}
	id := g.of(m.Data)
	if len(id) == 0 {
		return nil
	}
	k := g.byID[string(id)]
	if k == nil {
		k = g.create(string(id))
	}
	m.group = k
	return k
}

func (g *groups) create(id string) *group {
	k := &group{}
	if n := len(g.spare); n > 0 {
		k, g.spare = g.spare[n-1], g.spare[:n-1]
	}
	k.id = id
	g.byID[id] = k
	return k
}

// forget drops a group of which nothing needs to be known.
func (g *groups) forget(k *group) {
	if !k.idle() || g.byID[k.id] != k {
		return
	}
	delete(g.byID, k.id)
	if len(g.spare) < spareGroups && !k.wanted {
		*k = group{hidden: k.hidden[:0], parked: k.parked[:0]}
		g.spare = append(g.spare, k)
	}
}

// left is called when the end of m's delivery, or of m, is visible.
func (g *groups) left(t *store.Turn, m *Message) {
	if g.fair {
		g.in(t, m)
		return
	}
	k := m.group
	if k == nil {
		return
	}
	k.bare(m.Seq)
	if k.offered == m {
		k.offered = nil
	}
	if m.here() {
		g.keep(k, m)
	} else {
		m.group = nil
	}
	g.offer(t, k)
	g.forget(k)
}

// leave lets groups go on of which a message was settled, though that is not
// visible yet: it may be waiting for the disk, and whatever is taken next is
// written after it anyway.
func (g *groups) leave(t *store.Turn) {
	for i, m := range g.leaving {
		g.leaving[i] = nil
		if m.at == gone { // or that was undone
			g.left(t, m)
		}
	}
	g.leaving = g.leaving[:0]
}

// offer puts the first of the parked among those that may be taken, if it may.
func (g *groups) offer(t *store.Turn, k *group) {
	if !g.fair && k.offered == nil && len(k.parked) > 0 {
		if seq := k.parked[0].Seq; seq < k.first() && (!k.spilled() || seq < k.from) {
			g.bring(k)
			g.q.ready(t)
		}
	}
	g.wantMore(t, k)
}

// bring offers the first of the parked: at its place or, if that is farther on, among those that pass
// the line.
func (g *groups) bring(k *group) {
	m := k.parked[0]
	if k.offered = m; m.Seq > g.q.line.front() {
		g.q.move(m, offered)
	} else {
		g.q.move(m, returned)
	}
}

// withdraw parks what was offered, because something before it came back.
func (g *groups) withdraw(k *group) {
	m := k.offered
	if k.offered = nil; m.at != gone { // settled, and not for all to see
		g.keep(k, m)
	}
}

// park has m step aside, in memory if there is room.
func (g *groups) park(t *store.Turn, k *group, m *Message) {
	if g.crowded(k, m) {
		g.spill(t, k, m)
		return
	}
	g.keep(k, m)
}

// crowded reports that m is to be spilled if it steps aside.
func (g *groups) crowded(k *group, m *Message) bool {
	full := (len(k.parked) >= g.room.ofGroup || g.full()) && g.q.line.window.free.bytes <= 0
	behind := k.spilled() && m.Seq >= k.from // or it would be found in the index again
	return m.group == nil && m.segment.sealed && (full || behind)
}

// account notes that more messages are in memory, beside the window and out of
// the same memory.
func (g *groups) account(n, bytes int) {
	g.parked += n
	g.bytes += bytes
	if !g.q.closed {
		g.q.line.window.free.bytes -= bytes + n*messageBytes
	}
}

// close gives it back.
func (g *groups) close(t *store.Turn) {
	if g != nil {
		t.Disarm(g.pace.timer)
		g.q.line.window.free.bytes += g.bytes + g.parked*messageBytes
	}
}

// full reports that there is no room of its own left in memory.
func (g *groups) full() bool { return g.parked >= g.room.messages || g.bytes >= g.room.bytes }

// keep parks m in memory.
func (g *groups) keep(k *group, m *Message) {
	if k.offered != nil && m.Seq < k.offered.Seq {
		g.withdraw(k)
	}
	m.group = k
	if g.q.move(m, parked); g.fair {
		g.waits(k)
	}
}

// enter is part of move.
func (g *groups) enter(m *Message) {
	heap.Push(&m.group.parked, m)
	g.account(1, len(m.Data))
}

// exit is part of move.
func (g *groups) exit(m *Message) {
	m.group.parked.remove(m)
	g.account(-1, -len(m.Data))
}

// lowest returns the number below which nothing is spilled.
func (g *groups) lowest() uint64 {
	if g == nil || len(g.spilled) == 0 {
		return none
	}
	return g.spilled[0].from
}

// waiting is how many messages are in memory although they left the window and
// are not in flight.
func (g *groups) waiting() int {
	if g == nil {
		return 0
	}
	return g.parked + len(g.passing.ahead)
}

// ordered reports that a message may have to wait for another.
func (g *groups) ordered() bool { return g != nil && !g.fair }

// busy reports that messages are being read back which somebody can have then.
func (g *groups) busy() bool { return g != nil && (g.loading || len(g.wanted) > 0) }

// purge forgets all that is not in flight.
func (g *groups) purge(t *store.Turn) {
	if g == nil {
		return
	}
	for _, m := range g.q.crash.primes {
		if m.group != nil {
			m.group.bare(m.Seq)
		}
	}
	for _, k := range g.byID {
		k.parked, k.offered, k.from, k.to, k.slot, k.wanted, k.rank, k.passing = nil, nil, 0, 0, 0, false, 0, false
		if k.idle() {
			delete(g.byID, k.id)
		}
	}
	g.account(-g.parked, -g.bytes)
	g.spilled, g.wanted, g.void, g.fairness.waiting = nil, nil, true, nil
	g.passing.purge()
	g.dropIndex(t)
}

// passes lets m pass the line if it may, and reports whether it does.
func (g *groups) passes(t *store.Turn, m *Message, fromDisk bool) bool {
	return g != nil && g.passing.passes(t, m, fromDisk)
}
