package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/workqueue"
)

// wconsumer is what is known of a consumer.
type wconsumer struct {
	name     string
	q        *wqueue
	c        *workqueue.Consumer
	prefetch int
	rank     int
	begun    uint64
	ended    bool // it was cancelled or closed, or is being so
	drained  bool // what nobody has seen is back
	closed   bool
}

func (p *workqueuePart) drawConsume() args {
	w := p.w
	a := p.drawQueue()
	if a == nil || len(p.consumers) > 8 {
		return nil
	}
	p.drawn++
	a["consumer"] = fmt.Sprintf("c%d", p.drawn)
	if w.chance(2) {
		a["prefetch"] = oneOf(w, "1", "2", "5", "100")
	}
	if w.likes("ranks") && w.chance(3) {
		a["rank"] = oneOf(w, "-1", "1", "2")
	}
	return a
}

func (p *workqueuePart) consume(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil || p.consumers[a["consumer"]] != nil {
		return
	}
	q.refresh(p)
	k := &wconsumer{name: a["consumer"], q: q, prefetch: a.int("prefetch"), rank: a.int("rank"), begun: c.event()}
	if k.prefetch == 0 {
		k.prefetch = workqueue.DefaultPrefetch
	}
	q.open = append(q.open, k)
	p.consumers[k.name] = k
	version := p.version
	end := q.use()
	var consumer *workqueue.Consumer
	o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) (err error) {
		consumer, err = queue.Consume(ctx, &workqueue.ConsumeOptions{Prefetch: a.int("prefetch"), Tag: k.name, Priority: k.rank})
		return err
	})
	end(o)
	q.attended = c.event()
	if o.done() {
		k.c = consumer
		return
	}
	k.ended = true // or it may be there, and nobody has it
	delete(p.consumers, k.name)
	if o.refused() && !o.other {
		q.drop(k)
		k.mayHaveBegun(c, o)
	}
	if !lost(o.err, workqueue.ErrQueueDeleted) || q.fate == here && version == p.version {
		c.expects(o, "consume "+q.name)
	}
}

// mayHaveBegun notes that a consumer whose call was given up may have had messages all the same, until
// it was closed.
func (k *wconsumer) mayHaveBegun(c *client, o outcome) {
	if !errors.Is(o.err, context.DeadlineExceeded) {
		return
	}
	k.drain(c, o.began)
}

// drop forgets a consumer that holds nothing any more.
func (q *wqueue) drop(k *wconsumer) {
	q.open = slices.DeleteFunc(q.open, func(o *wconsumer) bool { return o == k })
}

func (p *workqueuePart) drawConsumer() args {
	var names []string
	for name, k := range p.consumers {
		if k.c != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return args{"consumer": oneOf(p.w, names...)}
}

// consumer returns the consumer of a step, nil if it is missing.
func (p *workqueuePart) consumer(a args) *wconsumer {
	if k := p.consumers[a["consumer"]]; k != nil && k.c != nil {
		return k
	}
	return nil
}
