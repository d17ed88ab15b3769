package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

// wdelivery is a delivery that the application has.
type wdelivery struct {
	x      *wcopy
	d      *workqueue.Delivery
	k      *wconsumer // nil after a Get
	life   int
	number uint64 // the clock, when it was received
	taken  uint64 // the clock, when the call began that returned it
	over   moment // of its AckTimeout
	unsure bool   // it may be settled, or an AckUpTo may settle it
	swept  bool   // such a call may have settled it while another one tried to
}

// surelyHeld reports that nobody else can have the message.
func (d *wdelivery) surelyHeld(now time.Time) bool {
	return d.x.holder == d && !d.unsure && !d.over.maybe(now) && (d.k == nil || !d.k.closed)
}

func (p *workqueuePart) drawGet() args {
	a := p.drawQueue()
	if a != nil {
		a["n"] = fmt.Sprint(p.w.upTo(6))
	}
	return a
}

func (p *workqueuePart) get(c *client, a args) {
	for n := a.int("n"); n > 0 && c.fault == "" && p.getOne(c, a["queue"]); n-- {
	}
}

// getOne reports whether there was a message.
func (p *workqueuePart) getOne(c *client, name string) bool {
	q := p.usable(name)
	if q == nil {
		return false
	}
	q.refresh(p)
	var d *workqueue.Delivery
	ready := q.surelyReadyNow()
	consumers := q.consumers()
	version := p.version
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) (err error) {
		d, err = p.getOf(ctx, queue)
		return err
	})
	quiet := end(o)
	c.tellCall("get from %s: %s, %v", name, nameOf(d), o.err)
	switch {
	case lost(o.err, workqueue.ErrInUse) && q.config.SingleActive && (consumers > 0 || !quiet):
	case lost(o.err, workqueue.ErrQueueDeleted) && (q.fate != here || version != p.version):
	case o.other:
	case o.err != nil:
		if c.expects(o, "get from "+name); o.unclear() {
			q.blur()
		}
	case d == nil:
		if quiet && q.paused == gone && consumers == 0 {
			p.judgeWithheld(c, o, q, ready)
		}
	default:
		if q.config.SingleActive && consumers > 0 && quiet {
			c.fail("%s is SingleActive and has a consumer, and a Get takes %s beside it", name, nameOf(d))
			return false
		}
		if quiet && q.paused == here {
			c.fail("%s is paused and a Get takes %s", name, nameOf(d))
		}
		p.judge(c, o, q, d, nil, quiet)
	}
	return o.done() && d != nil
}

// blur notes that somebody may have had any message of a queue, and given it back.
func (q *wqueue) blur() {
	q.blurs++
	for _, x := range q.copies {
		if x.holder == nil && x.mayBeHere {
			x.maybe, x.returned, x.count.most = true, true, x.count.most+1
		}
	}
}

func nameOf(d *workqueue.Delivery) string {
	if d == nil {
		return "nothing"
	}
	name, _, _ := strings.Cut(string(d.Body[:min(len(d.Body), 20)]), ".")
	return name
}

// consumers is how many consumers a queue may have that are not closed or cancelled.
func (q *wqueue) consumers() int {
	n := 0
	for _, k := range q.open {
		if !k.ended {
			n++
		}
	}
	return n
}

// surelyReadyNow are the copies that a queue must deliver.
func (q *wqueue) surelyReadyNow() (list []*wcopy) {
	now := wall()
	for _, x := range q.copies {
		if x.surelyReady(now) {
			list = append(list, x)
		}
	}
	return list
}

// surelyReady reports that nothing keeps a copy from being delivered.
func (x *wcopy) surelyReady(now time.Time) bool {
	return x.fate == here && x.holder == nil && x.ready.ended != 0 && !x.mayDie(now) && (!x.delayed || x.due.last.Before(now)) && len(x.moved) == 0
}

// judgeWithheld complains about a message that must be delivered and is not.
func (p *workqueuePart) judgeWithheld(c *client, o outcome, q *wqueue, ready []*wcopy) {
	for _, x := range ready {
		if x.expires.maybe(o.to) || o.mayMiss(c.disk, x.m.sent.last) || !x.surelyReady(o.to) || !c.disk.isWell() || q.mayBeJammed(o.from) {
			continue
		}
		if !x.passedOver(c) {
			c.fail("%s is ready in %s and is not delivered", x.m.name, q.name)
		}
		return
	}
}

// passedOver reports that others may come before a copy, because it was there in a crash. What was
// out in a crash comes first and one at a time after it.
func (x *wcopy) passedOver(c *client) bool {
	return x.crashed || x.suspect && (c.disk.slow.Load() > 0 || !c.disk.well())
}

func (p *workqueuePart) drawTake() args {
	a := p.drawConsumer()
	if a == nil {
		return nil
	}
	a["n"] = fmt.Sprint(p.w.upTo(8))
	a["wait"] = oneOf(p.w, "1ms", "1ms", "1s", "1m")
	if p.w.chance(2) {
		a["together"] = "yes"
	}
	return a
}

func (p *workqueuePart) take(c *client, a args) {
	k := p.consumer(a)
	if k == nil {
		return
	}
	n := a.int("n")
	for n > 0 && c.fault == "" && c.born == c.life {
		limit := 1
		if a.has("together") {
			limit = n
		}
		got, ok := p.takeSome(c, k, limit, a.span("wait"), a.has("together"))
		if n -= got; !ok {
			return
		}
	}
}

// takeSome makes one call; ok is false if there should be no further one.
func (p *workqueuePart) takeSome(c *client, k *wconsumer, limit int, wait time.Duration, together bool) (got int, ok bool) {
	q := k.q
	q.refresh(p)
	ready, room, version := q.surelyReadyNow(), k.surelyHasRoom(wall()), p.version
	was := *k
	end := q.use()
	var list []*workqueue.Delivery
	o := c.call(func(ctx context.Context) error {
		ctx, stop := context.WithTimeout(ctx, max(wait, time.Millisecond))
		defer stop()
		return k.fetch(ctx, limit, together, &list)
	})
	quiet := end(o)
	c.tellCall("take from %s with %s: %d, %v", q.name, k.name, len(list), o.err)
	switch {
	case o.other:
		return 0, false
	case lost(o.err, workqueue.ErrConsumerClosed) && k.ended:
	case lost(o.err, workqueue.ErrQueueDeleted) && (q.fate != here || version != p.version):
	case errors.Is(o.err, context.DeadlineExceeded):
		waited := !o.among || wait >= patience(c) // else it may be on its way to the disk
		if waited && quiet && room && len(q.open) == 1 && !was.ended && q.paused == gone {
			p.judgeWithheld(c, o, q, ready)
		}
	default:
		c.expects(o, "take from "+q.name)
	}
	if o.done() && was.ended {
		c.fail("%s is cancelled and returns a delivery of %s", k.name, q.name)
	}
	if len(list) > limit {
		c.fail("%s returns %d deliveries, asked for %d", k.name, len(list), limit)
	}
	for _, d := range list {
		if p.judge(c, o, q, d, k, quiet); c.fault != "" {
			return 0, false
		}
	}
	return len(list), o.done()
}

func (k *wconsumer) fetch(ctx context.Context, limit int, together bool, list *[]*workqueue.Delivery) error {
	if together {
		found, err := k.c.Fetch(ctx, limit)
		*list = found
		return err
	}
	d, err := k.c.Next(ctx)
	if err == nil {
		*list = []*workqueue.Delivery{d}
	}
	return err
}

// surelyHasRoom reports that a consumer holds less than it may.
func (k *wconsumer) surelyHasRoom(now time.Time) bool {
	n := 0
	for _, x := range k.q.copies {
		if x.holder != nil && x.holder.k == k {
			n++
		}
	}
	return n < k.prefetch
}

// hold notes that the application has a message.
func (p *workqueuePart) hold(c *client, o outcome, x *wcopy, d *workqueue.Delivery, k *wconsumer) *wdelivery {
	p.see(x)
	was := x.count
	x.count.set(d.DeliveryCount)
	x.maybe, x.delayed, x.dying = true, false, nil
	h := &wdelivery{x: x, d: d, k: k, life: c.life, number: c.event(), taken: o.began}
	if x.q.redrives > 0 && len(x.deaths) > 0 && x.deaths[0].queue == x.q.name { // which is not over
		x.putAnew()
	}
	h.begin(p, o)
	if k != nil { // it may have waited in the consumer since it was ready
		h.over.first = earliest(x.m.sent.first).Add(x.q.config.AckTimeout)
	}
	x.holder = h
	x.q.held = append(x.q.held, h)
	c.lose(func() { x.count.least = min(x.count.least, was.least) })
	return h
}

// begin notes when the AckTimeout of a delivery ends that begins within a call.
func (d *wdelivery) begin(p *workqueuePart, o outcome) {
	timeout := d.x.q.config.AckTimeout
	if timeout <= 0 {
		d.over = moment{someday, someday}
		return
	}
	d.over = moment{o.from.Add(timeout), o.to.Add(timeout + timeout/16 + time.Millisecond)}
}

// giveBack notes that a copy is back at its place.
func (x *wcopy) giveBack(when span) {
	x.holder, x.ready, x.returned = nil, when, true
	if x.front.begun != 0 {
		x.astray = true
	}
	x.delayed = false
	x.q.squeeze()
}
