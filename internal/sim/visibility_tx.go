package main

import (
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func (p *visibilityPart) drawTransfer() args {
	a := p.drawQueue()
	if a == nil {
		return nil
	}
	a["source"] = p.drawQueue()["queue"]
	a["n"] = fmt.Sprint(p.w.upTo(4))
	a["amount"] = fmt.Sprint(p.w.upTo(100))
	a["from"], a["to"] = fmt.Sprint(p.w.rng.IntN(bankAccounts)), fmt.Sprint(p.w.rng.IntN(bankAccounts))
	if p.named(a["queue"]).config.FIFO {
		a["group"] = oneOf(p.w, "a", "a", "b")
	}
	if p.w.chance(8) {
		a["refused"] = "yes"
	}
	return a
}

// joint is what a transaction does with queues: it deletes a message and sends others. It happens
// as a whole or not at all, and beside it money moves.
type joint struct {
	q, source *vqueue
	sent      []*vmessage
	deleted   *handover
	resolved  bool
}

func (p *visibilityPart) transfer(c *client, a args) {
	d := &joint{q: p.named(a["queue"]), source: p.named(a["source"])}
	if d.q == nil || !d.q.takes(a) {
		return
	}
	p.batch++
	var batch []visibility.Message
	for n := range a.int("n") {
		m, message := p.newMessage(c, d.q, a)
		m.place = n
		d.sent, batch = append(d.sent, m), append(batch, message)
	}
	var receipt visibility.Receipt
	if d.source != nil && len(d.source.held) > 0 {
		h := c.beginDelete(d.source.held[0])
		d.source.held = d.source.held[1:]
		d.deleted, receipt = &h, h.receipt
	}
	ends := []func() bool{d.q.use()}
	if d.deleted != nil && d.source != d.q {
		ends = append(ends, d.source.use())
	}
	if a.has("refused") {
		a["fail"] = "yes" // as the bank has it
	}
	queue, source := d.q.q, (*visibility.Queue)(nil)
	if d.source != nil {
		source = d.source.q
	}
	o := p.bank.transfer(c, a, func(tx *pebblemq.Tx) error {
		for _, m := range batch {
			if _, err := queue.In(tx).Send(m); err != nil {
				return err
			}
		}
		if d.deleted != nil {
			return source.In(tx).Delete(receipt)
		}
		return nil
	}, func(happened bool) { p.resolve(d, happened) })
	quiet := true
	for _, end := range ends {
		quiet = end() && quiet
	}
	p.dealt(c, d, o, a, quiet)
}

// dealt notes how a transaction has ended.
func (p *visibilityPart) dealt(c *client, d *joint, o outcome, a args, quiet bool) {
	if a.has("refused") && lost(o.err, errRefused) {
		o.err = errRefused
	} else if d.deleted == nil || !lost(o.err, pebblemq.ErrLost) && !lost(o.err, visibility.ErrInvalidReceipt) {
		c.expects(o, "a transaction with "+d.q.name, d.q.deleted(), d.source.deleted())
	}
	for _, m := range d.sent {
		if m.sent.last = o.to; o.done() {
			m.ended = c.event()
		}
		m.due = m.dueAt(0)
	}
	if d.deleted == nil {
		return
	}
	if a.has("refused") && lost(o.err, errRefused) { // the receipt was not looked at
		d.restore(c, quiet)
		return
	}
	m := d.deleted.m
	if lost(o.err, visibility.ErrNotInFlight) && (m.mayLeave(o.to) || m.unsure || d.deleted.was.mayBeGone) {
		m.changed = c.event() // a message that is gone refuses it
		return
	}
	if o.err == nil || !lost(o.err, pebblemq.ErrLost) {
		d.restore(c, quiet && o.refused())
		m.changed = c.event()
		return
	}
	c.endDelete(d.source, *d.deleted, o, quiet, true)
}

// restore notes that a message was not deleted.
func (d *joint) restore(c *client, quiet bool) {
	m := d.deleted.m
	if quiet && m.changed == d.deleted.mine {
		m.fate = d.deleted.was.fate
	}
	m.changed = c.event()
}

// resolve notes whether a transaction has happened. That may be taken back by a crash, once.
func (p *visibilityPart) resolve(d *joint, happened bool) {
	first := !d.resolved
	d.resolved = true
	if happened && first {
		p.w.lose(func() { d.blur() })
	}
	for _, m := range d.sent {
		switch {
		case !happened && !first && m.fate == here && m.wentAt == 0:
			p.w.fail("%s is in %s, and its transaction is not in the ledger", m.id, m.home.name)
		case !happened:
			m.fate, m.wentAt = gone, p.w.event()
		case !m.touched && m.fate == unknown:
			m.fate = here
		}
	}
	if d.deleted == nil {
		return
	}
	m := d.deleted.m
	switch {
	case happened && m.fate == here && !m.died && first && m.changed == d.deleted.mine:
		p.w.fail("%s is in %s, and the transaction that deletes it is in the ledger", m.id, m.home.name)
	case happened && len(m.others) == 0:
		m.fate, m.wentAt = gone, p.w.event()
	}
}

// blur notes that a crash may have taken a transaction back.
func (d *joint) blur() {
	for _, m := range d.sent {
		m.mayBeGone = true
	}
	if d.deleted != nil {
		d.deleted.m.mayBeHere = true
	}
}
