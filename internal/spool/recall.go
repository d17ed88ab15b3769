package spool

import (
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

// readTaken reads, of the messages from p.recall on, those that were out. Of segments without a
// state nothing was.
func (q *Spool) readTaken(ctx context.Context, p plan, c *chunk) (err error) {
	states, err := q.iter(ctx, seqKey(q.layout.State, q.place, p.recall), store.PrefixEnd(laneKey(q.layout.State, q.place, 0)), p.pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, states.Close()) }()
	r, err := newReader(ctx, q, p.recall, p.pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	c.recalled = p.recallEnd
	size := 0
	for ok := states.First(); ok; ok = states.Next() {
		out, err := outOf(states)
		if err != nil {
			return err
		}
		for _, seq := range out {
			if seq < p.recall || seq >= p.recallEnd {
				continue
			}
			m, err := r.read(seq)
			if err != nil {
				return err
			}
			if m.gone || m.err != nil {
				continue // of one that cannot be read, the load tells
			}
			if size += len(m.Data); len(c.taken) == p.messages || size > p.bytes && len(c.taken) > 0 {
				c.recalled = seq
				return nil
			}
			c.taken = append(c.taken, m)
		}
	}
	return nil
}

// outOf returns the messages that were out, according to the state that an iterator stands on.
func outOf(states *store.Iter) (out []uint64, err error) {
	last, err := decodeSeqKey(states.Key())
	if err != nil {
		return nil, err
	}
	v, err := states.Value()
	if err != nil {
		return nil, err
	}
	st, err := decodeState(v, last)
	if err != nil {
		return nil, nil // of one that is damaged, the load tells
	}
	for _, m := range st.marks {
		if m.out {
			out = append(out, m.seq)
		}
	}
	return out, nil
}

// takeBack brings in what was found.
func (q *Spool) takeBack(t *store.Turn, c *chunk) {
	q.recalled = max(q.recalled, c.recalled)
	for _, l := range c.taken {
		if l.seq >= q.loaded && l.err == nil && !q.isKnown(&l) {
			q.bringBack(t, l)
		}
	}
}

// bringBack takes a message in that was left on disk, as the process that ended left
// it.
func (q *Spool) bringBack(t *store.Turn, l loadedMessage) *Message {
	runs := q.leaseRuns(t, &l)
	m := q.comeEarly(t, &l, runs)
	if runs {
		q.leased(t, m)
	}
	return m
}
