package queue

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// A message that cannot be read does not hold up the others. The disk may be damaged,
// which stays, or a read may fail, which may pass. Loads, sweeps and browses pass over a
// stretch of the queue that they cannot read (store.Iter.PassOver). Nothing of it is
// deleted but by Purge, and it keeps its place:
//
//	 load ──passes over──▶ unreadable ──read again, after a pause──▶ ready, at its place
//	                          ▲   │
//	taken, cannot be read ────┘   └──the queue is opened again──▶ load
//	(see SetAside)
//
// What a stretch holds is not known. So the messages that are not in memory are
// counted: once all that waits has been loaded, those that are left are unreadable.
//
// Delayed messages, and the index of what expires, are passed over in the same way.
//
// Invariants:
//
//   - onDisk counts the messages that are shown and not in memory.
//   - A shown message below loaded that is not in memory lies in a stretch, has expired and was
//     passed over, or is gone. Nothing in a stretch is in memory.
type unreadable struct {
	q         *Lane
	onDisk    tally
	stretches stretches

	groups []*group // whose spilled messages, and the index of these, cannot be read

	logged map[string]bool // what was reported before
	untold []error         // see Unread

	timer   *store.Timer // for what may be read again
	pause   time.Duration
	reading bool
}

// missing is a part of the queue that was passed over. Segments within it may have been
// found, each by itself: runs are what is left between them, nil if that is all of it.
type missing struct {
	span
	messages uint64 // about
	err      error
	runs     []run
}

// run is a part of a queue, with about so many messages that cannot be read.
type run struct {
	span
	messages uint64
}

func (m *missing) parts() []run {
	if m.runs == nil {
		return []run{{m.span, m.messages}}
	}
	return m.runs
}

// add takes a run in, unless all its messages are gone.
func (m *missing) add(r run) {
	if r.messages > 0 {
		m.runs, m.messages = append(m.runs, r), m.messages+r.messages
	}
}

// tally counts messages and their bytes.
type tally struct{ messages, bytes uint64 }

func (c *tally) more(o tally) { c.messages, c.bytes = c.messages+o.messages, c.bytes+o.bytes }

// less takes off at most what is there: the size of what was unreadable is not known.
func (c *tally) less(o tally) {
	c.messages -= min(c.messages, o.messages)
	c.bytes -= min(c.bytes, o.bytes)
}

// searchMost is how many sequence numbers of a stretch are looked up one by one.
const searchMost = 4096

// search finds out which messages of what a reader has passed over, below through, are there
// and cannot be read. Another table may have some that can.
func (u *unreadable) search(ctx context.Context, r *reader, c *chunk) error {
	found := len(c.messages)
	for _, m := range r.lost {
		if m.to = min(m.to, c.through); m.from >= m.to {
			continue
		}
		if m.messages == 0 { // nobody knows how many
			again, messages, err := missed(m.span, m.err, func(last uint64) ([]loadedMessage, error) { return u.lookUp(ctx, last) })
			if err != nil {
				return err
			}
			m, c.messages = again, append(c.messages, messages...)
		}
		if len(m.parts()) > 0 {
			c.missing = append(c.missing, m)
		}
	}
	if len(c.messages) > found {
		slices.SortFunc(c.messages, func(a, b loadedMessage) int { return cmp.Compare(a.seq, b.seq) })
	}
	return nil
}

// missed looks for the segments of a part one by one, as far as that makes sense, and returns what
// was found in it beside what is missing.
func missed(s span, err error, lookUp func(last uint64) ([]loadedMessage, error)) (m missing, found []loadedMessage, _ error) {
	m = missing{span: s, err: err, runs: []run{}} // no run is nothing, not all
	rest := run{span: s}
	for last := s.from; last < min(s.to+segmentMessages, s.from+searchMost); last++ {
		segment, err := lookUp(last)
		switch {
		case err != nil && !store.IsUnread(err):
			return m, nil, err
		case err != nil && last < s.to:
			rest.messages++
		case err != nil: // a segment may reach beyond the part
			rest.messages = max(rest.messages, 1)
		case len(segment) > 0 && segment[0].segment.first < s.to:
			rest.to = max(rest.from, segment[0].segment.first)
			m.add(rest)
			rest = run{span: span{min(last+1, s.to), s.to}}
			found = append(found, slices.DeleteFunc(segment, func(l loadedMessage) bool { return l.seq < s.from || s.to <= l.seq })...)
		}
	}
	if s.to-s.from > searchMost {
		rest.messages = max(rest.messages, 1) // or more, which were not looked for
	}
	m.add(rest)
	return m, found, nil
}

// lookUp reads the segment under a number that an iterator could not, if there is one. Get does
// not look behind a newer table in which it is deleted; Probe does not read a block if the filter
// of its table says that the segment is not there.
func (u *unreadable) lookUp(ctx context.Context, last uint64) ([]loadedMessage, error) {
	q := u.q
	key := seqKey(q.layout.Segment, q.place, last)
	v, err := q.s.Get(ctx, key)
	if err != nil {
		v, err = q.s.Probe(ctx, key)
	}
	if v == nil || err != nil {
		return nil, err
	}
	s, value, err := q.segmentOf(v, last, func(key []byte) ([]byte, error) { return q.s.Get(ctx, key) })
	if err != nil {
		return nil, err
	}
	var found []loadedMessage
	for _, m := range value.items {
		if !s.settled.has(int(m.seq - s.first)) {
			l := loadedMessage{seq: m.seq, segment: s}
			l.read(m)
			found = append(found, l)
		}
	}
	return found, nil
}

// seqFrom returns the first sequence number that is not below a key of an entry.
func seqFrom(key []byte) uint64 {
	if seq, err := decodeSeqKey(key); err == nil {
		return seq
	}
	return math.MaxUint64 // the end of the lane
}

// miss notes what a load, or a sweep, has passed over, and tells of it.
func (u *unreadable) miss(t *store.Turn, list []missing) {
	for _, m := range list {
		u.leave(t, m)
		u.report(fmt.Sprint("entry ", m.from), m)
	}
}

// leave notes messages that stay on disk. Some may be in memory, brought in early.
func (u *unreadable) leave(t *store.Turn, m missing) {
	passing := !store.IsDamage(m.err)
	for _, r := range m.parts() {
		u.stretches.add(stretch{r.span, r.messages, passing})
	}
	u.q.order.messagesIn(m.span, func(known *Message) { u.stretches.cut(span{known.Seq, known.Seq + 1}) })
	if passing {
		u.tryAgain(t)
	}
}

// report tells of messages that cannot be read, once for each place.
func (u *unreadable) report(place string, m missing) {
	q := u.q
	if !u.first(place) {
		return
	}
	q.s.Log().Error("messages cannot be read and stay in their queue, the others go on",
		"queue", q.name, "from", Position{Lane: q.lane, Seq: m.from}, "to", Position{Lane: q.lane, Seq: m.to - 1}, "messages", m.messages, "error", m.err)
	u.tell(fmt.Errorf("queue %q: messages %d to %d cannot be read: %w", q.name, m.from, m.to-1, m.err))
}

// untoldMost is how many errors are kept for Unread.
const untoldMost = 16

func (u *unreadable) tell(err error) {
	if len(u.untold) < untoldMost {
		u.untold = append(u.untold, err)
	}
}

// first reports whether something is to be reported, because it was not before.
func (u *unreadable) first(what string) bool {
	if u.logged[what] {
		return false
	}
	if u.logged == nil {
		u.logged = make(map[string]bool)
	}
	u.logged[what] = true
	return true
}

// lose notes a message that stays on disk.
func (u *unreadable) lose(t *store.Turn, seq uint64, err error) {
	m := missing{span: span{seq, seq + 1}, messages: 1, err: err}
	u.leave(t, m)
	u.report(err.Error(), m) // it names the place, which other messages may share
}

// lost returns what is known to be unreadable.
func (u *unreadable) lost() (lost tally) {
	q := u.q
	if len(u.stretches) == 0 {
		return lost
	}
	left := u.onDisk
	left.less(q.expiry.left)
	if q.loaded == q.shown {
		lost = left
	} else {
		for _, s := range u.stretches {
			lost.messages += s.messages
		}
		lost.messages = min(lost.messages, left.messages)
	}
	lost.messages -= min(lost.messages, q.crash.unloaded) // these count as taken
	return lost
}

// some reports that something cannot be read.
func (u *unreadable) some() bool { return len(u.stretches) > 0 }

// purge forgets what waits, because it is gone.
func (u *unreadable) purge() { u.stretches, u.groups, u.onDisk = nil, nil, tally{} }
