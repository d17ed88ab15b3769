package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// papersPart is thick messages that come to two baskets, which share their bodies. Most of them are taken out
// again, some stay for long.
type papersPart struct {
	w      *world
	made   bool
	papers map[string]*paper
	calls  int // ever made
	under  int // of these, how many are under way
	ended  time.Time
}

// paper is what is known of a message in each of the baskets.
type paper struct {
	in   [2]fate
	size int
}

// baskets are the names of the queues, and desk that of the broker and its exchange.
var baskets = [2]string{"paper", "copies"}

const desk = "desk"

// maxPapers is how many there are at most, since all are looked at each time.
const maxPapers = 400

func newPapersPart(w *world) *papersPart { return &papersPart{w: w, papers: make(map[string]*paper)} }

func (p *papersPart) verbs() []*verb {
	return []*verb{
		form("put {n} papers of {size} bytes on the desk", 8, p.drawPut, p.put),
		form("empty basket {basket} but for some", 8, p.drawEmpty, p.empty),
	}
}

func (p *papersPart) drawPut() args {
	w := p.w
	if w.hash("papers")%4 != 0 || len(p.papers) >= maxPapers {
		return nil
	}
	return args{"n": oneOf(w, "1", "5", "30"), "size": oneOf(w, "100", "2000", "50000")}
}

func (p *papersPart) drawEmpty() args {
	if !p.made {
		return nil
	}
	return args{"basket": fmt.Sprint(p.w.rng.IntN(len(baskets)))}
}

// open makes the exchange and its queues, durably.
func (p *papersPart) open(c *client) bool {
	if p.made {
		return true
	}
	o := c.call(func(ctx context.Context) error {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		b, err := workqueue.OpenBroker(ctx, c.db, desk)
		if err != nil {
			return err
		}
		if err := b.DeclareExchange(ctx, desk, workqueue.Fanout, nil); err != nil {
			return err
		}
		for _, name := range baskets {
			if _, err := b.DeclareQueue(ctx, name, &workqueue.QueueConfig{DeliveryLimit: workqueue.NoDeliveryLimit}); err != nil {
				return err
			}
			if err := b.Bind(ctx, workqueue.Binding{Exchange: desk, Queue: name}); err != nil {
				return err
			}
		}
		return nil
	})
	if c.expects(o, "make the desk"); o.done() {
		p.made = true
	}
	return o.done()
}

// body is what is on a paper.
func (x *paper) body(name string) []byte {
	return []byte(name + "." + strings.Repeat(name[len(name)-1:], x.size))
}

// use notes a call.
func (p *papersPart) use() (end func(o outcome)) {
	p.calls++
	p.under++
	life := p.w.life
	return func(o outcome) {
		if p.ended = o.to; life == p.w.life {
			p.under--
		}
	}
}

func (p *papersPart) put(c *client, a args) {
	if !p.open(c) {
		return
	}
	var batch []workqueue.Publishing
	var mine []*paper
	for range a.int("n") {
		name := fmt.Sprintf("p%d", len(p.papers)+1)
		x := &paper{in: [2]fate{unknown, unknown}, size: a.int("size")}
		p.papers[name] = x
		mine = append(mine, x)
		batch = append(batch, workqueue.Publishing{Message: workqueue.Message{Body: x.body(name)}})
	}
	end := p.use()
	o := c.call(func(ctx context.Context) error {
		b, err := workqueue.LookupBroker(ctx, c.db, desk)
		if err == nil {
			err = b.PublishBatch(ctx, desk, batch)
		}
		return err
	})
	end(o)
	c.expects(o, "put papers on the desk")
	for _, x := range mine {
		for i := range x.in {
			x.settle(c, o, i, here)
		}
	}
	p.w.durable(c, o, true)
}

// settle notes that a paper is in a basket, or is not.
func (x *paper) settle(c *client, o outcome, i int, is fate) {
	was := x.in[i]
	switch {
	case o.refused() && is == here:
		x.in[i] = gone
	case o.done() && is == here && !was.mayBeHere:
	case o.done():
		if x.in[i] = is; !c.syncs(is == here) {
			c.lose(func() { x.in[i] = unknown })
		}
	}
}

// empty takes all papers out of a basket, and puts those back that stay for long.
func (p *papersPart) empty(c *client, a args) {
	if !p.made {
		return
	}
	i := a.int("basket")
	end := p.use()
	if c.within == 0 {
		c.within = time.Second
	}
	var list []*workqueue.Delivery
	var k *workqueue.Consumer
	o := c.call(func(ctx context.Context) error {
		b, err := workqueue.LookupBroker(ctx, c.db, desk)
		if err != nil {
			return err
		}
		q, err := b.Queue(ctx, baskets[i])
		if err != nil {
			return err
		}
		if k, err = q.Consume(ctx, &workqueue.ConsumeOptions{Prefetch: 50}); err == nil {
			list, err = k.Fetch(ctx, 50)
		}
		return err
	})
	end(o)
	if c.expects(o, "empty "+baskets[i]); k == nil || o.other {
		return
	}
	for _, d := range list {
		if x := p.judge(c, i, d.Body); x != nil && c.hash(nameOf(d))%16 != 0 && c.born == c.life {
			p.take(c, x, i, d)
		}
	}
	end = p.use()
	o = c.callFree(k.Close)
	end(o)
	c.expects(o, "leave "+baskets[i])
}

func (p *papersPart) take(c *client, x *paper, i int, d *workqueue.Delivery) {
	x.in[i].mayBeGone = true
	end := p.use()
	o := c.call(d.Ack)
	end(o)
	c.expects(o, "take "+nameOf(d), workqueue.ErrDeliveryLost)
	x.settle(c, o, i, gone)
	p.w.durable(c, o, false)
}

// judge complains about a message that is not one of a basket, or has another body.
func (p *papersPart) judge(c *client, i int, body []byte) *paper {
	name := nameOf(&workqueue.Delivery{Message: workqueue.Message{Body: body}})
	x := p.papers[name]
	switch {
	case x == nil || !bytes.Equal(body, x.body(name)):
		c.fail("%s has a paper %q of %d bytes, which nobody has put there", baskets[i], name, len(body))
		return nil
	case !x.in[i].mayBeHere:
		c.fail("%s has paper %s, which was taken", baskets[i], name)
	}
	return x
}

// check looks into the baskets.
func (p *papersPart) check(c *client) {
	if !p.made {
		return
	}
	calls := p.calls
	var shown [2][][]byte
	o := c.call(func(ctx context.Context) (err error) {
		shown, err = browseBaskets(ctx, c.db)
		return err
	})
	if c.expects(o, "look into the baskets"); !o.done() {
		return
	}
	quiet := p.under == 0 && p.calls == calls && !o.mayMiss(c.disk, p.ended)
	for i, bodies := range shown {
		seen := make(map[*paper]bool)
		for _, body := range bodies {
			x := p.judge(c, i, body)
			if seen[x] {
				c.fail("%s shows a paper twice: %.20q", baskets[i], body)
			}
			seen[x] = true
		}
		for name, x := range p.papers {
			if quiet && x.in[i] == here && !seen[x] {
				c.fail("%s does not show paper %s", baskets[i], name)
			}
		}
	}
}

// browseBaskets returns the body of each message of both queues.
func browseBaskets(ctx context.Context, db *pebblemq.DB) (shown [2][][]byte, err error) {
	b, err := workqueue.LookupBroker(ctx, db, desk)
	if err != nil {
		return shown, err
	}
	for i, name := range baskets {
		q, err := b.Queue(ctx, name)
		if err != nil {
			return shown, err
		}
		for m, err := range q.Browse(ctx, nil) {
			if err != nil {
				return shown, err
			}
			shown[i] = append(shown[i], m.Body)
		}
	}
	return shown, nil
}

func (p *papersPart) opened(*client)   { p.under = 0 }
func (p *papersPart) settle(c *client) { p.check(c) }
