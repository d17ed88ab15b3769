package queue

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
// sequence number in [max(through, loaded), end).

// recalled reports whether everything that was taken when the store was closed is
// in memory. The background sees to it from Start on; Ready is called then.
func (k *crash) recalled() bool { return k.unloaded == 0 }

// recall reads on until then.
func (k *crash) recall(t *store.Turn) {
	q := k.q
	if max(k.through, q.loaded) >= k.end {
		k.unloaded = 0
	}
	if !k.recalled() {
		q.loader.start(t)
	}
}

// read reads, of the messages from p.recall on, those that were out. Of segments without a
// state nothing was.
func (k *crash) read(ctx context.Context, p plan, c *chunk) (err error) {
	q := k.q
	states, err := q.loader.iter(ctx, seqKey(q.layout.State, q.place, p.recall), store.PrefixEnd(laneKey(q.layout.State, q.place, 0)), p.pass)
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
func (k *crash) takeBack(t *store.Turn, c *chunk) {
	q := k.q
	k.through = max(k.through, c.recalled)
	for _, l := range c.taken {
		if l.seq >= q.loaded && l.err == nil && !q.order.isKnown(&l) {
			k.bringBack(t, l)
		}
	}
}

// bringBack takes a message in that was left on disk, as the process that ended left
// it.
func (k *crash) bringBack(t *store.Turn, l loadedMessage) *Message {
	q := k.q
	runs := k.runs(t, &l)
	m := q.comeEarly(t, &l, runs)
	if runs {
		k.leased(t, m)
	}
	return m
}

// runs reports that a message was out when the process ended, and still is.
func (k *crash) runs(t *store.Turn, l *loadedMessage) bool {
	return k.leased != nil && l.mark.out && Moment(l.mark.until).After(t.Now())
}

// comeBack ends the delivery that m was out in when the process ended, if any.
func (k *crash) comeBack(t *store.Turn, m *Message, mk mark) {
	q := k.q
	m.Until = 0
	if !mk.out {
		return
	}
	q.expiry.mayEnd(t, m)
	q.order.markLater(t, m) // or it would be counted as taken again at the next start
	t.Touch(q)
	k.cameBack()
}

// adopt takes a message in that is out already.
func (k *crash) adopt(m *Message) {
	q := k.q
	q.move(m, out)
	q.groups.adopted(m)
	k.cameBack()
}

// cameBack notes that a message is in memory which was out when the process ended.
func (k *crash) cameBack() {
	if k.unloaded > 0 {
		k.unloaded--
	}
}
