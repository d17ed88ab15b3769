package workqueue

import (
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// sharedBytes is the smallest body that is stored once for several queues.
const sharedBytes = 1 << 10

// parcel is an encoded message on its way to its destinations.
type parcel struct {
	data     []byte
	body     int           // where the body begins in data, if it is there
	payload  store.Payload // else the body
	delay    time.Duration
	priority uint8
	ttl      time.Duration
	unique   queue.UniqueKey // that it holds in its queues
	written  int64           // what it takes up, once it was spread
}

func newParcel(e *envelope) parcel {
	data := encodeMessage(e)
	return parcel{data: data, body: len(data) - len(e.Body), delay: e.Delay, priority: e.Priority, ttl: e.TTL}
}

// share stores the body once if several destinations would refer to it.
func (p *parcel) share(t *store.Turn, to []*end) {
	sharers := 0
	for _, d := range to {
		if d.shares {
			sharers++
		}
	}
	p.written = int64(len(to)) * int64(len(p.data))
	if size := len(p.data) - p.body; sharers > 1 && size >= sharedBytes {
		p.written -= int64(sharers-1) * int64(size)
		p.payload = t.PutPayload(p.data[p.body:])
	}
}

// stored is what a queue keeps, beside the payload.
func (p *parcel) stored() []byte {
	if p.payload.Shared() && p.body < len(p.data) {
		return slices.Clone(p.data[:p.body]) // lets go of the rest
	}
	return p.data
}

// routed is the message as other layers take it.
func (p *parcel) routed(t *store.Turn) (*store.Routed, error) {
	e, err := decodeMessage(p.data)
	if err != nil {
		return nil, err
	}
	if p.payload.Shared() && p.body == len(p.data) {
		if e.Body, err = t.Payload(p.payload); err != nil {
			return nil, err
		}
	}
	r := e.routed(p.delay)
	r.Payload = p.payload
	return r, nil
}

// placed is one copy of a message: in a queue, or with a sink.
type placed struct {
	q       *declaredQueue
	m       *queue.Message // nil if delayed
	delayed *queue.Delayed
	sunk    store.Op // instead of all these
	gone    eviction // to make room for it
}

// copies are those of one message, in the order in which they were made.
type copies []placed

// spread puts a message into all its destinations or, with an error, into none.
func (t *topology) spread(turn *store.Turn, into copies, to []*end, p *parcel) (copies, error) {
	if p.share(turn, to); p.written > store.MaxTx {
		return nil, store.TooLarge(fmt.Sprintf("message for %d destinations in bytes", len(to)), p.written, store.MaxTx)
	}
	data := p.stored()
	into = slices.Grow(into, len(to))
	for _, d := range to {
		one, err := d.take(turn, data, p)
		if err != nil {
			into.undo()
			return nil, err
		}
		into = append(into, one)
	}
	for i := range into {
		p := &into[i]
		if !p.counts() {
			continue
		}
		var err error
		if p.gone, err = p.q.makeRoom(turn, p); err != nil {
			into.undo()
			return nil, err
		}
	}
	return into, nil
}

// take puts one copy of a message into a destination.
func (e *end) take(turn *store.Turn, data []byte, p *parcel) (placed, error) {
	if e.queue != nil {
		if e.queue.damage != nil {
			return placed{}, e.queue.damage
		}
		return e.queue.put(turn, data, p), nil
	}
	op, err := e.deliver(turn, p)
	if err != nil {
		return placed{}, fmt.Errorf("%v: %w", e.destination, err)
	}
	return placed{sunk: op}, nil
}

// deliver puts a message into a destination of another layer.
func (e *end) deliver(turn *store.Turn, p *parcel) (store.Op, error) {
	m, err := p.routed(turn)
	if err != nil {
		return nil, err
	}
	op, err := e.sink.Deliver(m)
	if err != nil {
		return nil, err
	}
	return op, op.Run(turn)
}

// put adds one copy of a message.
func (q *declaredQueue) put(t *store.Turn, data []byte, p *parcel) placed {
	c := queue.Content{Data: data, Payload: p.payload, Unique: p.unique}
	lane := min(p.priority, q.config.MaxPriority)
	due := t.Now().Add(p.delay)
	c.Expires = q.expires(p.ttl, due)
	if p.delay > 0 {
		d := q.core.PutDelayed(t, lane, c, due)
		return placed{q: q, delayed: &d}
	}
	return placed{q: q, m: q.core.Put(t, lane, c)}
}

func (c copies) undo() {
	for i := len(c) - 1; i >= 0; i-- {
		c[i].gone.undo()
	}
	for i := len(c) - 1; i >= 0; i-- {
		c[i].undo()
	}
}

func (c copies) show(t *store.Turn) {
	for i := range c {
		if q := c[i].q; q != nil {
			q.totals.Published++
		}
		c[i].show(t)
	}
	for i := range c {
		c[i].gone.show(t)
	}
}

func (p *placed) undo() {
	switch {
	case p.sunk != nil:
		p.sunk.Undo()
	case p.m == nil:
		p.q.core.UndoDelayed(*p.delayed)
	default:
		p.q.core.UndoPut(p.m)
	}
}

func (p *placed) show(t *store.Turn) {
	switch {
	case p.sunk != nil:
		p.sunk.Visible(t)
	case p.q.deleted:
	case p.m == nil:
		p.q.core.ShowDelayed(t, *p.delayed)
	default:
		p.q.offer(t, p.m)
		p.q.core.Show(t, p.m)
	}
}
