package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func (p *visibilityPart) drawSettle(more func(args)) func() args {
	return func() args {
		a := p.drawQueue()
		if a == nil || len(p.named(a["queue"]).held) == 0 {
			return nil
		}
		a["n"] = fmt.Sprint(p.w.upTo(len(p.named(a["queue"]).held)))
		if more != nil {
			more(a)
		}
		return a
	}
}

func (p *visibilityPart) drawAfter(a args) {
	if p.w.chance(2) {
		a["after"] = oneOf(p.w, "1ms", "1s", "1m")
	}
}

func (p *visibilityPart) drawBatch(a args) {
	for _, clause := range []string{"twice", "atomic"} {
		if p.w.chance(4) {
			a[clause] = "yes"
		}
	}
}

func (p *visibilityPart) drawHiddenBatch(a args) {
	if p.drawHidden(a); p.w.chance(4) {
		a["atomic"] = "yes"
	}
}

func (p *visibilityPart) drawHidden(a args) { a["hidden"] = oneOf(p.w, "0s", "1s", "1m", "1h") }

// each does something with the first receipts that are held.
func (p *visibilityPart) each(do func(c *client, q *vqueue, r vreceipt, a args)) func(*client, args) {
	return func(c *client, a args) {
		q := p.named(a["queue"])
		for n := a.int("n"); q != nil && n > 0 && len(q.held) > 0 && c.fault == ""; n-- {
			r := q.held[0]
			q.held = q.held[1:]
			do(c, q, r, a)
		}
	}
}

// superseded reports that a newer receipt of a message is known.
func (r vreceipt) superseded() bool { return r.m.receipt != r.receipt }

// handover is the use of a receipt in a call, and what was known of its message before.
type handover struct {
	vreceipt
	was  vmessage
	mine uint64 // the clock, when the use began
}

// begin notes that a receipt is about to be used.
func (c *client) begin(r vreceipt) handover {
	h := handover{vreceipt: r, was: *r.m, mine: c.event()}
	r.m.changed = h.mine
	return h
}

// end compares how a call with a receipt ended with what is known of its message. It reports
// whether the call has done what it says, and whether nobody else used the message meanwhile.
func (c *client) end(q *vqueue, h handover, what string, o outcome, quiet bool) (ok, alone bool) {
	m := h.m
	alone = quiet && m.changed == h.mine
	m.changed = c.event()
	c.tellCall("%s: %s %s, error %v", q.name, what, m.id, o.err)
	switch {
	case o.done() && h.superseded() && !m.unsure && m.fate == here && alone:
		c.fail("%s %s of %s with a receipt that is stale", what, m.id, q.name)
	case o.done():
		return m.home == q, alone
	case lost(o.err, pebblemq.ErrLost) && (!alone || m.home != q || len(m.others) > 0): // it has died since, or others had it
	case lost(o.err, visibility.ErrStaleReceipt) && (h.superseded() || m.unsure):
	case lost(o.err, visibility.ErrNotInFlight) && (m.free.maybe(o.to) || h.was.mayBeGone || m.unsure || h.superseded()):
	case lost(o.err, visibility.ErrExpired) && m.expires().maybe(o.to):
		if !m.mayDie(o.to) && alone && !m.home.config.DeadLetterExpired && !h.superseded() && !m.died {
			m.fate = gone
		}
	case lost(o.err, visibility.ErrInvalidReceipt) && h.life != c.life && m.unsure: // its message was lost
	default:
		c.expects(o, fmt.Sprintf("%s %s of %s", what, m.id, q.name), q.deleted())
	}
	return false, alone
}

func (p *visibilityPart) delete(c *client, q *vqueue, r vreceipt, _ args) {
	h := c.beginDelete(r)
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) error { return queue.Delete(ctx, r.receipt) })
	if c.endDelete(q, h, o, end(), false) {
		p.w.durable(c, o, false)
	}
}

func (c *client) beginDelete(r vreceipt) handover {
	h := c.begin(r)
	r.m.mayBeGone, r.m.touched = true, true
	return h
}

// endDelete notes what became of a message that was to be deleted, and reports that it surely was:
// else there is nothing to sync. By default says whether that is durable unless the client says
// something else.
func (c *client) endDelete(q *vqueue, h handover, o outcome, quiet, byDefault bool) (deleted bool) {
	m, was := h.m, h.was.fate
	ok, alone := c.end(q, h, "delete", o, quiet)
	switch {
	case m.home != q: // the receipt says nothing of what it is now
		return false
	case !ok && o.refused():
		if alone {
			m.fate = fate{mayBeHere: was.mayBeHere && m.mayBeHere, mayBeGone: was.mayBeGone || !m.mayBeHere}
		}
		return false
	case !ok || m.mayLeave(o.to): // it is a dead letter now, or it is not
		return false
	case !quiet && q.dead != nil: // the same: a receive under way may have been the last
		return false
	case h.superseded(): // it is of a place that the message has left, or the newer one was lost
		return false
	case q.config.FIFO && m.free.surely(o.from) && was == here && !m.unsure && alone:
		c.fail("delete %s of %s: the timeout has ended", m.id, q.name)
	}
	m.fate, m.wentAt = gone, c.event()
	if !c.syncs(byDefault) {
		c.lose(func() { m.mayBeHere = true })
	}
	return was == here && alone
}

// batched uses the first receipts that are held in one call, each once.
func (p *visibilityPart) batched(do func(c *client, q *vqueue, list []vreceipt, a args)) func(*client, args) {
	return func(c *client, a args) {
		q := p.named(a["queue"])
		if q == nil || len(q.held) == 0 {
			return
		}
		n := min(a.int("n"), len(q.held), visibility.MaxBatchEntries)
		var list []vreceipt
		seen := make(map[*vmessage]bool)
		for _, r := range q.held[:n] {
			if !seen[r.m] {
				list = append(list, r)
			}
			seen[r.m] = true
		}
		q.held = q.held[n:]
		do(c, q, list, a)
	}
}

// each outcome of a batch is that of the call, or that of an entry.
func (o outcome) entry(errs []error, n int) outcome {
	if o.err == nil && n < len(errs) {
		o.err = errs[n]
	}
	return o
}

func (p *visibilityPart) deleteBatch(c *client, q *vqueue, list []vreceipt, a args) {
	var uses []handover
	var receipts []visibility.Receipt
	for _, r := range list {
		uses, receipts = append(uses, c.beginDelete(r)), append(receipts, r.receipt)
	}
	if a.has("twice") {
		receipts = append(receipts, receipts...)
	}
	var errs []error
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		errs, err = queue.DeleteBatch(ctx, receipts, &visibility.BatchOptions{Atomic: a.has("atomic")})
		return err
	})
	quiet := end()
	if o.done() && len(errs) != len(receipts) {
		c.fail("DeleteBatch of %d receipts has %d results", len(receipts), len(errs))
		return
	}
	if p.refusedWhole(c, uses, o, quiet, a) {
		return
	}
	deleted := false
	for n, h := range uses {
		if a.has("twice") && o.done() && (errs[n] == nil) != (errs[n+len(uses)] == nil) {
			c.fail("DeleteBatch has two results for the receipt of %s: %v and %v", h.m.id, errs[n], errs[n+len(uses)])
		}
		deleted = c.endDelete(q, h, o.entry(errs, n), quiet, false) || deleted
	}
	if deleted {
		p.w.durable(c, o, false)
	}
}

// refusedWhole reports that an atomic batch was refused because of one of its entries. The error
// does not say what would have become of the others.
func (p *visibilityPart) refusedWhole(c *client, uses []handover, o outcome, quiet bool, a args) bool {
	if !a.has("atomic") || !lost(o.err, pebblemq.ErrLost) && !lost(o.err, visibility.ErrInvalidReceipt) {
		return false
	}
	for _, h := range uses {
		if quiet && h.m.changed == h.mine {
			h.m.fate, h.m.free, h.m.receives = h.was.fate, h.was.free, h.was.receives
		}
		h.m.changed = c.event()
	}
	return true
}

func (p *visibilityPart) hideBatch(c *client, q *vqueue, list []vreceipt, a args) {
	d := a.span("hidden")
	var uses []handover
	var changes []visibility.VisibilityChange
	for _, r := range list {
		uses = append(uses, c.beginShift(r, d, 0))
		changes = append(changes, visibility.VisibilityChange{Receipt: r.receipt, VisibilityTimeout: d})
	}
	var errs []error
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		errs, err = queue.ChangeVisibilityBatch(ctx, changes, &visibility.BatchOptions{Atomic: a.has("atomic")})
		return err
	})
	quiet := end()
	if p.refusedWhole(c, uses, o, quiet, a) {
		return
	}
	hidden := false
	for n, h := range uses {
		if c.endShift(q, h, "hide", d, 0, o.entry(errs, n), quiet) {
			hidden = true
			q.held = append(q.held, h.vreceipt)
		}
	}
	if hidden {
		p.w.durable(c, o, false)
	}
}

func (p *visibilityPart) release(c *client, q *vqueue, r vreceipt, a args) {
	delay := a.span("after")
	p.shift(c, q, r, "release", delay, 1, func(ctx context.Context) error { return q.q.Release(ctx, r.receipt, delay) })
}

func (p *visibilityPart) hide(c *client, q *vqueue, r vreceipt, a args) {
	d := a.span("hidden")
	if p.shift(c, q, r, "hide", d, 0, func(ctx context.Context) error { return q.q.ChangeVisibility(ctx, r.receipt, d) }) {
		q.held = append(q.held, r)
	}
}

// shift makes a call after which the message of a receipt is visible in d, and as many of its
// receives are not counted.
func (p *visibilityPart) shift(c *client, q *vqueue, r vreceipt, what string, d time.Duration, uncounted int, f func(ctx context.Context) error) bool {
	h := c.beginShift(r, d, uncounted)
	end := q.use()
	o := c.call(f)
	ok := c.endShift(q, h, what, d, uncounted, o, end())
	p.w.durable(c, o, false)
	return ok
}

// beginShift notes that others may see a message before the call returns that lets them.
func (c *client) beginShift(r vreceipt, d time.Duration, uncounted int) handover {
	h := c.begin(r)
	r.m.free.first = earlier(h.was.free.first, wall().Add(d))
	r.m.receives.least -= uncounted
	return h
}

func (c *client) endShift(q *vqueue, h handover, what string, d time.Duration, uncounted int, o outcome, quiet bool) bool {
	m, was := h.m, h.was
	ok, alone := c.end(q, h, what, o, quiet)
	switch {
	case m.home != q:
		return false
	case o.unclear(), !alone && !o.refused():
		m.blur(o.to.Add(d))
		return ok
	case !alone: // it had no effect, and others may have had one
		return false
	case !ok:
		m.free.first, m.receives.least = was.free.first, was.receives.least
		return false
	}
	m.receives = counted{max(0, was.receives.least-uncounted), max(0, was.receives.most-uncounted)}
	m.free = moment{o.from.Add(d), o.to.Add(d)}
	if m.receipt = h.receipt; uncounted > 0 {
		m.receipt = ""
	}
	c.lose(func() {
		m.receives.most += uncounted
		m.free = moment{time.Time{}, later(m.free.last, was.free.last)}
		m.unsure = true
	})
	return true
}

func (p *visibilityPart) purge(c *client, a args) {
	q := p.named(a["queue"])
	if q == nil {
		return
	}
	for _, source := range p.queues {
		for _, m := range source.messages {
			if m.mayBeIn(q, someday) {
				m.mayBeGone, m.touched = true, true
			}
		}
	}
	began := wall()
	end := q.use()
	q.purging++
	n := 0
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		n, err = queue.Purge(ctx)
		return err
	})
	q.purging--
	quiet := end()
	for _, m := range q.messages { // what came, or came back, while it waited for the disk
		if (o.err == nil || o.unclear()) && m.mayBeHere {
			m.mayBeGone, m.touched = true, true
		}
	}
	c.tellCall("purge: %v", o.err)
	c.expects(o, "purge "+q.name, q.deleted())
	for _, m := range q.messages {
		inFlight := !m.free.surely(began.Add(-1)) // and stays, also if its time ends at this moment
		if o.done() && quiet && !inFlight && m.ended != 0 && m.ended < o.began && m.changed < o.began && !m.mayLeave(began) && !m.mayLeave(o.to) {
			m.fate, m.wentAt = gone, c.event()
			c.lose(func() { m.mayBeHere = true })
		}
	}
	if o.err == nil || o.unclear() { // no message is a duplicate of one that was sent before
		for _, m := range q.deduped {
			m.purged = true
		}
	}
	if n > 0 {
		p.w.durable(c, o, false)
	}
}

func (p *visibilityPart) cancel(c *client, a args) {
	q := p.named(a["queue"])
	if q == nil {
		return
	}
	for _, m := range q.messages {
		if !m.delayed || !m.mayBeHere || m.home != q || m.due.maybe(wall()) {
			continue
		}
		was := m.fate
		m.mayBeGone, m.touched = true, true
		end := q.use()
		o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) error { return queue.Cancel(ctx, m.id) })
		quiet := end()
		switch {
		case lost(o.err, visibility.ErrUnknownMessage) && (m.due.maybe(o.to) || was != here || !quiet || m.mayLeave(o.to)):
		case o.done():
			m.fate = gone
			p.w.durable(c, o, true)
			if !c.syncs(true) {
				c.lose(func() { m.mayBeHere = true })
			}
		default:
			if c.expects(o, "cancel "+m.id, q.deleted()); o.refused() {
				m.fate = was
			}
		}
		return
	}
}
