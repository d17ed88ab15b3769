package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func (p *workqueuePart) drawTransact() args {
	w := p.w
	to, a := p.drawPublish(), p.drawQueue()
	if to == nil || a == nil {
		return nil
	}
	a["exchange"], a["key"], a["n"] = to["exchange"], to["key"], fmt.Sprint(w.rng.IntN(4))
	for _, what := range []string{"acks", "nacks", "rejects"} {
		a[what] = fmt.Sprint(w.rng.IntN(3))
	}
	if w.chance(6) {
		a["failing"] = "yes"
	}
	return a
}

// wtransaction is several things that happen in one change, or do not.
type wtransaction struct {
	key   []byte    // that is written with it
	acked []*effect // deliveries that it acknowledges
	other []*effect // that it gives back or rejects
	s     *sending  // nil if it publishes nothing
	sync  bool

	doubtful []*wcopy // that were published, and may be gone
	returned []*wcopy // that were acknowledged, and may be back
}

// errFailing ends a transaction without a change.
var errFailing = errors.New("the transaction fails")

func (p *workqueuePart) transact(c *client, a args) {
	q := p.usable(a["queue"])
	exchange, ok := p.exchangeOf(a["exchange"])
	if q == nil || !ok || p.broker == nil || exchange == "" && p.queueNamed(a["key"]) == nil {
		return
	}
	q.refresh(p)
	p.sent++
	t := &wtransaction{key: fmt.Appendf(nil, "tx/%d", p.sent), sync: c.syncs(true)}
	var calls []func(workqueue.BrokerTx, *pebblemq.Tx) error
	calls = append(calls, t.settles(p, q, a)...)
	ends := func(outcome) bool { return true }
	if n := a.int("n"); n > 0 {
		t.s = p.prepare(c, exchange, args{"key": a["key"]}, n)
		ends = t.s.use()
		for _, m := range t.s.messages {
			calls = append(calls, func(b workqueue.BrokerTx, _ *pebblemq.Tx) error { return b.Publish(exchange, m.key, m.message) })
		}
	}
	end := q.use()
	o := callWith(c, p.broker, func(ctx context.Context, broker *workqueue.Broker) error {
		return t.update(ctx, c.db, broker, calls, a.has("failing"))
	})
	quiet := end(o)
	quiet = ends(o) && quiet
	c.tellCall("transaction %s: %v", t.key, o.err)
	if failed := errors.Is(o.err, errFailing) || errors.Is(o.err, workqueue.ErrUnknownJob); !failed || !a.has("failing") {
		t.judge(p, c, o, quiet)
	}
	t.conclude(p, c, o, quiet)
}

// settles picks the deliveries that the transaction is about.
func (t *wtransaction) settles(p *workqueuePart, q *wqueue, a args) (calls []func(workqueue.BrokerTx, *pebblemq.Tx) error) {
	pick := func(n int, make func(*wdelivery) *effect, removes bool, call func(b workqueue.BrokerTx, tx *pebblemq.Tx, d *wdelivery) error) (list []*effect) {
		for ; n > 0 && len(q.held) > 0; n-- {
			d := q.pick(0)
			e := make(d)
			e.d = d
			e.begin(removes)
			list = append(list, e)
			calls = append(calls, func(b workqueue.BrokerTx, tx *pebblemq.Tx) error { return call(b, tx, d) })
		}
		return list
	}
	t.acked = pick(a.int("acks"), p.acked, true, p.ackOnce)
	t.other = pick(a.int("nacks"), p.nacked, false, func(b workqueue.BrokerTx, _ *pebblemq.Tx, d *wdelivery) error { return b.Nack(d.d, true) })
	t.other = append(t.other, pick(a.int("rejects"), p.rejected, false, func(b workqueue.BrokerTx, _ *pebblemq.Tx, d *wdelivery) error {
		return b.Nack(d.d, false)
	})...)
	return calls
}

// ackOnce acknowledges a delivery and writes that down, as an effect that must not happen twice.
func (p *workqueuePart) ackOnce(b workqueue.BrokerTx, tx *pebblemq.Tx, d *wdelivery) error {
	key := fmt.Appendf(nil, "done/%s/%s/%d/%v", d.x.m.name, d.x.q.name, d.x.number, d.x.deaths)
	switch was, err := tx.Get(key); {
	case err != nil:
		return err
	case was != nil:
		return errTwice
	}
	if err := tx.Set(key, []byte("done")); err != nil {
		return err
	}
	return b.Ack(d.d)
}

// errTwice is an effect that has happened already.
var errTwice = errors.New("the message was acknowledged in another transaction")

func (t *wtransaction) update(ctx context.Context, db *pebblemq.DB, broker *workqueue.Broker, calls []func(workqueue.BrokerTx, *pebblemq.Tx) error, failing bool) error {
	return db.Update(ctx, func(tx *pebblemq.Tx) error {
		for _, call := range calls {
			if err := call(broker.In(tx), tx); err != nil {
				return err
			}
		}
		switch {
		case failing && len(t.key)%2 == 0: // when all operations before it have been run
			return broker.In(tx).DeleteJob(nobody)
		case failing:
			return errFailing
		}
		return tx.Set(t.key, []byte("done"))
	})
}

// judge complains about an outcome that is not possible.
func (t *wtransaction) judge(p *workqueuePart, c *client, o outcome, quiet bool) {
	lostDelivery := errors.Is(o.err, workqueue.ErrDeliveryLost) || errors.Is(o.err, workqueue.ErrQueueDeleted) || errors.Is(o.err, errTwice)
	if t.s != nil && !lostDelivery && !errors.Is(o.err, workqueue.ErrSettled) {
		for _, e := range t.other {
			if e.dies && p.destinyOf(e.d.x, workqueue.ReasonRejected).stays {
				return
			}
		}
		t.s.judge(c, o, quiet)
		return
	}
	for _, e := range append(t.acked[:len(t.acked):len(t.acked)], t.other...) {
		d := e.d
		possible := d.over.maybe(o.to) || d.k != nil && d.k.closed || d.x.q.fate != here
		possible = possible || e.dies && p.destinyOf(d.x, workqueue.ReasonRejected).stays
		possible = possible || !quiet && errors.Is(o.err, workqueue.ErrSettled)
		if possible {
			return
		}
	}
	c.expects(o, "transaction "+string(t.key))
}

// conclude notes what has become of all that it was about.
func (t *wtransaction) conclude(p *workqueuePart, c *client, o outcome, quiet bool) {
	withSync := *c
	if withSync.sync = pebblemq.NoSync; t.sync {
		withSync.sync = pebblemq.Sync
	}
	for _, e := range append(t.acked[:len(t.acked):len(t.acked)], t.other...) {
		if e.finish(p, &withSync, o); o.refused() && !o.other && !e.d.swept {
			if e.d.unsure = false; e.d.x.holder == e.d {
				e.d.x.q.held = append(e.d.x.q.held, e.d)
			}
		}
	}
	if t.s != nil {
		t.s.conclude(c, o, quiet)
	}
	switch {
	case o.done() && t.sync:
		p.w.synced(o.began)
	case o.done():
		p.w.lose(func() { t.doubt(p) })
	case !o.refused():
		t.unclear(p)
	}
}

// doubt notes that a crash may have taken the transaction back: as a whole, which its key tells.
func (t *wtransaction) doubt(p *workqueuePart) {
	if t.s != nil {
		for _, m := range t.s.messages {
			for _, x := range m.copies {
				if x.coupled = false; x.fate == here && x.born == nil {
					x.mayBeGone = true
					t.doubtful = append(t.doubtful, x)
				}
			}
		}
	}
	for _, e := range t.acked {
		if x := e.d.x; x.fate == gone {
			x.mayBeHere = true
			t.returned = append(t.returned, x)
		}
	}
	p.doubts = append(p.doubts, t)
}

// unclear is doubt about a transaction whose outcome nobody knows.
func (t *wtransaction) unclear(p *workqueuePart) {
	if t.s != nil {
		for _, m := range t.s.messages {
			for _, x := range m.copies {
				if x.fate == unknown && x.sure && x.born == nil && !x.touched {
					t.doubtful = append(t.doubtful, x)
				}
			}
		}
	}
	for _, e := range t.acked {
		if x := e.d.x; x.holder == e.d {
			t.returned = append(t.returned, x)
		}
	}
	p.doubts = append(p.doubts, t)
}

// resolve finds out which transactions have happened.
func (p *workqueuePart) resolve(c *client) {
	if c.disk.wasFull(wall()) { // what can be read is not durable then
		return
	}
	doubts := p.doubts
	p.doubts = nil
	for _, t := range doubts {
		var value []byte
		o := c.call(func(ctx context.Context) error {
			return c.db.View(ctx, func(tx *pebblemq.Tx) (err error) {
				value, err = tx.Get(t.key)
				return err
			})
		})
		if c.expects(o, "view"); !o.done() {
			p.doubts = append(p.doubts, t)
			continue
		}
		t.resolve(p, value != nil)
	}
}

// resolve notes that a transaction has happened as a whole, or not at all.
func (t *wtransaction) resolve(p *workqueuePart, happened bool) {
	for _, x := range t.doubtful {
		switch {
		case !happened:
			x.fate = gone
		case x.fate == unknown && !x.touched:
			x.mayBeGone = false
		}
	}
	for _, x := range t.returned {
		switch {
		case happened:
			x.fate = gone
		case x.fate == unknown && !x.undone:
			x.mayBeGone = false
		}
	}
	if happened && !t.sync {
		t.doubtful, t.returned = nil, nil
		p.w.lose(func() { t.doubt(p) })
	}
}
