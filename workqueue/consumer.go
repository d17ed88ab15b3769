package workqueue

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Prefetch of a consumer.
const (
	DefaultPrefetch   = 32
	UnlimitedPrefetch = -1
	MaxPrefetch       = 1_000_000
)

// ConsumeOptions are choices of one consumer. Nil is the default.
type ConsumeOptions struct {
	// Prefetch is how many deliveries the consumer may hold unsettled; when it has them all,
	// the others of the queue get the next. Deliveries that wait for Next count and have left
	// the queue. Later messages with a higher priority do not overtake them, and their TTL is
	// over. With 1, each is chosen when it is needed. Default 32; UnlimitedPrefetch takes the
	// whole queue into memory if it can.
	Prefetch int
	// Tag names the consumer within its queue. Default: a new name.
	Tag string
	// Priority puts the consumer before those with a lower one. These get deliveries only while
	// all consumers before them have no room. Default 0; it may be negative.
	Priority int
}

// Consumer receives deliveries of one queue. Its methods are safe for
// concurrent use: several goroutines may share it.
type Consumer struct {
	b        *Broker
	q        *declaredQueue
	tag      string
	prefetch int
	priority int
	parks    bool          // is that of a Run, which says when the application gets a delivery
	number   uint64        // of the latest in its inbox; under the baton
	level    *level        // nil once it gets nothing more; under the baton
	place    *list.Element // in its line; under the baton
	held     heldList      // delivered and not settled; under the baton

	mu struct { // below the baton
		sync.Mutex
		inbox  []*Delivery
		unread error // what was found that cannot be read
		err    error // why there will be no more
	}
	wake chan struct{}
}

// Consume starts a consumer on the queue. Deliveries are shared out fairly: each
// goes to the next consumer, in turn, that has room. Close the consumer when
// done.
func (q *Queue) Consume(ctx context.Context, o *ConsumeOptions) (*Consumer, error) {
	if o == nil {
		o = &ConsumeOptions{}
	}
	return q.consume(ctx, o, false)
}

// consume starts a consumer for the application, or one for a Run, which parks.
func (q *Queue) consume(ctx context.Context, o *ConsumeOptions, parks bool) (*Consumer, error) {
	c := &Consumer{b: q.b, q: q.queue, tag: o.Tag, prefetch: o.Prefetch, priority: o.Priority, parks: parks, wake: make(chan struct{}, 1)}
	switch {
	case c.prefetch == 0:
		c.prefetch = DefaultPrefetch
	case c.prefetch < UnlimitedPrefetch || c.prefetch > MaxPrefetch:
		return nil, store.Invalid("Prefetch %d is not between 1 and %d, or UnlimitedPrefetch", o.Prefetch, MaxPrefetch)
	}
	if err := checkShort("consumer tag", c.tag); err != nil {
		return nil, err
	}
	joined := false
	err := q.b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if err := q.use(t); err != nil {
			return err
		}
		err := c.q.join(t, c)
		joined = err == nil
		return err
	}), store.Sync)
	if err == nil {
		return c, nil
	}
	if joined { // and the context has ended before what it saw was on disk
		err = errors.Join(err, c.close(ctx))
	}
	return nil, err
}

func (q *declaredQueue) join(t *store.Turn, c *Consumer) error {
	q.topology.consumers++
	if c.tag == "" {
		c.tag = fmt.Sprintf("consumer-%d", q.topology.consumers)
	}
	for _, other := range q.consumers {
		if other.tag == c.tag {
			return fmt.Errorf("%w: queue %q has a consumer with tag %q", ErrInUse, q.name, c.tag)
		}
	}
	q.consumers = append(q.consumers, c)
	q.turns.join(c)
	q.ready(t)
	return nil
}

// Tag returns the name of the consumer.
func (c *Consumer) Tag() string { return c.tag }

// Next waits for a delivery. It returns ErrConsumerClosed after Close,
// ErrQueueDeleted when the queue is gone, and the store's error when that is
// closed or has failed. Once ctx has ended it returns that error, whatever is
// ready.
//
// Messages of the queue that cannot be read are told of once, to Get or to one of the
// consumers: as pebblemq.ErrCorrupt or ErrUnreadable. The next call goes on with what can
// be read.
func (c *Consumer) Next(ctx context.Context) (*Delivery, error) {
	d, err := c.nextOrUnread(ctx)
	if err == nil {
		traceReceive(ctx, c.q, "next", d)
	}
	return d, err
}

func (c *Consumer) nextOrUnread(ctx context.Context) (*Delivery, error) {
	d, unread, err := c.next(ctx)
	if unread != nil {
		return nil, unread
	}
	return d, err
}

// nextReadable is Next for who need not be told of what cannot be read: it is logged.
func (c *Consumer) nextReadable(ctx context.Context) (*Delivery, error) {
	for {
		if d, unread, err := c.next(ctx); unread == nil {
			return d, err
		}
	}
}

func (c *Consumer) next(ctx context.Context) (d *Delivery, unread, err error) {
	if err := store.CheckContext(ctx); err != nil {
		return nil, nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			c.notify() // for another call, if this one has taken a wake-up
			return nil, nil, err
		}
		if err := c.b.s.Cause(); err != nil {
			return nil, nil, err
		}
		if d, unread, err = c.pop(); err != nil || unread != nil {
			return nil, unread, err
		}
		if d != nil {
			if d, err = d.handOver(ctx); d != nil || err != nil {
				return d, nil, err
			}
			continue
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-c.b.s.Down():
			return nil, nil, c.b.s.Cause()
		}
	}
}

// Fetch waits for a delivery and takes those that are there besides, at most limit
// together, which is at least 1. It is a Next for each of them at the price of one, and
// returns the same errors. With an error there are no deliveries.
func (c *Consumer) Fetch(ctx context.Context, limit int) ([]*Delivery, error) {
	if limit < 1 {
		return nil, store.Invalid("limit %d of Fetch from queue %q is not at least 1", limit, c.q.name)
	}
	d, err := c.nextOrUnread(ctx)
	if err != nil {
		return nil, err
	}
	list, _ := c.takeMore(ctx, []*Delivery{d}, limit) // the next call has the error too
	traceReceive(ctx, c.q, "fetch", list...)
	return list, nil
}

// takeMore adds the deliveries that are there, up to limit. A suspect comes alone: others that are
// out along with it would be suspected too.
func (c *Consumer) takeMore(ctx context.Context, list []*Delivery, limit int) ([]*Delivery, error) {
	for len(list) < limit && !list[0].suspect && !c.nextIsSuspect() {
		d, err := c.another(ctx)
		if d == nil {
			return list, err
		}
		list = append(list, d)
	}
	return list, nil
}

// another returns a delivery that is there, or nil.
func (c *Consumer) another(ctx context.Context) (*Delivery, error) {
	for {
		d, unread, err := c.pop()
		if unread != nil {
			c.tell(unread) // again, to the next call
			return nil, nil
		}
		if d == nil || err != nil {
			return nil, nil // the next call has the error too
		}
		if d, err = d.handOver(ctx); d != nil || err != nil {
			return d, err
		}
	}
}

// Deliveries returns the deliveries as they come. It ends with the error that ended
// it, or without one when the caller breaks off.
func (c *Consumer) Deliveries(ctx context.Context) iter.Seq2[*Delivery, error] {
	return func(yield func(*Delivery, error) bool) {
		for {
			d, err := c.Next(ctx)
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// pop takes the oldest delivery out of the inbox, or what it has to tell.
func (c *Consumer) pop() (d *Delivery, unread, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err != nil {
		c.notify() // for the others who wait
		return nil, nil, c.mu.err
	}
	if unread, c.mu.unread = c.mu.unread, nil; unread != nil {
		c.notify() // for those who wait for what is in the inbox
		return nil, unread, nil
	}
	if len(c.mu.inbox) == 0 {
		return nil, nil, nil
	}
	d = c.mu.inbox[0]
	c.mu.inbox[0] = nil
	c.mu.inbox = c.mu.inbox[1:]
	d.seen = true
	if len(c.mu.inbox) > 0 {
		c.notify()
	}
	return d, nil, nil
}

func (c *Consumer) nextIsSuspect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.inbox) > 0 && c.mu.inbox[0].suspect
}

// tell makes Next return an error of messages that cannot be read.
func (c *Consumer) tell(unread error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.unread = errors.Join(c.mu.unread, unread)
	c.notify()
}

func (c *Consumer) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// deliver puts a delivery into the inbox. It is called under the baton.
func (c *Consumer) deliver(d *Delivery) {
	c.number++
	d.number = c.number
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.inbox = append(c.mu.inbox, d)
	c.notify()
}

// end makes Next return err from now on.
func (c *Consumer) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err == nil {
		c.mu.err, c.mu.inbox = err, nil
	}
	c.notify()
}

// watch makes lose be called when the delivery is lost. It returns what was called before.
func (c *Consumer) watch(d *Delivery, lose context.CancelCauseFunc) (before context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, d.interrupt = d.interrupt, lose
	return before
}

// interrupt takes a delivery that is lost from who has it.
func (c *Consumer) interrupt(d *Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.inbox = slices.DeleteFunc(c.mu.inbox, func(other *Delivery) bool { return other == d })
	if d.interrupt != nil {
		d.interrupt(fmt.Errorf("%w: queue %q", ErrDeliveryLost, d.q.name))
	}
}

func (c *Consumer) wasSeen(d *Delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return d.seen
}

func (c *Consumer) hasRoom() bool {
	return c.prefetch == UnlimitedPrefetch || c.held.n < c.prefetch
}

// Cancel ends the consumption: Next returns ErrConsumerClosed from now on, and what the
// application has not seen goes back to the queue. Received deliveries can still be settled,
// until Close. Cancelling again does nothing.
func (c *Consumer) Cancel() error { return c.leave(context.Background(), true) }

// Close ends the consumer. Unsettled deliveries return to their old place in the queue.
// Settling them later returns ErrDeliveryLost. Deliveries that the application has not received
// are not counted. Closing again does nothing; after the store is closed it is not needed.
func (c *Consumer) Close() error { return c.close(context.Background()) }

// close is Close for a caller who waits no longer than ctx. Then it closes the consumer later.
func (c *Consumer) close(ctx context.Context) error { return c.leave(ctx, false) }

func (c *Consumer) leave(ctx context.Context, keep bool) error {
	o := &closeOp{c: c, keep: keep, done: make(chan struct{})}
	if err := c.b.s.Insist(ctx, o); err != nil {
		return c.unlessDown(err)
	}
	late, stop := store.Outlive(ctx)
	defer stop()
	select {
	case <-o.done:
		return nil
	case <-late.Done():
		return c.unlessDown(late.Err())
	case <-c.b.s.Down():
		return nil
	}
}

// unlessDown returns err, but of a store that is down the deliveries have gone back with it.
func (c *Consumer) unlessDown(err error) error {
	if c.b.s.Cause() != nil {
		return nil
	}
	return err
}

// closeOp takes a consumer out of its queue, and gives back what it holds. Of many deliveries it
// gives back the first, and others like it the rest, with the turns of others between them.
type closeOp struct {
	c    *Consumer
	keep bool // what was seen
	back []*Delivery
	done chan struct{} // closed when all is given back
}

// Prompt lets it in always.
func (o *closeOp) Prompt() {}

func (o *closeOp) Run(t *store.Turn) error {
	c := o.c
	if c.q.deleted {
		close(o.done)
		return nil
	}
	o.leave(t)
	more := o.giveBack(t)
	c.q.ready(t)
	if !more {
		close(o.done)
		return nil
	}
	t.Spawn(func(ctx context.Context) {
		rest := &closeOp{c: c, keep: o.keep, done: o.done}
		_ = c.b.s.Do(store.WithDurability(ctx, store.NoSync), rest, store.NoSync) // fails with the store
	})
	return nil
}

// leave has the consumer get nothing more.
func (o *closeOp) leave(t *store.Turn) {
	c := o.c
	c.end(ErrConsumerClosed)
	if c.level == nil {
		return
	}
	c.q.turns.leave(c)
	c.q.consumers = slices.DeleteFunc(slices.Clone(c.q.consumers), func(other *Consumer) bool { return other == c })
	if c.held.n > 0 {
		c.q.cancelled = append(c.q.cancelled, c)
	}
	if c.q.active == c {
		c.q.active = nil
	}
	c.q.left(t)
}

// giveBack gives deliveries back, and reports whether there are more.
func (o *closeOp) giveBack(t *store.Turn) (more bool) {
	for d := range o.c.held.all() {
		tried := d.tried()
		if o.keep && tried {
			continue
		}
		if len(o.back) == settledAtOnce {
			return true
		}
		o.c.q.core.Return(t, d.m, !tried)
		d.lose()
		o.back = append(o.back, d)
	}
	return false
}

func (o *closeOp) Undo() {}

func (o *closeOp) Visible(t *store.Turn) {
	for _, d := range o.back {
		d.q.returned(t, d.m)
	}
}
