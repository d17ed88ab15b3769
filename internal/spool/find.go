package spool

import (
	"container/heap"
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Find returns a taken message by its sequence number. Of a message that has
// not been loaded since the store was opened, it reads the mark and brings it
// into memory if it was out. It returns nil if there is no such message or it
// is not taken.
func (q *Spool) Find(t *store.Turn, seq uint64) (*Message, error) {
	if m := q.held[seq]; m != nil && m.state == taken {
		return m, nil
	}
	if q.leased == nil || !q.onDiskOnly(seq) {
		return nil, nil
	}
	l := q.getEntry(t.Get, seq)
	if err := errors.Join(l.err, l.lostMark); err != nil {
		return nil, q.unreadable(seq, err)
	}
	if l.gone || !l.mark.out {
		return nil, nil
	}
	return q.comeEarly(t, l, true), nil
}

// onDiskOnly reports that a message may be there and is not in memory.
func (q *Spool) onDiskOnly(seq uint64) bool {
	return (seq >= q.loaded || q.bad.has(seq)) && seq < q.shown && q.early[seq] == nil
}

// unreadable is the error for a message.
func (q *Spool) unreadable(seq uint64, err error) error {
	return fmt.Errorf("message %d of queue %q cannot be read: %w", seq, q.name, err)
}

// Lookup is Find for a message that may wait again, or that the disk does not
// know to have been delivered. It returns nil if the message is gone, and ErrCorrupt
// if the message cannot be read. It is for those who have evidence that it was
// delivered once.
func (q *Spool) Lookup(t *store.Turn, seq uint64) (*Message, error) {
	if m := q.held[seq]; m != nil {
		return m, nil
	}
	if !q.onDiskOnly(seq) {
		if seq >= q.loaded {
			return nil, nil
		}
		if m := q.window.find(seq); m != nil && m.state != gone {
			return m, nil
		}
		return q.groups.fetch(t, seq)
	}
	l := q.getEntry(t.Get, seq)
	switch {
	case l.err != nil:
		return nil, q.unreadable(seq, l.err)
	case l.gone:
		return nil, nil
	}
	return q.comeEarly(t, l, l.mark.out && q.leased != nil), nil
}

// comeEarly takes a message into memory ahead of the load that will skip it, as
// one that is out still, or again waits.
func (q *Spool) comeEarly(t *store.Turn, l loadedMessage, out bool) *Message {
	m := q.restore(l)
	q.cameIn(m)
	q.accuse(m, l)
	q.early[m.Seq] = m
	if out {
		q.adopt(m)
		return m
	}
	q.comeBack(t, m, l.mark)
	heap.Push(&q.strays, m)
	q.wait(m)
	return m
}

// comeBack ends the delivery that m was out in when the process ended, if any.
func (q *Spool) comeBack(t *store.Turn, m *Message, mk mark) {
	m.Until = 0
	if !mk.out {
		return
	}
	q.mayExpire(t, m)
	q.markLater(t, m) // or it would be counted as taken again at the next start
	t.Touch(q)
	if q.unloaded > 0 {
		q.unloaded--
	}
}

// adopt takes a message in that is out already.
func (q *Spool) adopt(m *Message) {
	m.state = taken
	q.handOut(m)
	q.groups.adopted(m)
	heap.Push(&q.strays, m)
	if q.unloaded > 0 {
		q.unloaded--
	}
}

// restore makes a message of what is on disk.
func (q *Spool) restore(l loadedMessage) *Message {
	l.Count, l.Born = l.mark.count, q.bornOf(&l.Content)
	m := &Message{
		Seq: l.seq, Lane: q.lane, Content: l.Content, marked: l.marked,
		Until: Moment(l.mark.until), First: Moment(l.mark.first), Since: Moment(l.mark.since),
	}
	m.SetNote(l.mark.note)
	if l.lostMark != nil && q.bad.first(l.lostMark.Error()) {
		q.s.Log().Error("deliveries of messages cannot be read and are counted anew", "queue", q.name, "seq", l.seq, "error", l.lostMark)
	}
	return m
}

// getter is Get or Probe, of a turn or beside the baton.
type getter = func(key []byte) ([]byte, error)

// beside returns a getter beside the baton.
func beside(ctx context.Context, get func(context.Context, []byte) ([]byte, error)) getter {
	return func(key []byte) ([]byte, error) { return get(ctx, key) }
}

// getEntry reads a message and its mark by their keys.
func (q *Spool) getEntry(get getter, seq uint64) (l loadedMessage) {
	l.seq = seq
	v, err := get(seqKey(q.layout.Entry, q.place, seq))
	if v == nil || err != nil {
		l.gone, l.err = err == nil, err
		return l
	}
	l.Content, l.err = decodeEntry(v)
	l.setMark(get(seqKey(q.layout.Mark, q.place, seq)))
	return l
}
