package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

func (p *workqueuePart) drawSettle(more func(args)) func() args {
	return func() args {
		a := p.drawQueueThat(func(q *wqueue) bool { return len(q.held) > 0 })
		if a == nil {
			return nil
		}
		a["n"] = fmt.Sprint(p.w.upTo(len(p.usable(a["queue"]).held)))
		if more != nil {
			more(a)
		}
		return a
	}
}

func (p *workqueuePart) drawUpTo(a args) {
	if p.w.likes("multiple") && p.w.chance(3) {
		a["upto"] = "yes"
	}
}

func (p *workqueuePart) drawReleaseAfter(a args) {
	if p.w.chance(2) {
		a["after"] = oneOf(p.w, "1ms", "1s", "1m")
	}
}

func (p *workqueuePart) drawRequeue(a args) {
	switch {
	case p.w.chance(3):
		a["front"] = "yes"
	case p.w.chance(2):
		a["after"] = oneOf(p.w, "1ms", "1s", "1h")
	}
}

// each does something with the first deliveries that the application has, or with the nth and all
// before it.
func (p *workqueuePart) each(do func(c *client, d *wdelivery, a args)) func(*client, args) {
	return func(c *client, a args) {
		q := p.usable(a["queue"])
		if q == nil {
			return
		}
		q.refresh(p)
		n := a.int("n")
		if a.has("upto") && len(q.held) > 0 {
			do(c, q.pick(min(n, len(q.held))-1), a)
			return
		}
		for ; n > 0 && len(q.held) > 0 && c.fault == ""; n-- {
			do(c, q.pick(0), a)
		}
	}
}

// pick takes a delivery out of the list, because it is going to be settled.
func (q *wqueue) pick(i int) *wdelivery {
	d := q.held[i]
	q.held = slices.Delete(q.held, i, i+1)
	return d
}

// effect is what settling a delivery does to its message.
type effect struct {
	d    *wdelivery
	was  wcopy
	dies bool // it makes a dead letter
	free bool // the delivery does not count then
	done func(o outcome, x *wcopy)
	undo func(x *wcopy) // what a crash makes of it; nil if that changes nothing
}

// begin notes that it may happen from now on.
func (e *effect) begin(removes bool) {
	x := e.d.x
	e.was = *x
	e.was.dying = maps.Clone(x.dying)
	if e.d.unsure = true; x.holder != e.d {
		return
	}
	if removes {
		x.mayBeGone = true
	}
	if e.dies {
		x.doom(workqueue.ReasonRejected)
	}
	if e.free {
		x.count.least = max(0, x.count.least-1)
	}
}

// finish notes how it ended.
func (e *effect) finish(p *workqueuePart, c *client, o outcome) {
	x := e.d.x
	switch {
	case o.refused() && x.holder != e.d && x.count != e.was.count: // others have had it since
	case o.refused() && e.d.swept:
		x.blur()
	case o.refused():
		if x.mayBeHere {
			x.mayBeGone = e.was.mayBeGone
		}
		if e.dies && !e.was.dying[workqueue.ReasonRejected] {
			delete(x.dying, workqueue.ReasonRejected)
		}
		if e.free && x.holder == e.d {
			x.count = e.was.count
		}
	case o.done() && x.mayBeHere:
		e.done(o, x)
		if e.undo != nil && !c.syncs(false) {
			c.lose(func() { e.undo(x) })
		}
	case !o.done():
		x.blur()
	}
}

// blur notes that a copy may be back or not, at any place and after any pause.
func (x *wcopy) blur() {
	x.astray, x.delayed, x.due = true, true, moment{time.Time{}, someday}
	x.count.least = max(0, x.count.least-1)
}

// settle makes a call that settles a delivery, or all up to it.
func (p *workqueuePart) settleOne(c *client, d *wdelivery, what string, upTo bool, f func(ctx context.Context) error, removes bool, make func(d *wdelivery) *effect) outcome {
	list := []*wdelivery{d}
	if upTo && d.k != nil {
		list = append(d.before(), d)
		d.sweep(list, removes, make(d).dies)
	}
	var effects []*effect
	for _, h := range list {
		e := make(h)
		e.d = h
		effects = append(effects, e)
		e.begin(removes)
	}
	q := d.x.q
	end := q.use()
	o := c.call(f)
	quiet := end(o)
	c.tellCall("%s %s of %s: %v", what, d.x.m.name, q.name, o.err)
	p.judgeSettle(c, o, d, what, quiet)
	for _, e := range effects {
		if e.d != d && (e.d.over.maybe(o.to) || !quiet) { // it may have been lost, and is not a part then
			if o.err == nil {
				e.d.x.blur()
				e.d.x.mayBeGone = e.d.x.mayBeGone || removes
				continue
			}
		}
		if e.finish(p, c, o); o.refused() && !lostForGood(o.err) && !e.d.swept {
			e.d.unsure = false
			if e.d.x.holder == e.d {
				q.held = append(q.held, e.d)
			}
		}
	}
	if o.done() {
		p.w.durable(c, o, false)
		p.again(c, d, what, f)
	}
	return o
}

// lostForGood reports that a delivery cannot be settled any more.
func lostForGood(err error) bool {
	return lost(err, workqueue.ErrDeliveryLost) || lost(err, workqueue.ErrSettled) || lost(err, workqueue.ErrQueueDeleted)
}

// before returns the deliveries that a consumer got before one, and takes them out of the list.
func (d *wdelivery) before() (list []*wdelivery) {
	d.x.q.held = slices.DeleteFunc(d.x.q.held, func(o *wdelivery) bool {
		if o.k != d.k || o.number > d.number {
			return false
		}
		list = append(list, o)
		return true
	})
	return list
}

// sweep notes that a call which settles all deliveries up to one may settle those that other calls
// are about to settle, too: the consumer still holds them.
func (d *wdelivery) sweep(list []*wdelivery, removes, dies bool) {
	for _, x := range d.x.q.copies {
		o := x.holder
		if o == nil || o.k != d.k || o.number > d.number || slices.Contains(list, o) {
			continue
		}
		if o.swept, x.mayBeGone = true, x.mayBeGone || removes; dies {
			x.doom(workqueue.ReasonRejected)
		}
	}
}

// judgeSettle complains about an outcome that is not possible.
func (p *workqueuePart) judgeSettle(c *client, o outcome, d *wdelivery, what string, quiet bool) {
	x := d.x
	what = fmt.Sprintf("%s %s of %s", what, x.m.name, x.q.name)
	closed := d.k != nil && d.k.closed
	switch {
	case o.done() && d.life != c.life:
		c.fail("%s: accepted, although its store was closed", what)
	case o.done() && d.over.surely(o.from) && c.disk.isWell():
		c.fail("%s: accepted, although the AckTimeout was over for %s", what, o.from.Sub(d.over.last))
	case o.done() && closed && quiet:
		c.fail("%s: accepted, although its consumer is closed", what)
	case lost(o.err, workqueue.ErrDeliveryLost) && (d.over.maybe(o.to) || closed):
	case lost(o.err, workqueue.ErrQueueDeleted) && x.q.fate != here:
	case lost(o.err, workqueue.ErrSettled) && !quiet:
	case lost(o.err, workqueue.ErrUnroutable) && p.destinyOf(x, workqueue.ReasonRejected).stays:
	case lost(o.err, workqueue.ErrUnknownExchange) && p.destinyOf(x, workqueue.ReasonRejected).stays:
	case lost(o.err, workqueue.ErrQueueFull) && p.destinyOf(x, workqueue.ReasonRejected).stays:
	default:
		c.expects(o, what)
	}
}

// again settles a delivery once more, which is refused.
func (p *workqueuePart) again(c *client, d *wdelivery, what string, f func(ctx context.Context) error) {
	if c.hash(d.x.m.name)%8 != 0 || c.born != c.life || c.fault != "" {
		return
	}
	o := c.call(f)
	if o.done() {
		c.fail("%s %s of %s: accepted twice", what, d.x.m.name, d.x.q.name)
	}
	if !lostForGood(o.err) {
		c.expects(o, what+" twice")
	}
}

func (p *workqueuePart) ack(c *client, d *wdelivery, a args) {
	call := d.d.Ack
	if a.has("upto") {
		call = d.d.AckUpTo
	}
	p.settleOne(c, d, "ack", a.has("upto"), call, true, p.acked)
}

func (p *workqueuePart) acked(*wdelivery) *effect {
	return &effect{
		done: func(_ outcome, x *wcopy) { x.fate, x.holder = gone, nil },
		undo: func(x *wcopy) { x.mayBeHere = true },
	}
}

func (p *workqueuePart) nack(c *client, d *wdelivery, a args) {
	call := func(ctx context.Context) error { return d.d.Nack(ctx, true) }
	if a.has("upto") {
		call = func(ctx context.Context) error { return d.d.NackUpTo(ctx, true) }
	}
	p.settleOne(c, d, "nack", a.has("upto"), call, false, p.nacked)
}

func (p *workqueuePart) nacked(d *wdelivery) *effect {
	return &effect{done: func(o outcome, x *wcopy) {
		if x.holder != d {
			x.astray = true
			return
		}
		if x.giveBack(span{o.began, p.w.event()}); x.q.config.Retry == nil {
			return
		}
		if x.q.limit() == 0 || x.count.most < x.q.limit() { // else it does not wait any more
			x.toTail(p, o, x.q.config.Retry.Delay(max(1, x.count.most)))
		}
	}, undo: func(x *wcopy) { x.astray, x.due.first = true, time.Time{} }}
}

// toTail notes that a copy goes to the end of its queue after a pause.
func (x *wcopy) toTail(p *workqueuePart, o outcome, pause time.Duration) {
	x.batch, x.front = 0, span{}
	x.place = span{o.began, p.w.event()}
	x.ready = x.place
	if pause > 0 {
		x.delayed, x.due = true, dueAt(o.from, o.to, pause)
		x.place.ended, x.ready.ended = 0, 0
	}
}

func (p *workqueuePart) reject(c *client, d *wdelivery, a args) {
	call := d.d.Reject
	if a.has("upto") {
		call = func(ctx context.Context) error { return d.d.NackUpTo(ctx, false) }
	}
	p.settleOne(c, d, "reject", a.has("upto"), call, false, p.rejected)
}

// rejected is the effect of a rejection. Whoever sees the dead letter before the call has ended
// finds that it may be there.
func (p *workqueuePart) rejected(d *wdelivery) *effect {
	return &effect{dies: true, done: func(o outcome, x *wcopy) {
		p.die(x, workqueue.ReasonRejected, o.began, moment{o.from, o.to}, nil)
		if x.fate == unknown { // the call has told that it is gone
			x.fate = gone
			for _, y := range x.letters {
				if dest := p.destinyOf(x, workqueue.ReasonRejected); !dest.drops && y.choice == nil && len(x.letters) == 1 {
					y.fate = here
				}
			}
		}
	}}
}

func (p *workqueuePart) release(c *client, d *wdelivery, a args) {
	delay := a.span("after")
	p.settleOne(c, d, "release", false, func(ctx context.Context) error { return d.d.Release(ctx, delay) }, false, p.released(delay))
}

func (p *workqueuePart) released(delay time.Duration) func(d *wdelivery) *effect {
	return func(d *wdelivery) *effect {
		return &effect{free: true, done: func(o outcome, x *wcopy) {
			if x.holder != d { // another one has had it since, from where this has put it
				x.astray = true
				return
			}
			x.giveBack(span{o.began, p.w.event()})
			x.count.most = max(0, x.count.most-1) // the least is as at the beginning of the call
			if delay > 0 {
				x.toTail(p, o, delay)
			}
		}, undo: func(x *wcopy) {
			x.count.most++
			x.astray, x.due.first = true, time.Time{}
		}}
	}
}

func (p *workqueuePart) requeue(c *client, d *wdelivery, a args) {
	to := workqueue.Requeue{Head: a.has("front"), Delay: a.span("after")}
	p.settleOne(c, d, "requeue", false, func(ctx context.Context) error { return d.d.Requeue(ctx, to) }, false, p.requeued(to))
}

func (p *workqueuePart) requeued(to workqueue.Requeue) func(d *wdelivery) *effect {
	return func(d *wdelivery) *effect {
		return &effect{done: func(o outcome, x *wcopy) {
			if x.holder != d { // another one has had it since, from where this has put it
				x.astray = true
				return
			}
			if x.giveBack(span{o.began, p.w.event()}); to.Head {
				x.front = span{o.began, p.w.event()}
				return
			}
			x.toTail(p, o, to.Delay)
		}, undo: func(x *wcopy) { x.astray, x.due.first = true, time.Time{} }}
	}
}

func (p *workqueuePart) extend(c *client, d *wdelivery, _ args) {
	end := d.x.q.use()
	o := c.call(d.d.Extend)
	p.judgeSettle(c, o, d, "extend", end(o))
	if o.other || lostForGood(o.err) {
		return
	}
	if d.x.q.held = append(d.x.q.held, d); o.done() {
		d.begin(p, o)
	}
}
