package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// V1: the life of a message in a visibility-timeout queue.
func visibilityWorkloads() []Workload {
	p := Params{Size: 100, Batch: 10, Workers: 4}
	ordered := p
	ordered.Groups = 1000
	return []Workload{{
		ID: "V1", Title: "send 10, receive 10, delete 10; 4 workers", Unit: "msg/s",
		Variants: []Variant{
			{
				Name: "100 B", Params: p,
				Offered: func(p *Peer) bool { return p.Visibility != nil }, Run: runVisibility,
			},
			{
				Name: "100 B, 1,000 groups in order", Params: ordered,
				Offered: func(p *Peer) bool { return p.FIFO }, Run: runVisibility,
			},
		},
	}}
}

func runVisibility(c *Cell) (Sample, error) {
	q, err := c.peer.Visibility(c.env())
	if err != nil {
		return Sample{}, err
	}
	led := newLedger(c.Params.Size, maxBytes/c.Params.Size)
	order := newOrderCheck(c.Params.Groups)
	s, err := drive(c.pace(), c, c.Params.Workers, 1, func(w int) (step, error) {
		b := bodies(c.Params.Batch, c.Params.Size)
		r := rand.New(rand.NewPCG(1, uint64(w)))
		return func() (int, error) {
			group := 0
			if c.Params.Groups > 0 {
				group = r.IntN(c.Params.Groups)
			}
			if err := order.send(led, b, group, q.Send); err != nil {
				return 0, err
			}
			return visibilityTake(c, q, led, order)
		}, nil
	})
	s.Disk = c.usage.disk()
	if err == nil {
		err = visibilityDrain(c, q, led, order)
	}
	if d := led.duplicates.Load(); d > 0 {
		s.Note = fmt.Sprintf("%d received twice", d)
	}
	return s, errors.Join(err, q.Close(), led.settle())
}

// visibilityTake receives up to a batch and deletes it. With four at it one may
// find less than it has sent, another the rest.
func visibilityTake(c *Cell, q Visibility, led *Ledger, order *orderCheck) (int, error) {
	got, err := q.Receive(c.Params.Batch)
	if err != nil || len(got) == 0 {
		return 0, err
	}
	for i := range got {
		if err := led.receive(got[i].Body); err != nil {
			return 0, err
		}
		if err := order.receive(got[i].Body); err != nil {
			return 0, err
		}
	}
	return len(got), q.Delete(got)
}

func visibilityDrain(c *Cell, q Visibility, led *Ledger, order *orderCheck) error {
	for end := time.Now().Add(patience); int(led.got.Load()) < led.sent(); {
		if _, err := visibilityTake(c, q, led, order); err != nil {
			return err
		}
		if time.Now().After(end) {
			return led.settle()
		}
	}
	return nil
}

// orderCheck knows which body comes next in each group. Without groups it lets
// everything pass.
type orderCheck struct {
	groups  []orderGroup
	groupOf sync.Map // number of the first body of a call -> group
}

type orderGroup struct {
	sending sync.Mutex // so that numbers go up in the order of sending
	mu      sync.Mutex
	last    uint64 // received, plus one
}

func newOrderCheck(groups int) *orderCheck { return &orderCheck{groups: make([]orderGroup, groups)} }

// send sends the next bodies, in the order of their numbers within the group.
func (o *orderCheck) send(led *Ledger, b [][]byte, group int, send func([][]byte, int) error) error {
	if len(o.groups) > 0 {
		g := &o.groups[group]
		g.sending.Lock()
		defer g.sending.Unlock()
	}
	if !led.stampNext(b) {
		return errDone
	}
	number := 0
	if len(o.groups) > 0 {
		o.groupOf.Store(firstOf(b[0], len(b)), group)
		number = group + 1
	}
	return send(b, number)
}

func (o *orderCheck) receive(body []byte) error {
	if len(o.groups) == 0 {
		return nil
	}
	n := bodyNumber(body)
	group, ok := o.groupOf.Load(firstOf(body, 10))
	if !ok {
		return fmt.Errorf("body %d has no group", n)
	}
	g := &o.groups[group.(int)]
	g.mu.Lock()
	defer g.mu.Unlock()
	if n < g.last {
		return fmt.Errorf("body %d of group %d came after %d", n, group, g.last-1)
	}
	g.last = n + 1
	return nil
}
