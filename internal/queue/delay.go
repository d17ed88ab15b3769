package queue

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// delays are the messages that wait for their time. They live on disk only, in the order of their
// due times. When they are due a load reads them, and they are put.
//
// Invariant: the earliest is due at meta.nextDue or later, those of gaps aside.
type delays struct {
	q        *Lane
	identify func(data []byte) []byte                      // nil if they have no ids
	added    func(*store.Turn, *Message) func(*store.Turn) // see Options
	promoted func(*store.Turn, Position, *Message)
	timer    *store.Timer
	nextSeq  uint64    // of those due at meta.nextDue, none has a lower number
	watches  []*watch  // of those who browse
	gaps     []lateGap // where they cannot be read, in order
	lost     uint64    // how many these are, about
}

// Delayed is a message that waits for its time. It lives on disk only.
type Delayed struct {
	Position
	size    uint64
	payload store.Payload
	nextDue int64 // of the lane, before
}

// put adds a message that becomes ready at due, at the end of the queue
// as it is then.
func (l *delays) put(t *store.Turn, c Content, due time.Time) Delayed {
	q := l.q
	at := Position{Lane: q.lane, Due: int64(At(due)), Seq: q.meta.delaySeq}
	d := Delayed{Position: at, size: c.size(), payload: c.Payload, nextDue: q.meta.nextDue}
	t.Set(dueKey(q.layout.Delayed, q.place, at.Due, at.Seq), c.encodeDelayed())
	l.index(t, &c, at)
	q.claim(t, &c, slotDelayed, at)
	t.Hold(q.holder(slotDelayed), c.Payload, 1)
	q.meta.delaySeq++
	if l.left() == 0 || d.Due < q.meta.nextDue {
		q.meta.nextDue, l.nextSeq = d.Due, 0
	}
	if q.loader.plan.putDue == 0 || d.Due < q.loader.plan.putDue {
		q.loader.plan.putDue = d.Due
	}
	q.meta.delayed++
	q.meta.delayedBytes += d.size
	t.Touch(q)
	return d
}

// undo takes the last PutDelayed back.
func (l *delays) undo(d Delayed) {
	q := l.q
	q.s.UndoHold(q.holder(slotDelayed), d.payload, 1)
	q.meta.delaySeq--
	q.meta.delayed--
	q.meta.delayedBytes -= d.size
	q.meta.nextDue, l.nextSeq = d.nextDue, 0
}

// show lets the clock run for what was put.
func (l *delays) show(t *store.Turn) { l.arm(t) }

// rouse has what is due read, if its timer has not run yet, and reports whether that is under way.
func (l *delays) rouse(t *store.Turn) bool {
	q := l.q
	if q.closed || l.left() == 0 || q.meta.nextDue > t.Now().UnixNano() {
		return false
	}
	q.loader.start(t)
	return q.loader.loading
}

func (l *delays) arm(t *store.Turn) {
	q := l.q
	if l.left() == 0 || q.closed {
		t.Disarm(l.timer)
		return
	}
	t.Arm(l.timer, time.Unix(0, q.meta.nextDue))
}

// purge drops all of them.
func (l *delays) purge(t *store.Turn) int {
	q := l.q
	n := int(q.meta.delayed)
	lo, hi := q.span(q.layout.Delayed)
	t.DeleteRange(lo, hi)
	if l.identify != nil {
		t.DeleteRange(q.span(q.layout.DelayedID))
	}
	t.HoldOnly(q.holder(slotDelayed), nil)
	q.meta.delayed, q.meta.delayedBytes, q.meta.nextDue = 0, 0, 0
	l.gaps, l.lost = nil, 0
	l.arm(t)
	return n
}

func (l *delays) readDue(ctx context.Context, p plan, c *chunk) (err error) {
	q := l.q
	_, hi := q.span(q.layout.Delayed)
	it, err := q.loader.iter(ctx, dueKey(q.layout.Delayed, q.place, p.nextDue, p.nextLate), hi, p.pass) // before that are tombstones
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

func (l *delays) unwatch(w *watch) {
	l.watches = slices.DeleteFunc(l.watches, func(other *watch) bool { return other == w })
}
