package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// fifo is the numbers of messages that wait, in memory. It keeps no more than
// that: what is in the engine but not in a fifo would be lost to its user.
type fifo struct {
	mu struct {
		sync.Mutex
		ready []uint64
	}
	wake chan struct{}
}

func newFIFO() *fifo { return &fifo{wake: make(chan struct{}, 1)} }

func (f *fifo) push(first, n uint64) {
	f.mu.Lock()
	for i := range n {
		f.mu.ready = append(f.mu.ready, first+i)
	}
	f.mu.Unlock()
	f.signal()
}

func (f *fifo) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// pop takes up to limit numbers; more is that there are others.
func (f *fifo) pop(limit int) []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(limit, len(f.mu.ready))
	if n == 0 {
		return nil
	}
	got := append([]uint64(nil), f.mu.ready[:n]...)
	f.mu.ready = f.mu.ready[n:]
	if len(f.mu.ready) > 0 {
		f.signal()
	}
	return got
}

// wait is pop that waits for the first, and a moment for the rest.
func (f *fifo) wait(ctx context.Context, limit int) []uint64 {
	var got []uint64
	for {
		got = append(got, f.pop(limit-len(got))...)
		if len(got) == limit {
			return got
		}
		if len(got) > 0 {
			var cancel func()
			ctx, cancel = context.WithTimeout(ctx, gatherTime)
			defer cancel()
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return append(got, f.pop(limit-len(got))...)
		}
	}
}

// pebbleQueue is the bare engine as a queue: set, a fifo in memory, get, delete.
type pebbleQueue struct {
	db   *pebble.DB
	w    *pebble.WriteOptions
	next atomic.Uint64
	fifo *fifo
}

func openPebbleQueue(e Env) (Queue, error) { return openBareQueue(e) }

func openBareQueue(e Env) (*pebbleQueue, error) {
	db, err := openPebble(e)
	return &pebbleQueue{db: db, w: pebbleWrite(e), fifo: newFIFO()}, err
}

func (q *pebbleQueue) put(bodies [][]byte) (first uint64, err error) {
	n := uint64(len(bodies))
	first = q.next.Add(n) - n
	b := q.db.NewBatch()
	for i, body := range bodies {
		if err := b.Set(key('q', first+uint64(i)), body, nil); err != nil {
			return 0, err
		}
	}
	if err := b.Commit(q.w); err != nil {
		return 0, err
	}
	return first, b.Close()
}

func (q *pebbleQueue) Publish(bodies [][]byte) error {
	first, err := q.put(bodies)
	if err != nil {
		return err
	}
	q.fifo.push(first, uint64(len(bodies)))
	return nil
}

func (q *pebbleQueue) get(numbers []uint64) ([]Message, error) {
	got := make([]Message, len(numbers))
	for i, n := range numbers {
		v, closer, err := q.db.Get(key('q', n))
		if err != nil {
			return nil, err
		}
		got[i] = Message{Body: append([]byte(nil), v...), id: n}
		if err := closer.Close(); err != nil {
			return nil, err
		}
	}
	return got, nil
}

func (q *pebbleQueue) Delete(messages []Message) error {
	b := q.db.NewBatch()
	for _, m := range messages {
		if err := b.Delete(key('q', m.id), nil); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	return b.Close()
}

func (q *pebbleQueue) Consumer(int) (Consumer, error) { return pebbleConsumer{q}, nil }

func (q *pebbleQueue) Close() error { return q.db.Close() }

type pebbleConsumer struct{ q *pebbleQueue }

func (c pebbleConsumer) Receive(ctx context.Context, limit int) ([]Message, error) {
	return c.q.get(c.q.fifo.wait(ctx, limit))
}

func (c pebbleConsumer) Ack(messages []Message) error { return c.q.Delete(messages) }

func (c pebbleConsumer) Close() error { return nil }

// pebbleVisibility marks each message that it hands out with the end of its
// timeout, as one must for it to survive. Groups are fifos of their own, one
// message of each out at a time.
type pebbleVisibility struct {
	*pebbleQueue
	mu struct {
		sync.Mutex
		groups map[int]*pebbleGroup
		ready  []*pebbleGroup // with messages, none of them out
		of     map[uint64]*pebbleGroup
	}
}

type pebbleGroup struct {
	waiting []uint64
	out     int
}

func openPebbleVisibility(e Env) (Visibility, error) {
	q, err := openBareQueue(e)
	v := &pebbleVisibility{pebbleQueue: q}
	v.mu.groups, v.mu.of = map[int]*pebbleGroup{}, map[uint64]*pebbleGroup{}
	return v, err
}

func (v *pebbleVisibility) Send(bodies [][]byte, group int) error {
	first, err := v.put(bodies)
	if err != nil {
		return err
	}
	if group == 0 {
		v.fifo.push(first, uint64(len(bodies)))
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	g := v.mu.groups[group]
	if g == nil {
		g = &pebbleGroup{}
		v.mu.groups[group] = g
	}
	if len(g.waiting) == 0 && g.out == 0 {
		v.mu.ready = append(v.mu.ready, g)
	}
	for i := range bodies {
		g.waiting = append(g.waiting, first+uint64(i))
	}
	return nil
}

func (v *pebbleVisibility) Receive(limit int) ([]Message, error) {
	numbers := v.fifo.pop(limit)
	if len(numbers) < limit {
		numbers = append(numbers, v.popGroups(limit-len(numbers))...)
	}
	got, err := v.get(numbers)
	if err != nil || len(got) == 0 {
		return got, err
	}
	b, until := v.db.NewBatch(), binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(30*time.Second).UnixNano()))
	for _, m := range got {
		if err := b.Set(key('v', m.id), until, nil); err != nil {
			return nil, err
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return nil, err
	}
	return got, b.Close()
}

func (v *pebbleVisibility) popGroups(limit int) []uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	var got []uint64
	for len(got) < limit && len(v.mu.ready) > 0 {
		g := v.mu.ready[0]
		v.mu.ready = v.mu.ready[1:]
		n := min(limit-len(got), len(g.waiting))
		for _, number := range g.waiting[:n] {
			v.mu.of[number] = g
		}
		got = append(got, g.waiting[:n]...)
		g.waiting, g.out = g.waiting[n:], n
	}
	return got
}

func (v *pebbleVisibility) Delete(messages []Message) error {
	b := v.db.NewBatch()
	for _, m := range messages {
		if err := errors.Join(b.Delete(key('q', m.id), nil), b.Delete(key('v', m.id), nil)); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range messages {
		if g := v.mu.of[m.id]; g != nil {
			delete(v.mu.of, m.id)
			if g.out--; g.out == 0 && len(g.waiting) > 0 {
				v.mu.ready = append(v.mu.ready, g)
			}
		}
	}
	return b.Close()
}

// pebbleExchange has a fifo for each queue. A body is stored once; its number
// goes to a key for each queue.
type pebbleExchange struct {
	*pebbleQueue
	queues []*fifo
	byKey  map[string]int // the middle of a pattern; as little as routing can be
}

func openPebbleFanout(e Env) (Fanout, error) {
	q, err := openBareQueue(e)
	return &pebbleFanout{&pebbleExchange{pebbleQueue: q}}, err
}

type pebbleFanout struct{ *pebbleExchange }

func (x *pebbleFanout) Bind(queues int) error { x.bind(queues); return nil }

func (x *pebbleExchange) bind(queues int) {
	for range queues {
		x.queues = append(x.queues, newFIFO())
	}
}

func (x *pebbleFanout) Publish(body []byte) error {
	all := make([]int, len(x.queues))
	for i := range all {
		all[i] = i
	}
	return x.publish(body, all...)
}

func (x *pebbleExchange) publish(body []byte, queues ...int) error {
	n := x.next.Add(1) - 1
	b := x.db.NewBatch()
	if err := b.Set(key('q', n), body, nil); err != nil {
		return err
	}
	for _, q := range queues {
		if err := b.Set(binary.BigEndian.AppendUint32(key('e', n), uint32(q)), nil, nil); err != nil {
			return err
		}
	}
	if err := b.Commit(x.w); err != nil {
		return err
	}
	for _, q := range queues {
		x.queues[q].push(n, 1)
	}
	return b.Close()
}

func (x *pebbleExchange) Take(queue int) ([]byte, error) {
	got, err := x.get(x.queues[queue].pop(1))
	if err != nil || len(got) == 0 {
		return nil, err
	}
	return got[0].Body, nil
}

type pebbleRouter struct{ *pebbleExchange }

func openPebbleRouter(e Env) (Router, error) {
	q, err := openBareQueue(e)
	return &pebbleRouter{&pebbleExchange{pebbleQueue: q, byKey: map[string]int{}}}, err
}

func (x *pebbleRouter) Bind(bindings, queues int) error {
	x.bind(queues)
	for i := range bindings {
		x.byKey[strings.Split(pattern(i), ".")[2]] = i % queues
	}
	return nil
}

func (x *pebbleRouter) Publish(key string, body []byte) error {
	_, rest, _ := strings.Cut(key, ".site.")
	id, _, _ := strings.Cut(rest, ".")
	q, ok := x.byKey[id]
	if !ok {
		return fmt.Errorf("no binding for %s", key)
	}
	return x.publish(body, q)
}
