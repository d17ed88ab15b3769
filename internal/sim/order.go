package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

// ordersPart is messages that are delivered again and again, and whose effect happens once: a number
// in the store for those that are handled in a transaction or accepted, a call for the others.
type ordersPart struct {
	w      *world
	keys   *idempotency.Namespace
	made   bool
	orders map[string]*order
}

// order is what is known of a message.
type order struct {
	id      string
	effect  fate   // of its number in the store
	handled bool   // a handler that is leased has returned without an error, and that is durable
	final   bool   // it was given up for good
	tried   bool   // a handler was to do that
	answer  string // that it was accepted with
	under   int    // calls under way
	calls   int
}

func newOrdersPart(w *world) *ordersPart {
	return &ordersPart{w: w, orders: make(map[string]*order)}
}

func (p *ordersPart) verbs() []*verb {
	return []*verb{
		form("handle order {order} in a transaction which ends with {end}", 5, p.drawOrder("t"), p.transact),
		form("handle order {order} under a lease which ends with {end}", 5, p.drawOrder("l"), p.lease),
		form("accept order {order}", 5, p.drawOrder("a"), p.accept),
		form("count the orders", 3, p.drawCount, p.count),
	}
}

func (p *ordersPart) drawOrder(kind string) func() args {
	return func() args {
		if !p.w.likes("orders") {
			return nil
		}
		return args{"order": kind + fmt.Sprint(p.w.upTo(30)), "end": oneOf(p.w, "result", "result", "result", "error", "final")}
	}
}

func (p *ordersPart) drawCount() args {
	if !p.made {
		return nil
	}
	return args{}
}

// open opens the namespace, durably.
func (p *ordersPart) open(c *client) bool {
	if p.keys != nil {
		return true
	}
	var n *idempotency.Namespace
	o := c.call(func(ctx context.Context) (err error) {
		n, err = idempotency.OpenNamespace(pebblemq.WithDurability(ctx, pebblemq.Sync), c.db, "orders", &idempotency.Config{Expiry: idempotency.MaxExpiry})
		return err
	})
	if c.expects(o, "open the orders"); o.done() {
		p.keys, p.made = n, true
	}
	return o.done()
}

func (p *ordersPart) opened(c *client) {
	if p.keys = nil; p.made {
		p.open(c)
	}
	for _, x := range p.orders {
		x.under = 0
	}
	p.count(c, nil)
}

// begin returns an order, with a function that ends the call and reports whether it was the only one.
func (p *ordersPart) begin(id string) (x *order, end func() (alone bool)) {
	x = p.orders[id]
	if x == nil {
		x = &order{id: id, effect: gone}
		p.orders[id] = x
	}
	life := p.w.life
	x.calls++
	x.under++
	mine, alone := x.calls, x.under == 1
	return x, func() bool {
		if life != p.w.life {
			return false
		}
		x.under--
		return alone && x.calls == mine
	}
}

// done reports that an order was surely handled.
func (x *order) done() bool { return x.effect == here || x.handled }

// wrapper knows orders by what is in them.
func (p *ordersPart) wrapper() idempotency.Wrapper[string] {
	return idempotency.Wrapper[string]{Keys: p.keys, Key: func(id string) ([]byte, error) {
		return idempotency.KeyOf(map[string]any{"order": id, "of": map[string]any{"shop": 1}})
	}}
}

// ends returns the error of a handler.
func ends(a args) error {
	switch a["end"] {
	case "error":
		return errRefused
	case "final":
		return idempotency.Final(errRefused)
	}
	return nil
}

func orderKey(id string) []byte { return []byte("order/" + id) }

// raise adds one to the number of an order.
func raise(tx *pebblemq.Tx, id string) error {
	v, err := tx.Get(orderKey(id))
	if err != nil {
		return err
	}
	var n uint64
	if v != nil {
		n = binary.BigEndian.Uint64(v)
	}
	return tx.Set(orderKey(id), binary.BigEndian.AppendUint64(nil, n+1))
}

func (p *ordersPart) transact(c *client, a args) {
	if !p.open(c) {
		return
	}
	x, quiet := p.begin(a["order"])
	was, done := x.effect, x.done()
	x.effect.mayBeHere, x.tried = x.effect.mayBeHere || a["end"] == "result", x.tried || a["end"] == "final"
	handle := p.wrapper().Transactional(c.db, func(tx *pebblemq.Tx, id string) error { return errors.Join(raise(tx, id), ends(a)) }, nil)
	o := c.call(func(ctx context.Context) error { return handle(pebblemq.WithDurability(ctx, pebblemq.Sync), x.id) })
	p.judge(c, o, x, a, quiet(), done, was)
	if o.done() {
		x.effect = here
	}
}

// judge compares the outcome of a handler with what is known.
func (p *ordersPart) judge(c *client, o outcome, x *order, a args, alone, done bool, was fate) {
	c.tellCall("order %s: %v", x.id, o.err)
	var final *idempotency.FinalError
	switch {
	case o.other:
	case errors.As(o.err, &final):
		if !x.tried {
			c.fail("order %s is given up, and no handler did that: %v", x.id, o.err)
		}
		x.final = true
	case x.final && o.done() && alone:
		c.fail("order %s was given up, and is handled", x.id)
	case lost(o.err, errRefused):
		if a["end"] == "result" && alone {
			c.fail("order %s has the error of another handler", x.id)
		}
		if done { // when the call began: its handler may have run before another one that has ended
			c.fail("order %s was handled, and is handled again", x.id)
		}
	default:
		c.expects(o, "handle order "+x.id)
	}
	if o.refused() && alone && !o.other {
		x.effect = was
	}
}

// lease handles an order outside of the store.
func (p *ordersPart) lease(c *client, a args) {
	if !p.open(c) {
		return
	}
	x, quiet := p.begin(a["order"])
	handled, done := x.handled, x.done()
	x.tried = x.tried || a["end"] == "final"
	ran := false
	handle := p.wrapper().Leased(func(context.Context, string, idempotency.Claim) error {
		ran = true
		return ends(a)
	})
	o := c.call(func(ctx context.Context) error { return handle(pebblemq.WithDurability(ctx, pebblemq.Sync), x.id) })
	if ran && handled {
		c.fail("order %s was handled, and is handled again", x.id)
	}
	p.judge(c, o, x, a, quiet(), done, x.effect)
	x.handled = x.handled || o.done()
}

// accept accepts an order, with an answer that no other call has.
func (p *ordersPart) accept(c *client, a args) {
	if !p.open(c) {
		return
	}
	x, quiet := p.begin(a["order"])
	was, done, keys := x.effect, x.done(), p.keys
	x.effect.mayBeHere = true
	mine := fmt.Sprintf("answer %d to %s", c.event(), x.id)
	var res idempotency.Result
	o := c.call(func(ctx context.Context) (err error) {
		res, err = keys.Accept(pebblemq.WithDurability(ctx, pebblemq.Sync), []byte(x.id), func(tx *pebblemq.Tx) (func() ([]byte, error), error) {
			return func() ([]byte, error) { return []byte(mine), nil }, raise(tx, x.id)
		}, nil)
		return err
	})
	p.judge(c, o, x, args{"end": "result"}, quiet(), done, was)
	if !o.done() {
		return
	}
	switch got := string(res.Value); {
	case x.answer != "" && got != x.answer:
		c.fail("order %s was accepted with %q, and now with %q", x.id, x.answer, got)
	case res.Replayed == (got == mine):
		c.fail("order %s: the answer %q, repeated: %v", x.id, got, res.Replayed)
	default:
		x.effect, x.answer = here, got
	}
}

// count compares the numbers in the store with what is known.
func (p *ordersPart) count(c *client, _ args) {
	if !p.made {
		return
	}
	calls := make(map[*order]int)
	for _, x := range p.orders {
		if calls[x] = x.calls; x.under > 0 {
			calls[x] = -1
		}
	}
	numbers := make(map[string]uint64)
	o := c.call(func(ctx context.Context) error {
		clear(numbers)
		return c.db.View(ctx, func(tx *pebblemq.Tx) error {
			for e, err := range tx.Scan(&pebblemq.ScanOptions{Prefix: []byte("order/")}) {
				if err != nil {
					return err
				}
				numbers[string(e.Key[len("order/"):])] = binary.BigEndian.Uint64(e.Value)
			}
			return nil
		})
	})
	if c.expects(o, "count the orders"); !o.done() {
		return
	}
	for id, n := range numbers {
		if x := p.orders[id]; x == nil || n != 1 || !x.effect.mayBeHere {
			c.fail("order %s has had its effect %d times", id, n)
		}
	}
	for id, x := range p.orders {
		if x.effect == here && numbers[id] == 0 && calls[x] == x.calls {
			c.fail("order %s was handled, and has no effect", id)
		}
	}
}

func (p *ordersPart) check(*client) {}

func (p *ordersPart) settle(c *client) {
	c.mu.Unlock()
	time.Sleep(time.Second)
	c.mu.Lock()
	p.count(c, nil)
}
