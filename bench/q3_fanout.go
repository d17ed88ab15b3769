package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Q3: an exchange copies, and sends on.
func fanoutWorkloads() []Workload {
	w := Workload{ID: "Q3", Title: "an exchange, 4 publishers", Unit: "msg/s"}
	for _, queues := range []int{1, 10, 100} {
		w.Variants = append(w.Variants, Variant{
			Name:    fmt.Sprintf("fan-out of 10 KiB to %d", queues),
			Params:  Params{Size: 10 << 10, Workers: 4, Queues: queues},
			Offered: func(p *Peer) bool { return p.Fanout != nil }, Run: runFanout,
		})
	}
	for _, bindings := range []int{10, 1_000, 100_000} {
		rounds := 0
		if bindings > 1_000 {
			rounds = 1 // for binding takes longer than measuring
		}
		w.Variants = append(w.Variants, Variant{
			Name:   fmt.Sprintf("topic routing, %d bindings", bindings),
			Params: Params{Size: 100, Workers: 4, Queues: 10, Bindings: bindings},
			Large:  bindings > 1_000, Rounds: rounds,
			Offered: func(p *Peer) bool { return p.Router != nil }, Run: runRouting,
		})
	}
	return []Workload{w}
}

// maxCopies bounds the bytes that a round of a fan-out makes.
const maxCopies = 2 << 30

func runFanout(c *Cell) (Sample, error) {
	f, err := c.peer.Fanout(c.env())
	if err != nil {
		return Sample{}, err
	}
	if err := f.Bind(c.Params.Queues); err != nil {
		return Sample{}, errors.Join(err, f.Close())
	}
	led := newLedger(c.Params.Size, maxCopies/c.Params.Size/c.Params.Queues)
	p := c.pace()
	p.warm = min(p.warm, 20*time.Millisecond) // who does not copy would be through with all of them
	s, err := drive(p, c, c.Params.Workers, 1, func(int) (step, error) {
		b := bodies(1, c.Params.Size)
		return func() (int, error) {
			if !led.stampNext(b) {
				return 0, errDone
			}
			return 1, f.Publish(b[0])
		}, nil
	})
	s.Disk = c.usage.disk()
	// The first and the last queue are read to their ends, the others begun.
	for queue := range c.Params.Queues {
		if err == nil {
			err = checkCopies(f, led, queue, queue == 0 || queue == c.Params.Queues-1)
		}
	}
	return s, errors.Join(err, f.Close())
}

func checkCopies(f Fanout, led *Ledger, queue int, all bool) error {
	copies := newLedger(led.size, led.limit())
	copies.next.Store(uint64(led.sent()))
	for {
		body, err := f.Take(queue)
		if err != nil {
			return err
		}
		if body == nil {
			break
		}
		if err := copies.receive(body); err != nil {
			return fmt.Errorf("queue %d: %w", queue, err)
		}
		if !all {
			return nil
		}
	}
	if err := copies.settle(); err != nil {
		return fmt.Errorf("queue %d: %w", queue, err)
	}
	return nil
}

func runRouting(c *Cell) (Sample, error) {
	r, err := c.peer.Router(c.env())
	if err != nil {
		return Sample{}, err
	}
	if err := r.Bind(c.Params.Bindings, c.Params.Queues); err != nil {
		return Sample{}, errors.Join(err, r.Close())
	}
	sent := make([]atomic.Int64, c.Params.Queues)
	s, err := drive(c.pace(), c, c.Params.Workers, 1, func(w int) (step, error) {
		rnd := rand.New(rand.NewPCG(3, uint64(w)))
		body := make([]byte, c.Params.Size)
		return func() (int, error) {
			i := rnd.IntN(c.Params.Bindings)
			fill(body, uint64(i))
			if err := r.Publish(fmt.Sprintf("eu.site.%d.temperature.high", i), body); err != nil {
				return 0, err
			}
			sent[i%c.Params.Queues].Add(1)
			return 1, nil
		}, nil
	})
	s.Disk = c.usage.disk()
	for queue := range sent {
		if err == nil {
			err = checkRouted(c, r, queue, sent[queue].Load())
		}
	}
	return s, errors.Join(err, r.Close())
}

// checkRouted expects in a queue what was sent to its bindings, and nothing else.
func checkRouted(c *Cell, r Router, queue int, want int64) error {
	for n := int64(0); ; n++ {
		body, err := r.Take(queue)
		if err != nil {
			return err
		}
		if body == nil {
			if n != want {
				return fmt.Errorf("queue %d got %d of %d messages", queue, n, want)
			}
			return nil
		}
		i := bodyNumber(body)
		if int(i)%c.Params.Queues != queue || !bytes.Equal(body[stamp:], content(i, c.Params.Size-stamp)) {
			return fmt.Errorf("queue %d got a message for binding %d", queue, i)
		}
	}
}
