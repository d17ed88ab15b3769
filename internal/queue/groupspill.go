package queue

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
	if k.wanted && m.Seq < k.to {
		g.void = true // the read that is under way may have gone past it
	}
	if !k.spilled() {
		k.from, k.to = m.Seq, m.Seq+1
		heap.Push(&g.spilled, k)
	} else {
		k.from, k.to = min(k.from, m.Seq), max(k.to, m.Seq+1)
		heap.Fix(&g.spilled, k.slot-1)
	}
	g.q.move(m, spilled)
	m.Data = nil
}

// wantMore has spilled messages of a group read back if it may go on and is
// about to run out.
func (g *groups) wantMore(t *store.Turn, k *group) {
	few := len(k.parked) < g.room.ofGroup/2 && !g.full()
	empty := len(k.parked) == 0 || k.from <= k.parked[0].Seq // the first may be in the index as well
	if (few || empty) && k.spilled() && !k.wanted && (g.fair || k.inReach(k.from, g.round)) {
		k.wanted = true
		g.wanted = append(g.wanted, k)
	}
	g.readBack(t)
}

// readBack starts to read what is wanted, if nobody is at it.
func (g *groups) readBack(t *store.Turn) {
	if g.loading || g.q.closed || len(g.wanted) == 0 || len(g.q.line.returned) >= g.room.messages {
		return
	}
	p := g.plan()
	g.loading = t.Spawn(func(ctx context.Context) {
		g.q.loader.persist(ctx, func(ctx context.Context, pass func(error) bool) (store.Op, error) { return p, p.read(ctx, pass) })
	})
}

func (g *groups) plan() *readBack {
	n := min(len(g.wanted), wantedGroups)
	p := &readBack{g: g, most: 1}
	if !g.full() {
		p.most = min(max(g.room.readBack/n, 1), g.room.ofGroup)
	}
	for _, k := range g.wanted[:n] {
		p.groups = append(p.groups, wantedGroup{group: k, id: k.id, number: k.number, span: span{k.from, k.to}})
	}
	clear(g.wanted[:n])
	g.wanted = g.wanted[n:]
	g.void = false
	return p
}

// readBack is the Op that takes spilled messages into memory again.
type readBack struct {
	g      *groups
	groups []wantedGroup
	most   int // of each
}

// wantedGroup is a group as it was when the read began, and what was found of it.
type wantedGroup struct {
	group  *group
	id     string
	number uint64
	span   // of what is spilled
	found  []loadedMessage
	next   uint64 // where what is left begins
	gap    error  // why the index cannot be read
	stuck  bool   // nor can all messages of the span, so nothing was read
}

// read collects, group by group, what is next of each.
func (r *readBack) read(ctx context.Context, pass func(error) bool) (err error) {
	q := r.g.q
	lo, hi := q.span(q.layout.Parked)
	index, err := q.loader.iter(ctx, lo, hi, pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	from := ^uint64(0)
	for i := range r.groups {
		from = min(from, r.groups[i].from)
	}
	messages, err := newReader(ctx, q, from, pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, messages.close()) }()
	for i := range r.groups {
		if err := r.readGroup(&r.groups[i], index, messages); err != nil {
			return err
		}
	}
	return nil
}

// readGroup reads at least one message, if there is one.
func (r *readBack) readGroup(k *wantedGroup, index *store.Iter, messages *reader) error {
	q := r.g.q
	k.found, k.next, k.gap, k.stuck = nil, k.to, nil, false
	end := parkedKey(q.layout.Parked, q.place, k.number, k.to)
	size := 0
	for ok := index.Seek(parkedKey(q.layout.Parked, q.place, k.number, k.from)); ok && bytes.Compare(index.Key(), end) < 0; ok = index.Next() {
		seq, err := decodeParkedKey(index.Key())
		if err != nil {
			return err
		}
		if r.enough(k, size) {
			k.next = seq
			break
		}
		m, err := messages.read(seq)
		if err != nil {
			return err
		}
		size += len(m.Data)
		k.found = append(k.found, m)
	}
	if k.gap = r.missed(k, index); k.gap != nil {
		return r.readWhole(k, messages)
	}
	return nil
}

func (r *readBack) enough(k *wantedGroup, size int) bool {
	return len(k.found) == r.most || size > windowBytes/len(r.groups)
}

// missed returns why a part of the index cannot be read that may have messages of the
// group before the next one.
func (r *readBack) missed(k *wantedGroup, index *store.Iter) error {
	q := r.g.q
	from, to := parkedKey(q.layout.Parked, q.place, k.number, k.from), parkedKey(q.layout.Parked, q.place, k.number, k.next)
	for _, g := range index.Gaps() {
		if bytes.Compare(g.From, to) < 0 && bytes.Compare(from, g.To) < 0 {
			return g.Err
		}
	}
	return nil
}

// readWhole is readGroup without the index: it reads all messages in the span.
func (r *readBack) readWhole(k *wantedGroup, messages *reader) error {
	k.found, k.next = nil, k.to
	if err := messages.seek(k.from); err != nil {
		return err
	}
	size := 0
	for {
		m, ok, err := messages.next()
		if err != nil {
			return err
		}
		if !ok || m.seq >= k.to {
			break
		}
		if m.err != nil || string(r.g.of(m.Data)) != k.id {
			continue
		}
		if r.enough(k, size) {
			k.next = m.seq
			break
		}
		size += len(m.Data)
		k.found = append(k.found, m)
	}
	if messages.loses(k.from, k.next) {
		k.found, k.next, k.stuck = nil, k.from, true // or what is lost would be forgotten
	}
	return nil
}

// Frees lets it in on a disk that is nearly full: it is what consumers wait for.
func (r *readBack) Frees() {}
func (r *readBack) Undo()  {}

func (r *readBack) Run(t *store.Turn) error {
	r.g.loading = false
	defer r.g.q.order.forgetIdle()
	if r.g.q.closed {
		return nil
	}
	for i := range r.groups {
		k := &r.groups[i]
		switch {
		case !r.g.void && k.stuck:
			r.g.q.bad.groups = append(r.g.q.bad.groups, k.group) // wanted still
			r.g.q.bad.tryAgain(t)
		case !r.g.void:
			k.group.wanted = false
			r.install(t, k)
		case k.group.wanted: // it is as it was, but for something that was fetched
			r.g.wanted = append(r.g.wanted, k.group)
		}
	}
	return nil
}

// install parks what was found of a group.
func (r *readBack) install(t *store.Turn, w *wantedGroup) {
	g, q, k := r.g, r.g.q, w.group
	if w.gap != nil && q.bad.first(w.gap.Error()) {
		q.s.Log().Error("index of messages that wait for their group cannot be read; the queue is read instead",
			"queue", q.name, "group", w.id, "error", w.gap)
	}
	for _, l := range w.found {
		t.DeleteSingle(parkedKey(q.layout.Parked, q.place, k.number, l.seq))
		if q.order.isKnown(&l) {
			continue // settled, or fetched ahead of this
		}
		g.takeBack(t, k, l)
	}
	k.from = min(w.next, k.to) // more may have been spilled since
	if heap.Fix(&g.spilled, k.slot-1); !k.spilled() {
		heap.Remove(&g.spilled, k.slot-1)
		k.from, k.to = 0, 0
	}
}

// takeBack parks a message that was spilled. One that cannot be read is set aside.
func (g *groups) takeBack(t *store.Turn, k *group, l loadedMessage) *Message {
	q := g.q
	if l.err != nil {
		q.bad.onDisk.more(tally{messages: 1})
		q.bad.lose(t, l.seq, l.err)
		return nil
	}
	m := q.restore(&l)
	m.at = spilled
	q.crash.accuse(m, &l)
	g.keep(k, m)
	return m
}

func (r *readBack) Visible(t *store.Turn) {
	if r.g.q.closed {
		return
	}
	for _, w := range r.groups {
		if k := w.group; r.g.byID[k.id] == k {
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
	l := g.q.order.find(t, seq)
	switch {
	case l.err != nil:
		return nil, g.q.unreadable(seq, l.err)
	case l.gone:
		return nil, nil
	}
	k := g.byID[string(g.of(l.Data))]
	if k == nil || seq < k.from || seq >= k.to {
		return nil, nil
	}
	m := g.takeBack(t, k, l)
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
func (g *groups) lookForIndex(ctx context.Context) (err error) {
	lo, hi := g.q.span(g.q.layout.Parked)
	it, err := g.q.loader.iter(ctx, lo, hi, func(error) bool { return true })
	if err != nil {
		return err
	}
	g.stale = it.First() || len(it.Gaps()) > 0
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
