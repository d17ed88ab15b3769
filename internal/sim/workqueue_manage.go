package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/workqueue"
)

func (p *workqueuePart) cancelConsumer(c *client, a args) {
	if k := p.consumer(a); k != nil {
		p.endConsumer(c, k, k.c.Cancel)
	}
}

func (p *workqueuePart) closeConsumer(c *client, a args) {
	k := p.consumer(a)
	if k == nil {
		return
	}
	k.closed = true
	delete(p.consumers, k.name)
	if p.endConsumer(c, k, k.c.Close) {
		p.giveAllBack(k)
	}
}

// giveAllBack notes that what a consumer had is back in its queue.
func (p *workqueuePart) giveAllBack(k *wconsumer) {
	now := span{p.w.event(), p.w.event()}
	for _, x := range k.q.copies {
		if x.holder == nil || x.holder.k != k {
			continue
		}
		unsure := x.holder.unsure
		if x.giveBack(now); unsure {
			x.blur()
		}
	}
	k.q.held = slices.DeleteFunc(k.q.held, func(d *wdelivery) bool { return d.k == k })
	k.q.drop(k)
}

// endConsumer makes a call after which a consumer gets nothing more. What it had and nobody has
// seen goes back.
func (p *workqueuePart) endConsumer(c *client, k *wconsumer, f func() error) bool {
	k.ended = true
	began := c.event()
	end := k.q.use()
	o := c.call(func(context.Context) error { return f() })
	end(o)
	c.expects(o, "end "+k.name)
	if o.other {
		return false
	}
	k.drain(c, began)
	return o.done()
}

// drain notes that what a consumer had and nobody has seen is back since some event.
func (k *wconsumer) drain(c *client, began uint64) {
	k.drained = true
	for _, x := range k.q.copies {
		if x.holder != nil && !x.holder.unsure || !x.mayBeHere {
			continue
		}
		if x.holder != nil { // it may have been given back to this consumer, which its call tells later
			continue
		}
		x.maybe, x.returned = true, true
		x.astray = x.astray || x.front.begun != 0
		x.ready.begun = max(x.ready.begun, began)
		if x.ready.ended != 0 {
			x.ready.ended = c.event()
		}
	}
	k.q.squeeze()
}

func (p *workqueuePart) purge(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil {
		return
	}
	q.refresh(p)
	now := wall()
	least, most := 0, 0
	was := make(map[*wcopy]fate)
	for _, x := range q.copies {
		if !x.mayBeHere {
			continue
		}
		if x.surelyReady(now) {
			least++
		}
		most++
		was[x] = x.fate
		x.mayPurge()
	}
	most += p.arrivals(q, now)
	p.clear(q, now)
	least -= q.spare(nil)
	end := q.use()
	q.purging++
	copies := len(q.copies)
	var n int
	o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) (err error) {
		n, err = queue.Purge(ctx)
		return err
	})
	q.purging--
	most += len(q.copies) - copies // which came meanwhile
	quiet := end(o)
	c.expects(o, "purge "+q.name, workqueue.ErrQueueDeleted)
	if o.done() && quiet && (n < least || n > most) {
		c.fail("%d messages of %s purged, not %d to %d", n, q.name, least, most)
	}
	for _, x := range q.copies { // what came, or came back, while it waited for the disk
		if !o.refused() && x.mayBeHere && (x.holder == nil || !x.holder.surelyHeld(wall())) {
			x.mayPurge()
		}
	}
	for x, f := range was {
		switch {
		case o.refused():
			x.mayBeGone = f.mayBeGone
		case o.done() && quiet && x.holder != nil && x.holder.surelyHeld(now):
			x.mayBeGone = f.mayBeGone
		case o.done() && quiet && f == here && x.surelyReadyBut(now) && q.spare(nil) == 0:
			x.fate = gone
			c.lose(func() { x.mayBeHere = true })
		}
	}
	if o.done() && n > 0 {
		p.w.durable(c, o, false)
	}
}

// mayPurge notes that a copy may be purged. Then it is neither here nor where it died.
func (x *wcopy) mayPurge() {
	x.mayBeGone, x.touched = true, true
	for b := x; b != nil; b = b.born {
		b.coupled = false
	}
}

// clear notes that dead letters that nobody has seen yet may be removed from a queue.
func (p *workqueuePart) clear(q *wqueue, now time.Time) {
	for _, other := range p.queues {
		for _, x := range other.copies {
			if x.mayBeHere && (x.mayDie(now) && (q.fed || q.implicit) || x.moved[q]) {
				x.mayBeGone = true
			}
		}
	}
}

// surelyReadyBut is surelyReady for a copy that may be gone.
func (x *wcopy) surelyReadyBut(now time.Time) bool {
	y := *x
	y.fate = here
	return y.surelyReady(now)
}

func (p *workqueuePart) drawDelete() args {
	a := p.drawQueueThat(func(q *wqueue) bool { return !q.implicit })
	if a == nil || p.w.chance(2) {
		return nil
	}
	if p.w.chance(2) {
		a["empty"] = "yes"
	}
	if p.w.chance(2) {
		a["unused"] = "yes"
	}
	return a
}

func (p *workqueuePart) delete(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil || q.implicit || p.applying > 0 {
		return
	}
	q.refresh(p)
	now := wall()
	surely, maybe := 0, 0
	for _, x := range q.copies {
		if x.fate == here && !x.mayDie(now) && len(x.moved) == 0 {
			surely++
		}
		if x.mayBeHere {
			maybe++
		}
	}
	p.clear(q, now)
	consumers := q.consumers()
	q.mayBeGone = true
	p.changes()
	for _, x := range q.copies {
		x.touched = true
	}
	end := q.use()
	o := callWith(c.surely(), q.q, func(ctx context.Context, queue *workqueue.Queue) error {
		return queue.DeleteIf(ctx, workqueue.DeleteIf{Empty: a.has("empty"), Unused: a.has("unused")})
	})
	quiet := end(o)
	p.changes()
	switch {
	case lost(o.err, workqueue.ErrNotEmpty) && a.has("empty") && (maybe+p.arrivals(q, now) > 0 || !quiet):
	case lost(o.err, workqueue.ErrInUse) && a.has("unused") && (len(q.open) > 0 || !quiet):
	case lost(o.err, workqueue.ErrQueueDeleted) && !quiet:
	default:
		c.expects(o, "delete "+q.name)
	}
	if o.done() && quiet && (a.has("empty") && surely > 0 || a.has("unused") && consumers > 0) {
		c.fail("%s is deleted, although it has %d messages and %d consumers", q.name, surely, consumers)
	}
	if o.refused() || o.other {
		q.mayBeGone = o.other // the next life finds out
		return
	}
	if q.doubtful = !o.done(); o.done() {
		p.w.synced(o.began)
	}
	p.forgetQueue(q)
}

func (p *workqueuePart) drawDeleteExchange() args {
	if len(p.exchanges) == 0 || !p.w.chance(3) {
		return nil
	}
	return args{"exchange": oneOf(p.w, p.exchanges...).name}
}

func (p *workqueuePart) deleteExchange(c *client, a args) {
	x := p.exchangeNamed(a["exchange"])
	if x == nil || p.broker == nil || p.applying > 0 {
		return
	}
	p.changes()
	p.exchanges = slices.DeleteFunc(p.exchanges, func(o *wexchange) bool { return o == x })
	was := p.bindings
	p.bindings = slices.DeleteFunc(slices.Clone(was), func(b *wbinding) bool { return b.exchange == x.name || b.target == x.name })
	o := callWith(c.surely(), p.broker, func(ctx context.Context, broker *workqueue.Broker) error { return broker.DeleteExchange(ctx, x.name) })
	p.changes()
	c.expects(o, "delete "+x.name, workqueue.ErrUnknownExchange)
	if o.done() {
		p.w.synced(o.began)
	}
	if !o.done() && !lost(o.err, workqueue.ErrUnknownExchange) { // whatever leads to it does so perhaps
		x.unsure = x.unsure || !o.refused()
		p.exchanges = append(p.exchanges, x)
		p.bindings = was
		for _, b := range p.bindings {
			if b.exchange == x.name || b.target == x.name {
				b.fate = unknown
			}
		}
	}
}

func (p *workqueuePart) pause(c *client, a args) { p.setPause(c, a, here) }

func (p *workqueuePart) drawResume() args {
	return p.drawQueueThat(func(q *wqueue) bool { return q.paused.mayBeHere })
}

func (p *workqueuePart) resume(c *client, a args) { p.setPause(c, a, gone) }

// setPause pauses or resumes a queue.
func (p *workqueuePart) setPause(c *client, a args, then fate) {
	q := p.usable(a["queue"])
	if q == nil {
		return
	}
	was := q.paused
	q.paused = unknown
	q.pauses++
	mine, alone := q.pauses, q.pausing == 0
	q.pausing++
	end := q.use()
	o := callWith(c.surely(), q.q, func(ctx context.Context, queue *workqueue.Queue) error {
		if then == here {
			return queue.Pause(ctx)
		}
		return queue.Resume(ctx)
	})
	end(o)
	q.pausing--
	c.expects(o, "pause or resume "+q.name, workqueue.ErrQueueDeleted)
	if o.done() && alone && q.pauses == mine {
		if q.paused = then; was != then && was != unknown { // else there may be nothing to write
			p.w.synced(o.began)
		}
	}
}

// recall cancels the first delayed message of a queue.
func (p *workqueuePart) recall(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil {
		return
	}
	now := wall()
	for _, x := range q.copies {
		if !x.delayed || !x.mayBeHere || x.due.maybe(now) || x.holder != nil || x.m.message.MessageID != x.m.name {
			continue
		}
		was := x.fate
		x.mayBeGone, x.touched = true, true
		end := q.use()
		o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) error {
			if p.w.hash("recall "+x.m.name)%2 == 0 {
				return queue.Cancel(ctx, x.m.message.MessageID)
			}
			b, err := queue.Find(ctx, x.m.message.MessageID)
			if err != nil {
				return err
			}
			return queue.CancelAt(ctx, b.Position)
		})
		quiet := end(o)
		switch {
		case lost(o.err, workqueue.ErrUnknownMessage) && (x.due.maybe(o.to) || was != here || !quiet || x.mayDie(o.to) || len(x.m.copies) > 1):
		case o.done():
			if x.fate = gone; !c.syncs(true) {
				c.lose(func() { x.mayBeHere = true })
			}
			p.w.durable(c, o, true)
		default:
			if c.expects(o, "cancel "+x.m.name, workqueue.ErrQueueDeleted); o.refused() {
				x.mayBeGone = was.mayBeGone
			}
		}
		return
	}
}

// find looks for a message that is surely there.
func (p *workqueuePart) find(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil {
		return
	}
	now := wall()
	for _, x := range q.copies {
		if x.fate != here || x.mayDie(now) || len(x.moved) > 0 || x.m.message.MessageID != x.m.name || x.m.ended == 0 {
			continue
		}
		var b *workqueue.Browsed
		end := q.use()
		o := callWith(c, q.q, func(ctx context.Context, queue *workqueue.Queue) (err error) {
			b, err = queue.Find(ctx, x.m.name)
			return err
		})
		quiet := end(o)
		switch {
		case lost(o.err, workqueue.ErrUnknownMessage) && quiet && x.fate == here && !x.mayDie(o.to):
			c.fail("%s does not find %s", q.name, x.m.name)
		case errors.Is(o.err, workqueue.ErrUnknownMessage):
		default:
			c.expects(o, "find "+x.m.name, workqueue.ErrQueueDeleted)
		}
		if o.done() && b.MessageID != x.m.name {
			c.fail("%s finds %s for %s", q.name, b.MessageID, x.m.name)
		}
		return
	}
}
