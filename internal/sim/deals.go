package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/visibility"
)

// dealsPart sees that a transaction over several packages is one. A deal moves money, completes a
// key, sends a message and perhaps deletes the message of another deal. The ledger of the bank
// tells whether it has happened. The key and the messages must agree.
type dealsPart struct {
	w     *world
	bank  *bank
	queue *visibility.Queue
	keys  *idempotency.Namespace
	made  bool // the two
	deals []*deal
	held  []dealReceipt
	next  int // deal to look at
}

// deal is one try to make a deal. Those of one name have one key.
type deal struct {
	fate
	name    string
	id      string // of its message
	durable bool
	ended   uint64 // the clock when it was acknowledged
	closes  *deal  // whose message it deletes
}

type dealReceipt struct {
	d       *deal
	receipt visibility.Receipt
}

func newDealsPart(w *world, b *bank) *dealsPart { return &dealsPart{w: w, bank: b} }

func (p *dealsPart) verbs() []*verb {
	return []*verb{
		form("make deal {deal} which moves {amount} from account {from} to account {to} [but fail] [closing]", 12, p.drawMake, p.make),
		form("take {n} deals", 6, func() args { return args{"n": fmt.Sprint(p.w.upTo(3))} }, p.take),
	}
}

func (p *dealsPart) drawMake() args {
	w := p.w
	a := args{
		"deal": fmt.Sprintf("d%d", len(p.deals)+1), "amount": fmt.Sprint(w.upTo(100)),
		"from": fmt.Sprint(w.rng.IntN(bankAccounts)), "to": fmt.Sprint(w.rng.IntN(bankAccounts)),
	}
	if len(p.deals) > 0 && w.chance(4) {
		a["deal"] = p.deals[w.rng.IntN(len(p.deals))].name
	}
	if w.chance(8) {
		a["fail"] = "yes"
	}
	if len(p.held) > 0 && w.chance(2) {
		a["closing"] = "yes"
	}
	return a
}

// ready opens the queue and the namespace of the deals, durably.
func (p *dealsPart) ready(c *client) bool {
	if p.made {
		return p.queue != nil && p.keys != nil
	}
	var q *visibility.Queue
	var n *idempotency.Namespace
	o := c.call(func(ctx context.Context) (err error) {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		if q, err = visibility.OpenQueue(ctx, c.db, "deals", &visibility.QueueConfig{VisibilityTimeout: time.Second, Retention: visibility.MaxRetention}); err != nil {
			return err
		}
		n, err = idempotency.OpenNamespace(ctx, c.db, "deals", &idempotency.Config{Expiry: idempotency.MaxExpiry})
		return err
	})
	if c.expects(o, "open the deals"); o.done() && !p.made { // or another client was first
		p.queue, p.keys, p.made = q, n, true
	}
	return o.done()
}

func (p *dealsPart) opened(c *client) {
	p.held = nil
	if !p.made {
		return
	}
	var q *visibility.Queue
	var n *idempotency.Namespace
	o := c.call(func(ctx context.Context) (err error) {
		if q, err = visibility.LookupQueue(ctx, c.db, "deals"); err == nil {
			n, err = idempotency.LookupNamespace(ctx, c.db, "deals")
		}
		return err
	})
	p.queue, p.keys = q, n
	c.expects(o, "open the deals again")
}

func (p *dealsPart) make(c *client, a args) {
	if !p.ready(c) {
		return
	}
	q, keys := p.queue, p.keys
	d := &deal{fate: unknown, name: a["deal"], id: fmt.Sprintf("%s/%d", a["deal"], len(p.deals)+1)}
	p.deals = append(p.deals, d)
	steps := []func(*pebblemq.Tx) error{
		func(tx *pebblemq.Tx) error { return keys.In(tx).Complete([]byte(d.name), []byte(d.id)) },
		func(tx *pebblemq.Tx) error {
			_, err := q.In(tx).Send(visibility.Message{ID: d.id, Body: []byte(d.name)})
			return err
		},
	}
	if a.has("closing") && len(p.held) > 0 {
		r := p.held[0]
		if !c.likesTwice(d) {
			p.held = p.held[1:]
		}
		d.closes = r.d
		steps = append(steps, func(tx *pebblemq.Tx) error { return q.In(tx).Delete(r.receipt) })
	}
	late := a.has("fail") && c.hash("late "+d.id)%2 == 0
	if late { // it is refused when all others have been run
		a = maps.Clone(a)
		delete(a, "fail")
	}
	rng := rand.New(rand.NewPCG(c.hash(d.id), 0))
	rng.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
	before := p.rival(d)
	o := p.bank.transfer(c, a, func(tx *pebblemq.Tx) error {
		for _, step := range steps {
			if err := step(tx); err != nil {
				return err
			}
		}
		if late {
			return q.In(tx).Cancel(nobody)
		}
		return nil
	}, func(happened bool) { p.resolve(d, happened) })
	switch {
	case late && o.done():
		c.fail("%s was made, and a part of it cannot be", d.id)
	case late && lost(o.err, visibility.ErrUnknownMessage):
	case !errors.Is(o.err, errRefused) || !a.has("fail"):
		c.expects(o, "make "+d.id, idempotency.ErrDuplicate, pebblemq.ErrLost, visibility.ErrInvalidReceipt)
	}
	if o.done() {
		d.ended, d.durable = c.event(), c.syncs(true)
		if before != nil && before.fate == here {
			c.fail("%s was made although %s has the same key", d.id, before.id)
		}
		if twin := p.twin(d); twin != nil && twin.ended < o.began {
			c.fail("%s was made although %s had deleted the message of %s", d.id, twin.id, d.closes.id)
		}
	}
}

// likesTwice reports that the receipt which a deal uses is to be used again.
func (w *world) likesTwice(d *deal) bool { return w.hash("twice "+d.id)%4 == 0 }

// rival returns a deal that has happened and has the key of this one.
func (p *dealsPart) rival(d *deal) *deal {
	for _, o := range p.deals {
		if o != d && o.name == d.name && o.fate == here {
			return o
		}
	}
	return nil
}

// twin returns a deal that has surely happened and deletes the same message, nil if there is none.
func (p *dealsPart) twin(d *deal) *deal {
	for _, o := range p.deals {
		if o != d && d.closes != nil && o.closes == d.closes && o.fate == here && o.ended != 0 {
			return o
		}
	}
	return nil
}

// resolve notes whether a deal has happened, as far as no crash takes it back.
func (p *dealsPart) resolve(d *deal, happened bool) {
	if d.fate = gone; happened {
		d.fate = here
		p.w.lose(func() { d.mayBeGone = d.mayBeGone || !d.durable })
	}
}

func (p *dealsPart) take(c *client, a args) {
	if !p.ready(c) {
		return
	}
	var found []*visibility.Received
	o := callWith(c, p.queue, func(ctx context.Context, queue *visibility.Queue) (err error) {
		found, err = queue.Receive(ctx, &visibility.ReceiveOptions{Max: a.int("n"), Wait: visibility.NoWait})
		return err
	})
	c.expects(o, "take deals")
	if !o.done() {
		return
	}
	for _, r := range found {
		if d := p.judge(c, o, r); d != nil {
			p.held = append(p.held, dealReceipt{d, r.Receipt})
		}
	}
}

// judge compares a message with what is known of its deal.
func (p *dealsPart) judge(c *client, o outcome, r *visibility.Received) *deal {
	i := slices.IndexFunc(p.deals, func(d *deal) bool { return d.id == r.ID })
	switch {
	case i < 0:
		c.fail("there is a message of %q, which nobody has made", r.ID)
		return nil
	case !p.deals[i].mayBeHere:
		c.fail("there is a message of %s, which was refused", r.ID)
	}
	for _, d := range p.deals {
		if d.closes == p.deals[i] && d.fate == here && d.ended != 0 && d.ended < o.began {
			c.fail("there is a message of %s, which %s has deleted", r.ID, d.id)
		}
	}
	return p.deals[i]
}

// check looks at some keys.
func (p *dealsPart) check(c *client) {
	for range min(4, len(p.deals)) {
		p.next = (p.next + 1) % len(p.deals)
		p.lookAt(c, p.deals[p.next].name)
	}
}

// lookAt compares a key with its deals.
func (p *dealsPart) lookAt(c *client, name string) {
	var r idempotency.Result
	var ok bool
	o := callWith(c, p.keys, func(ctx context.Context, keys *idempotency.Namespace) (err error) {
		r, ok, err = keys.Find(ctx, []byte(name))
		return err
	})
	if c.expects(o, "find "+name); !o.done() {
		return
	}
	possible := false
	for _, d := range p.deals {
		if d.name != name {
			continue
		}
		possible = possible || d.mayBeHere && string(r.Value) == d.id
		if d.fate == here && (!ok || string(r.Value) != d.id) {
			c.fail("%s has happened, and its key is %q", d.id, r.Value)
		}
	}
	if ok && !possible {
		c.fail("the key %s has the deal %s, which was refused", name, r.Value)
	}
}

// settle takes all messages that are left.
func (p *dealsPart) settle(c *client) {
	if !p.made {
		return
	}
	c.mu.Unlock()
	time.Sleep(2 * time.Second) // the visibility timeout of those that are held
	c.mu.Lock()
	left := make(map[*deal]bool)
	for {
		var found []*visibility.Received
		o := callWith(c, p.queue, func(ctx context.Context, queue *visibility.Queue) (err error) {
			found, err = queue.Receive(ctx, &visibility.ReceiveOptions{Max: visibility.MaxReceiveMessages, VisibilityTimeout: time.Hour, Wait: visibility.NoWait})
			return err
		})
		if c.expects(o, "take the deals that are left"); len(found) == 0 || c.fault != "" {
			break
		}
		for _, r := range found {
			left[p.judge(c, o, r)] = true
		}
	}
	closed := make(map[*deal]bool)
	for _, d := range p.deals {
		closed[d.closes] = closed[d.closes] || d.mayBeHere
		p.lookAt(c, d.name)
	}
	for _, d := range p.deals {
		if d.fate == here && !left[d] && !closed[d] {
			p.missing(c, d)
		}
	}
}

// missing complains about a message that was not received.
func (p *dealsPart) missing(c *client, d *deal) {
	var b *visibility.Browsed
	o := callWith(c, p.queue, func(ctx context.Context, queue *visibility.Queue) (err error) {
		b, err = queue.Find(ctx, d.id)
		return err
	})
	if o.done() && b.State == visibility.InFlight && c.unclean {
		return // what was in flight when the process died comes one at a time
	}
	c.fail("the message of %s is lost", d.id)
}
