package spool

import (
	"bytes"
	"context"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// What was taken when the process ended may lie anywhere in the backlog, and its
// lease is to end on time, and to be counted, even if nobody takes anything. To
// load messages until all of them are found would bring the backlog into memory.
// So the marks are read, of which there are as many as messages that were ever
// delivered and are left, and only what was out comes in, ahead of the load.
//
// Invariant: while unloaded > 0, what was taken and is not in memory has a
// sequence number in [max(recalled, loaded), recallEnd).

// Recalled reports whether everything that was taken when the store was closed is
// in memory. The background sees to it from Start on; Ready is called then.
func (q *Spool) Recalled() bool { return q.unloaded == 0 }

// recall reads on until then.
func (q *Spool) recall(t *store.Turn) {
	if max(q.recalled, q.loaded) >= q.recallEnd {
		q.unloaded = 0
	}
	if !q.Recalled() {
		q.startLoading(t)
	}
}

// readTaken reads, of the messages from p.recall on, those that were out.
func (q *Spool) readTaken(ctx context.Context, p plan, c *chunk) (err error) {
	marks, err := q.iter(ctx, seqKey(q.layout.Mark, q.place, p.recall), seqKey(q.layout.Mark, q.place, p.recallEnd), p.pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, marks.Close()) }()
	entries, err := q.iter(ctx, seqKey(q.layout.Entry, q.place, p.recall), seqKey(q.layout.Entry, q.place, p.recallEnd), p.pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	c.recalled = p.recallEnd
	size := 0
	for ok := marks.First(); ok; ok = marks.Next() {
		m, out, err := q.readIfOut(marks, entries)
		if err != nil {
			return err
		}
		if !out {
			continue
		}
		if size += len(m.Data); len(c.taken) == p.messages || size > p.bytes && len(c.taken) > 0 {
			c.recalled = m.seq
			return nil
		}
		c.taken = append(c.taken, m)
	}
	return nil
}

// readIfOut reads the message of a mark, if that says that it was out.
func (q *Spool) readIfOut(marks, entries *store.Iter) (m loadedMessage, out bool, err error) {
	v, err := marks.Value()
	if err != nil {
		return m, false, err
	}
	if mk, err := decodeMark(v); err != nil || !mk.out {
		return m, false, nil // of one that is damaged, the load tells
	}
	if !entries.Seek(append([]byte{byte(q.layout.Entry)}, marks.Key()[1:]...)) || !bytes.Equal(entries.Key()[1:], marks.Key()[1:]) {
		return m, false, nil // it was settled, or the load tells that it cannot be read
	}
	m, err = q.readEntry(entries, marks)
	return m, true, err
}

// takeBack brings in what was found.
func (q *Spool) takeBack(t *store.Turn, c *chunk) {
	q.recalled = max(q.recalled, c.recalled)
	for _, l := range c.taken {
		if l.seq >= q.loaded && q.early[l.seq] == nil && l.err == nil {
			q.bringBack(t, l)
		}
	}
}

// bringBack takes a message in that was left on disk, as the process that ended left
// it.
func (q *Spool) bringBack(t *store.Turn, l loadedMessage) *Message {
	out := q.leased != nil && l.mark.out && Moment(l.mark.until).After(t.Now())
	m := q.comeEarly(t, l, out)
	if out {
		q.leased(t, m)
	}
	return m
}
