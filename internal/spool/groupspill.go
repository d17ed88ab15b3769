package spool

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Sizes of what is read back at a time.
const (
	wantedGroups   = 64   // groups
	wantedMessages = 1024 // of all of them
)

// spill forgets m but for its key in the index.
func (g *groups) spill(t *store.Turn, k *group, m *Message) {
	if k.number == 0 {
		g.number++
		k.number = g.number
	}
	t.Set(parkedKey(g.q.layout.Parked, g.q.place, k.number, m.Seq), nil)
	if !k.spilled() {
		k.from, k.to = m.Seq, m.Seq+1
		heap.Push(&g.spilled, k)
	} else {
		k.from, k.to = min(k.from, m.Seq), max(k.to, m.Seq+1)
		heap.Fix(&g.spilled, k.slot-1)
	}
	m.state, m.Data = spilled, nil
	delete(g.q.held, m.Seq)
}

// wantMore has spilled messages of a group read back if it may go on and is
// about to run out.
func (g *groups) wantMore(t *store.Turn, k *group) {
	few := len(k.parked) < g.room.ofGroup/2 && !g.full()
	empty := len(k.parked) == 0 || k.from < k.parked[0].Seq
	if (few || empty) && k.spilled() && !k.wanted && (g.fair || k.inReach(k.from, g.round)) {
		k.wanted = true
		g.wanted = append(g.wanted, k)
	}
	g.readBack(t)
}

// readBack starts to read what is wanted, if nobody is at it.
func (g *groups) readBack(t *store.Turn) {
	if g.loading || g.q.closed || len(g.wanted) == 0 || len(g.q.returned) >= g.room.messages {
		return
	}
	p := g.plan()
	g.loading = t.Spawn(func(ctx context.Context) {
		g.q.persist(ctx, func(ctx context.Context) (store.Op, error) { return p, p.read(ctx) })
	})
}

func (g *groups) plan() *readBack {
	n := min(len(g.wanted), wantedGroups)
	p := &readBack{g: g, most: 1}
	if !g.full() {
		p.most = min(max(g.room.readBack/n, 1), g.room.ofGroup)
	}
	for _, k := range g.wanted[:n] {
		p.groups = append(p.groups, k)
		p.from = append(p.from, parkedKey(g.q.layout.Parked, g.q.place, k.number, k.from))
		p.to = append(p.to, parkedKey(g.q.layout.Parked, g.q.place, k.number, k.to))
		p.next = append(p.next, k.to)
	}
	clear(g.wanted[:n])
	g.wanted = g.wanted[n:]
	g.void = false
	return p
}

// readBack is the Op that takes spilled messages into memory again.
type readBack struct {
	g        *groups
	groups   []*group
	most     int // of each
	from, to [][]byte
	found    [][]loadedMessage // by group
	next     []uint64          // where what is left of each group begins
}

// read collects, group by group, what is next of each.
func (r *readBack) read(ctx context.Context) (err error) {
	q := r.g.q
	lo, hi := q.span(q.layout.Parked)
	index, err := q.s.Iter(ctx, lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	lo, hi = q.span(q.layout.Entry)
	entries, err := q.s.Iter(ctx, lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	lo, hi = q.span(q.layout.Mark)
	marks, err := q.s.Iter(ctx, lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	r.found = make([][]loadedMessage, len(r.groups))
	for i := range r.groups {
		if err := r.readGroup(i, index, entries, marks); err != nil {
			return err
		}
	}
	return nil
}

// readGroup reads at least one message, if there is one.
func (r *readBack) readGroup(i int, index, entries, marks *store.Iter) error {
	q := r.g.q
	size := 0
	for ok := index.Seek(r.from[i]); ok && bytes.Compare(index.Key(), r.to[i]) < 0; ok = index.Next() {
		seq, err := decodeParkedKey(index.Key())
		if err != nil {
			return err
		}
		if len(r.found[i]) == r.most || size > windowBytes/len(r.groups) {
			r.next[i] = seq
			return nil
		}
		key := seqKey(q.layout.Entry, q.place, seq)
		if !entries.Seek(key) || !bytes.Equal(entries.Key(), key) {
			r.found[i] = append(r.found[i], loadedMessage{seq: seq, gone: true})
			continue
		}
		marks.Seek(seqKey(q.layout.Mark, q.place, seq))
		m, err := q.readEntry(entries, marks)
		if err != nil {
			return err
		}
		size += len(m.Data)
		r.found[i] = append(r.found[i], m)
	}
	return nil
}

// Frees lets it in on a disk that is nearly full: it is what consumers wait for.
func (r *readBack) Frees() {}
func (r *readBack) Undo()  {}

func (r *readBack) Run(t *store.Turn) error {
	r.g.loading = false
	if r.g.q.closed {
		return nil
	}
	for i, k := range r.groups {
		switch {
		case !r.g.void:
			k.wanted = false
			r.install(t, i)
		case k.wanted: // it is as it was, but for something that was fetched
			r.g.wanted = append(r.g.wanted, k)
		}
	}
	return nil
}

// install parks what was found of a group.
func (r *readBack) install(t *store.Turn, i int) {
	g, q, k := r.g, r.g.q, r.groups[i]
	for _, l := range r.found[i] {
		t.DeleteSingle(parkedKey(q.layout.Parked, q.place, k.number, l.seq))
		if l.gone || q.held[l.seq] != nil {
			continue // settled, or fetched ahead of this
		}
		g.takeBack(k, l)
	}
	k.from = min(r.next[i], k.to) // more may have been spilled since
	if heap.Fix(&g.spilled, k.slot-1); !k.spilled() {
		heap.Remove(&g.spilled, k.slot-1)
		k.from, k.to = 0, 0
	}
}

// takeBack parks a message that was spilled.
func (g *groups) takeBack(k *group, l loadedMessage) *Message {
	q := g.q
	m := q.restore(l.seq, l.Content, l.mark, l.marked)
	heap.Push(&q.strays, m)
	if l.damaged { // out with nobody
		m.state = taken
		q.handOut(m)
		return nil
	}
	q.accuse(m, l.mark)
	g.keep(k, m)
	return m
}

func (r *readBack) Visible(t *store.Turn) {
	if r.g.q.closed {
		return
	}
	for _, k := range r.groups {
		if r.g.byID[k.id] == k {
			r.g.offer(t, k)
			r.g.forget(k)
		}
	}
	r.g.readBack(t)
	r.g.q.ready(t)
}

// fetch brings one spilled message into memory, for Lookup. It returns nil if
// there is none with that number.
func (g *groups) fetch(t *store.Turn, seq uint64) (*Message, error) {
	if g == nil || len(g.spilled) == 0 {
		return nil, nil
	}
	l, err := g.q.getEntry(t, seq)
	if err != nil || l.gone || l.damaged {
		return nil, err
	}
	k := g.byID[string(g.of(l.Data))]
	if k == nil || seq < k.from || seq >= k.to {
		return nil, nil
	}
	m := g.takeBack(k, l)
	m.indexed = true
	return m, nil
}

// hasSpilled reports whether a message is spilled that the disk knows.
func (g *groups) hasSpilled(seq uint64, data []byte) bool {
	if g == nil {
		return false
	}
	k := g.byID[string(g.of(data))]
	return k != nil && k.from <= seq && seq < k.to
}

// settled is called with what is being settled. If it was fetched, what is being
// read back may hold it still.
func (g *groups) settled(m *Message) {
	if g == nil {
		return
	}
	if m.indexed {
		g.void = true
	}
	if m.group != nil && !g.fair {
		g.leaving = appendOpen(g.leaving, m, func(m *Message) bool { return m.group != nil })
	}
}

// lookForIndex sees whether the last process left one.
func (g *groups) lookForIndex() (err error) {
	lo, hi := g.q.span(g.q.layout.Parked)
	it, err := g.q.s.Iter(context.Background(), lo, hi)
	if err != nil {
		return err
	}
	g.stale = it.First()
	return it.Close()
}

// start drops it.
func (g *groups) start(t *store.Turn) {
	if g != nil && g.stale {
		g.stale = false
		g.dropIndex(t)
	}
}

// dropIndex removes all of it.
func (g *groups) dropIndex(t *store.Turn) {
	t.DeleteRange(g.q.span(g.q.layout.Parked))
}

func parkedKey(k store.Kind, p place, number, seq uint64) []byte {
	key := binary.BigEndian.AppendUint64(laneKey(k, p, 16), number)
	return binary.BigEndian.AppendUint64(key, seq)
}

func decodeParkedKey(key []byte) (seq uint64, err error) {
	if len(key) != laneKeyLen+16 {
		return 0, damaged("key", key)
	}
	return binary.BigEndian.Uint64(key[laneKeyLen+8:]), nil
}
