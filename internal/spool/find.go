package spool

import (
	"container/heap"

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
	if seq < q.loaded || seq >= q.shown || q.early[seq] != nil || q.leased == nil {
		return nil, nil
	}
	return q.findOnDisk(t, seq)
}

func (q *Spool) findOnDisk(t *store.Turn, seq uint64) (*Message, error) {
	mv, err := t.Get(seqKey(q.layout.Mark, q.place, seq))
	if err != nil || mv == nil {
		return nil, err
	}
	mk, err := decodeMark(mv)
	if err != nil || !mk.out {
		return nil, err
	}
	return q.fetch(t, seq, mk, true)
}

// Lookup is Find for a message that may wait again, or that the disk does not
// know to have been delivered. It returns nil if the message is gone. It is
// for those who have evidence that it was delivered once.
func (q *Spool) Lookup(t *store.Turn, seq uint64) (*Message, error) {
	if m := q.held[seq]; m != nil {
		return m, nil
	}
	if seq < q.loaded {
		if m := q.window.find(seq); m != nil && m.state != gone {
			return m, nil
		}
		return q.groups.fetch(t, seq)
	}
	if seq >= q.shown || q.early[seq] != nil {
		return nil, nil
	}
	mv, err := t.Get(seqKey(q.layout.Mark, q.place, seq))
	if err != nil {
		return nil, err
	}
	var mk mark
	if mv != nil {
		if mk, err = decodeMark(mv); err != nil {
			return nil, err
		}
	}
	return q.fetch(t, seq, mk, mv != nil)
}

// fetch brings a message into memory ahead of the load that will skip it.
func (q *Spool) fetch(t *store.Turn, seq uint64, mk mark, marked bool) (*Message, error) {
	v, err := t.Get(seqKey(q.layout.Entry, q.place, seq))
	if err != nil || v == nil {
		return nil, err
	}
	c, err := decodeEntry(v)
	if err != nil {
		return nil, err
	}
	return q.comeEarly(t, q.restore(seq, c, mk, marked), mk, mk.out && q.leased != nil), nil
}

// comeEarly takes a message into memory ahead of the load that will skip it, as
// one that is out still, or again waits.
func (q *Spool) comeEarly(t *store.Turn, m *Message, mk mark, out bool) *Message {
	q.accuse(m, mk)
	q.early[m.Seq] = m
	if out {
		q.adopt(m)
		return m
	}
	q.comeBack(t, m, mk)
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
func (q *Spool) restore(seq uint64, c Content, mk mark, marked bool) *Message {
	c.Count, c.Born = mk.count, q.bornOf(&c)
	m := &Message{
		Seq: seq, Lane: q.lane, Content: c, marked: marked,
		Until: Moment(mk.until), First: Moment(mk.first), Since: Moment(mk.since),
	}
	m.SetNote(mk.note)
	return m
}

// getEntry reads a message and its mark under the baton.
func (q *Spool) getEntry(t *store.Turn, seq uint64) (l loadedMessage, err error) {
	v, err := t.Get(seqKey(q.layout.Entry, q.place, seq))
	if v == nil || err != nil {
		return loadedMessage{seq: seq, gone: true}, err
	}
	l.seq = seq
	var bad error
	l.Content, bad = decodeEntry(v)
	mv, err := t.Get(seqKey(q.layout.Mark, q.place, seq))
	if mv != nil && bad == nil {
		l.marked = true
		l.mark, bad = decodeMark(mv)
	}
	l.damaged = bad != nil
	return l, err
}
