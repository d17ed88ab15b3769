package workqueue

import (
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// placed is one copy of a message: in a queue, or with a sink.
type placed struct {
	q       *queue
	m       *spool.Message // nil if delayed
	delayed spool.Delayed
	sunk    store.Op // instead of all these
}

// copies are those of one message, in the order in which they were made.
type copies []placed

// spread puts a message into all its destinations or, with an error, into none.
func (t *topology) spread(turn *store.Turn, into copies, to []destination, data []byte, delay time.Duration) (copies, error) {
	if n := int64(len(to)) * int64(len(data)); n > store.MaxTx {
		return nil, store.TooLarge(fmt.Sprintf("message for %d queues in bytes", len(to)), n, store.MaxTx)
	}
	for _, d := range to {
		if d.class == store.ClassQueue {
			into = append(into, t.queues[d.name].put(turn, data, delay))
			continue
		}
		op, err := t.sink(turn, d, data, delay)
		if err != nil {
			into.undo()
			return nil, fmt.Errorf("%v: %w", d, err)
		}
		into = append(into, placed{sunk: op})
	}
	return into, nil
}

// sink puts a message into a destination of another layer.
func (t *topology) sink(turn *store.Turn, d destination, data []byte, delay time.Duration) (store.Op, error) {
	m, _, key, err := decodeMessage(data)
	if err != nil {
		return nil, err
	}
	op, err := t.bound[d].sink.Deliver(m.routed(key, delay))
	if err != nil {
		return nil, err
	}
	return op, op.Run(turn)
}

// put adds one copy of a message.
func (q *queue) put(t *store.Turn, data []byte, delay time.Duration) placed {
	if delay > 0 {
		return placed{q: q, delayed: q.spool.PutDelayed(t, data, 0, t.Now().Add(delay))}
	}
	return placed{q: q, m: q.spool.Put(t, data)}
}

func (c copies) undo() {
	for i := len(c) - 1; i >= 0; i-- {
		c[i].undo()
	}
}

func (c copies) show(t *store.Turn) {
	for i := range c {
		c[i].show(t)
	}
}

func (p *placed) undo() {
	switch {
	case p.sunk != nil:
		p.sunk.Undo()
	case p.m == nil:
		p.q.spool.UndoDelayed(p.delayed)
	default:
		p.q.spool.UndoPut(p.m)
	}
}

func (p *placed) show(t *store.Turn) {
	switch {
	case p.sunk != nil:
		p.sunk.Visible(t)
	case p.q.deleted:
	case p.m == nil:
		p.q.spool.ShowDelayed(t)
	default:
		p.q.spool.Show(t, p.m)
	}
}
