package queue

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// onDiskOnly reports that a message may be there and is not in memory.
func (q *Lane) onDiskOnly(seq uint64) bool {
	return (seq >= q.loaded || q.passedOver(seq)) && seq < q.shown && q.order.inMemory(seq) == nil
}

// passedOver reports that a load has left a message on disk.
func (q *Lane) passedOver(seq uint64) bool {
	return q.bad.stretches.has(seq) || q.expiry.passed.has(seq)
}

// unreadable is the error for a message.
func (q *Lane) unreadable(seq uint64, err error) error {
	return fmt.Errorf("message %d of queue %q cannot be read: %w", seq, q.name, err)
}

// Lookup returns a message by its sequence number, whether it is out, waits again, or is not known on
// disk to have been delivered. One that has not been loaded since the store was opened it brings into
// memory, and with it what else of its segment was out. It returns nil if the message is gone, and
// ErrCorrupt if it cannot be read. It is for those who have evidence that the message was delivered once.
func (q *Lane) Lookup(t *store.Turn, seq uint64) (*Message, error) {
	if m := q.order.inMemory(seq); m != nil && m.at != unshown {
		return m, nil
	}
	if !q.onDiskOnly(seq) {
		if seq >= q.loaded {
			return nil, nil
		}
		return q.groups.fetch(t, seq)
	}
	l, value := q.order.findWith(t, seq)
	switch {
	case l.err != nil:
		return nil, q.unreadable(seq, l.err)
	case l.gone:
		return nil, nil
	}
	m := q.comeEarly(t, &l, l.mark.out && q.crash.leased != nil)
	q.crash.recallAlong(t, m.segment, &value)
	return m, nil
}

// comeEarly takes a message into memory ahead of the load that will skip it, as
// one that is out still, or again waits.
func (q *Lane) comeEarly(t *store.Turn, l *loadedMessage, isOut bool) *Message {
	m := q.restore(l)
	q.crash.accuse(m, l)
	if isOut {
		q.crash.adopt(m)
		return m
	}
	q.wait(m)
	q.crash.comeBack(t, m, l.mark)
	return m
}

// restore makes a message of what is on disk, and of what is known of its segment since. It is not
// in memory before it joins its segment.
func (q *Lane) restore(l *loadedMessage) *Message {
	l.Born = q.retention.bornOf(&l.Content)
	l.mark = q.order.markOf(l)
	m := &Message{Seq: l.seq, Lane: q.lane, at: onDisk, Content: l.Content, segment: l.segment}
	m.Count = l.mark.count
	m.Until, m.First, m.Since = Moment(l.mark.until), Moment(l.mark.first), Moment(l.mark.since)
	m.SetNote(l.mark.note)
	return m
}

// find reads a message under the baton.
func (o *order) find(t *store.Turn, seq uint64) loadedMessage {
	l, _ := o.findWith(t, seq)
	return l
}

// findWith is find that also returns the segment, if that is on disk.
func (o *order) findWith(t *store.Turn, seq uint64) (l loadedMessage, value segmentValue) {
	l.seq = seq
	if s := o.pendingAt(seq); s != nil {
		m := s.members[seq-s.first]
		l.Content, l.mark, l.segment, l.gone = m.Content, m.mark(), s, m.at == gone
		return l, value
	}
	last, err := o.lastOf(t, seq)
	if last == none || err != nil {
		l.gone, l.err = err == nil, err
		return l, value
	}
	v, err := t.Get(seqKey(o.q.layout.Segment, o.q.place, last))
	if v == nil || err != nil {
		l.gone, l.err = err == nil, err
		return l, value
	}
	value = o.findIn(t, &l, v, last)
	return l, value
}

// lastOf returns the number of the segment that a message lies in, or none. The engine may not know
// the segments of the group that was sealed last.
func (o *order) lastOf(t *store.Turn, seq uint64) (last uint64, err error) {
	for _, s := range []*segment{o.known.at(seq), o.recentAt(seq)} {
		if s != nil {
			return s.last, nil
		}
	}
	key, err := t.FirstApplied(seqKey(o.q.layout.Segment, o.q.place, seq), store.PrefixEnd(laneKey(o.q.layout.Segment, o.q.place, 0)))
	if key == nil || err != nil {
		return none, err
	}
	return decodeSeqKey(key)
}

// findIn looks a message up in the value of its segment.
func (o *order) findIn(t *store.Turn, l *loadedMessage, v []byte, last uint64) (value segmentValue) {
	if l.segment = o.known.at(last); l.segment != nil {
		value, l.err = decodeSegment(v, last, nil)
	} else {
		l.segment, value, l.err = o.q.segmentOf(v, last, t.Get)
	}
	if l.err != nil {
		return value
	}
	i, found := value.find(l.seq)
	if l.gone = !found || l.segment.settled.has(int(l.seq-l.segment.first)); !l.gone {
		l.read(value.items[i])
	}
	return value
}

// segmentOf returns the segment of a value, with the state that get finds.
func (q *Lane) segmentOf(v []byte, last uint64, get func(key []byte) ([]byte, error)) (*segment, segmentValue, error) {
	value, err := decodeSegment(v, last, nil)
	if err != nil {
		return nil, value, err
	}
	s := &segment{q: q, last: last, sealed: true, size: len(v)}
	s.take(&value)
	st, err := get(seqKey(q.layout.State, q.place, last))
	if err == nil && st != nil {
		err = s.takeState(st)
	}
	return s, value, err
}

// revision brings messages that were read up to date, for those who do not bring them into memory. What
// became of a message since is known, unless its segment was forgotten.
type revision struct {
	q      *Lane
	before uint64              // how many were forgotten when the read began, or none: nobody knows
	read   map[uint64]*segment // again, by last; nil if it is deleted
}

func (q *Lane) newRevision() *revision {
	return &revision{q: q, before: q.order.forgotten.Load(), read: make(map[uint64]*segment)}
}

// of returns a message as it is now.
func (r *revision) of(t *store.Turn, l loadedMessage) (loadedMessage, error) {
	if l.segment == nil || !l.segment.sealed {
		return l, nil
	}
	s, err := r.segment(t, l.segment)
	if err != nil {
		return l, err
	}
	if l.segment = s; s == nil {
		l.gone = true
		return l, nil
	}
	l.gone, l.mark = l.gone || s.settled.has(int(l.seq-s.first)), s.absent.of(l.seq)
	return l, nil
}

// segment returns a segment as it is now, or nil if it is deleted.
func (r *revision) segment(t *store.Turn, read *segment) (*segment, error) {
	o, last := &r.q.order, read.last
	if known := o.known.at(last); known != nil {
		return known, nil
	}
	if o.forgotten.Load() == r.before {
		return read, nil
	}
	s, done := r.read[last]
	if !done {
		var err error
		if s, err = o.segmentAt(t, last); err != nil {
			return nil, err
		}
		r.read[last] = s
	}
	return s, nil
}

// segmentAt reads a segment under the baton, without its messages; nil if there is none.
func (o *order) segmentAt(t *store.Turn, last uint64) (*segment, error) {
	v, err := t.Get(seqKey(o.q.layout.Segment, o.q.place, last))
	if v == nil || err != nil {
		return nil, err
	}
	s, _, err := o.q.segmentOf(v, last, t.Get)
	return s, err
}

// again is find of a message that was read before: only what has become of it since is read.
func (o *order) again(t *store.Turn, s *Seen) (loadedMessage, error) {
	now := revision{q: o.q, before: none, read: make(map[uint64]*segment)}
	return now.of(t, loadedMessage{Content: s.Content, seq: s.Seq, segment: s.segment})
}

// unread names the queue in the error of a read.
func (q *Lane) unread(err error) error {
	if !store.IsUnread(err) {
		return err
	}
	return fmt.Errorf("queue %q: %w", q.name, err)
}

// waiting returns a message, also one that is not in memory; that is new then. It
// returns nil if there is none, and an error if it cannot be read.
func (q *Lane) waiting(t *store.Turn, l *loadedMessage) (m *Message, new bool, err error) {
	m = q.order.inMemory(l.seq)
	switch {
	case m != nil:
		return m, false, nil
	case l.err != nil:
		return nil, false, l.err
	case l.seq < q.loaded && !q.expiry.passed.has(l.seq):
		m, err = q.groups.fetch(t, l.seq)
		return m, false, err
	case q.order.gone(l):
		return nil, false, nil
	}
	return q.restore(l), true, nil
}

// bring takes a message into memory to be settled.
func (q *Lane) bring(m *Message, l *loadedMessage) {
	q.move(m, returned)
	if l.mark.out {
		q.crash.cameBack()
	}
}

// Lean lets go of the data of a message that was just taken, if many are out; print, of
// the data, stays as Message.Print. When it is handed out again, or settled by the
// lane's own doing, its data is read again; until then it is empty. It is for
// messages that are in no group and have leases.
func (q *Lane) Lean(m *Message, print func(data []byte) uint32) {
	if m.group == nil && !m.prime && m.segment.sealed && q.out.messages > q.leanFrom {
		m.Print = print(m.Data)
		m.lean, m.Data = uint32(len(m.Data)), nil
	}
}

// whole reads the data of a lean message again, and reports false if it cannot be
// read.
func (q *Lane) whole(t *store.Turn, m *Message) bool {
	if m.lean == 0 {
		return true
	}
	l := q.order.find(t, m.Seq)
	if l.gone {
		l.err = damaged("missing message", nil)
	}
	if l.err != nil {
		q.SetAside(t, m, l.err)
		return false
	}
	m.fill(l.Data)
	return true
}

// oldest returns the first message that waits. It looks on disk for one that was
// not loaded, while the next load is on its way.
func (q *Lane) oldest(t *store.Turn) *Message {
	if q.line.low() {
		q.loader.start(t)
	}
	first := q.line.oldest()
	if len(q.line.ahead) == 0 && q.line.window.len() == 0 && (first == nil || first.Seq >= q.loaded) {
		to := q.shown
		if first != nil {
			to = min(to, first.Seq)
		}
		if m := q.probe(t, to); m != nil {
			return m
		}
	}
	if first == nil {
		first = q.oldestUnshown()
	}
	return first
}

// probe brings in the first message that is on disk only.
func (q *Lane) probe(t *store.Turn, to uint64) *Message {
	for q.loader.probed = max(q.loader.probed, q.loaded); q.loader.probed < to; q.loader.probed++ {
		if q.order.inMemory(q.loader.probed) != nil {
			continue
		}
		if l := q.order.find(t, q.loader.probed); !l.gone && l.err == nil { // else the load tells
			return q.comeEarly(t, &l, false)
		}
	}
	return nil
}

// oldestUnshown returns the first message that was put and is not shown yet: what has to go may be
// among that, if much was put at once.
func (q *Lane) oldestUnshown() *Message {
	return q.order.firstInMemory(span{q.shown, q.meta.next})
}

// pick returns a message that was read, if it waits. One that was not in memory does not stay there if
// it is left.
func (q *Lane) pick(t *store.Turn, s *Seen) (m *Message, leave func(), err error) {
	stays := func() {}
	if m := q.order.inMemory(s.Seq); m != nil {
		if !m.Waits() || !q.whole(t, m) {
			return nil, nil, nil
		}
		return m, stays, nil
	}
	if !q.onDiskOnly(s.Seq) {
		m, err := q.groups.fetch(t, s.Seq)
		return m, stays, err
	}
	l, err := q.order.again(t, s)
	switch {
	case err != nil:
		return nil, nil, q.unread(err)
	case l.gone, q.crash.runs(t, &l):
		return nil, nil, nil
	}
	unloaded := q.crash.unloaded
	m = q.restore(&l)
	q.bring(m, &l)
	return m, func() {
		q.move(m, onDisk)
		q.order.setAbsent(m, l.mark)
		q.crash.unloaded = unloaded
	}, nil
}

// Waiting is that of the lane.
func (q *Lane) Waiting() []Span { return []Span{{q.lane, q.meta.low, q.meta.next}} }

// Browse begins to browse the lane.
func (q *Lane) Browse(o Query) *Browse {
	return &Browse{s: q.s, query: o, most: browseMessages, lanes: func() []*Lane { return []*Lane{q} }}
}

// Peek returns the message that stands at a position, or nil if there is none.
func (q *Lane) Peek(ctx context.Context, alive func() error, at Position) (*Seen, error) {
	if at.Delayed() {
		return q.delays.peek(ctx, alive, at)
	}
	c, now := chunk{through: at.Seq + 1}, q.newRevision()
	if err := q.loader.readEntries(ctx, plan{from: at.Seq, to: at.Seq + 1, messages: 1, pass: store.IsDamage}, &c); err != nil {
		return nil, q.unread(err)
	}
	var found []Seen
	err := fence(ctx, q.s, alive, func(t *store.Turn) {
		for _, l := range c.messages {
			if s, here := now.inspect(t, l); here {
				found = append(found, s)
			}
		}
		found = inspectMissing(q.lane, found, c.missing)
	})
	if len(found) == 0 || err != nil {
		return nil, err
	}
	return &found[0], nil
}
