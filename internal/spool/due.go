package spool

import (
	"bytes"
	"context"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

func (l *delays) readDue(ctx context.Context, p plan, c *chunk) (err error) {
	q := l.q
	_, hi := q.span(q.layout.Delayed)
	it, err := q.iter(ctx, dueKey(q.layout.Delayed, q.place, p.nextDue, p.nextLate), hi, p.pass) // before that are tombstones
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	size := 0
	for ok := it.First(); ok; ok = it.Next() {
		d, err := l.decode(it)
		if err != nil {
			return err
		}
		if size += len(d.Data); d.due > p.now.UnixNano() || len(c.delayed) == p.messages || size > p.bytes && len(c.delayed) > 0 {
			c.nextDue, c.nextLate = d.due, d.seq
			break
		}
		c.delayed = append(c.delayed, d)
	}
	c.late, err = lateGaps(it.Gaps())
	return err
}

// decode takes one that cannot be decoded as it is: the layer will say so.
func (l *delays) decode(it *store.Iter) (d delayedMessage, err error) {
	q := l.q
	if d.due, d.seq, err = decodeDueKey(it.Key()); err != nil {
		return d, err
	}
	v, err := it.Value()
	if err != nil {
		return d, err
	}
	if d.Content, err = decodeDelayed(v); err != nil {
		q.s.Log().Error("delayed message is damaged", "queue", q.name, "number", d.seq, "error", err)
		d.Data = v
	}
	d.Data = bytes.Clone(d.Data)
	return d, nil
}

// promote gives delayed messages that are due a place in the queue.
func (i *install) promote(t *store.Turn) {
	q := i.q
	for _, d := range i.c.delayed {
		was := Position{Lane: q.lane, Due: d.due, Seq: d.seq}
		if q.loader.plan.cancelled[was] {
			continue
		}
		t.DeleteSingle(dueKey(q.layout.Delayed, q.place, d.due, d.seq))
		q.delays.unindex(t, &d.Content, was)
		q.release(t, &d.Content, slotDelayed)
		q.meta.delayed--
		q.meta.delayedBytes -= min(q.meta.delayedBytes, d.size())
		t.Hold(q.holder(slotDelayed), d.Payload, -1)
		if q.retention.born != nil {
			d.Born = d.due
		}
		m := q.Put(t, d.Content)
		i.moved = append(i.moved, m)
		for _, w := range q.delays.watches {
			w.becameDue(was, m.Seq)
		}
		if q.delays.promoted != nil {
			q.delays.promoted(t, was, m)
		}
		if q.delays.added != nil {
			i.after = append(i.after, q.delays.added(t, m))
		}
	}
	q.meta.nextDue, q.delays.nextSeq = i.c.nextDue, i.c.nextLate
	q.delays.miss(t, i.c.late, i.c.nextDue == 0 && q.loader.plan.putDue == 0)
	if p := q.loader.plan.putDue; p != 0 && (q.meta.nextDue == 0 || p < q.meta.nextDue) {
		q.meta.nextDue, q.delays.nextSeq = p, 0
	}
	t.Touch(q)
}
