package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// I1: running something once for a key, when many keys are stored.
func dedupeWorkloads() []Workload {
	w := Workload{ID: "I1", Title: "once for a key, 16 callers", Unit: "keys/s"}
	for _, count := range []int{1_000_000, 10_000_000} {
		p := Params{Size: 16, Workers: 16, Count: count}
		name := fmt.Sprintf("%d M keys", count/1_000_000)
		offered := func(p *Peer) bool { return p.Dedupe != nil }
		w.Variants = append(w.Variants,
			Variant{
				Name: name + ", miss", Params: p, Large: count > 1_000_000, Rounds: 2,
				Offered: offered, Prepare: prepareDedupe, Store: name, Run: runMiss,
			},
			Variant{
				Name: name + ", hit", Params: p, Only: Either, Large: count > 1_000_000, Rounds: 2,
				Offered: offered, Prepare: prepareDedupe, Store: name, Run: runHit,
			})
	}
	return []Workload{w}
}

// dedupeKey is 16 bytes in no order, like a request's random ID.
func dedupeKey(buf []byte, n uint64) []byte {
	buf = binary.BigEndian.AppendUint64(buf[:0], scramble(n))
	return binary.BigEndian.AppendUint64(buf, n)
}

// scramble spreads numbers over all 64 bits, each to one place.
func scramble(n uint64) uint64 {
	n = (n ^ n>>31) * 0x7fb5d329728ea185
	n = (n ^ n>>27) * 0x81dadef4bc2dd44d
	return n ^ n>>33
}

func dedupeResult(buf []byte, n uint64) []byte {
	buf = binary.BigEndian.AppendUint64(buf[:0], n)
	return append(buf, "stored.."...)
}

// prepareDedupe stores the keys, all of them with the result of number 0.
func prepareDedupe(c *Cell) error {
	d, err := c.peer.Dedupe(c.env())
	if err != nil {
		return err
	}
	result := dedupeResult(nil, 0)
	keys := make([][]byte, 0, 1000)
	p := newProspect(c.Params.Count, c.Fill)
	for n := 0; n < c.Params.Count; {
		keys = keys[:0]
		for ; len(keys) < cap(keys) && n < c.Params.Count; n++ {
			keys = append(keys, dedupeKey(nil, uint64(n)))
		}
		if err := d.Fill(keys, result); err != nil {
			return errors.Join(err, d.Close())
		}
		if err := p.check(n); err != nil {
			return errors.Join(err, d.Close())
		}
	}
	return d.Close()
}

// runMiss has new keys stored, and then looks whether a second try finds them.
func runMiss(c *Cell) (Sample, error) {
	from := uint64(c.Serial) << 40
	var next atomic.Uint64
	next.Store(from)
	return dedupe(c, func(d Dedupe, _ int) step {
		var k, result []byte
		return func() (int, error) {
			n := next.Add(1) - 1
			k, result = dedupeKey(k, n), dedupeResult(result, n)
			fresh, _, err := d.Once(k, result)
			if err == nil && !fresh {
				err = fmt.Errorf("key %d was there already", n)
			}
			return 1, err
		}
	}, func(d Dedupe) error {
		count := next.Load() - from
		for i := uint64(0); i < count; i += count/1000 + 1 {
			if err := expectHit(d, from+i, from+i); err != nil {
				return err
			}
		}
		return nil
	})
}

func runHit(c *Cell) (Sample, error) {
	return dedupe(c, func(d Dedupe, w int) step {
		r := rand.New(rand.NewPCG(2, uint64(w)))
		return func() (int, error) { return 1, expectHit(d, r.Uint64N(uint64(c.Params.Count)), 0) }
	}, func(Dedupe) error { return nil })
}

// expectHit finds a key with the result that it was stored with.
func expectHit(d Dedupe, n, stored uint64) error {
	fresh, found, err := d.Once(dedupeKey(nil, n), []byte("the wrong result"))
	if err != nil {
		return err
	}
	if fresh {
		return fmt.Errorf("key %d was lost", n)
	}
	if !bytes.Equal(found, dedupeResult(nil, stored)) {
		return fmt.Errorf("key %d came back with the result %q", n, found)
	}
	return nil
}

func dedupe(c *Cell, worker func(Dedupe, int) step, verify func(Dedupe) error) (Sample, error) {
	env := c.env()
	env.Reopen = true
	d, err := c.peer.Dedupe(env)
	if err != nil {
		return Sample{}, err
	}
	s, err := drive(c.pace(), c, c.Params.Workers, 1, func(w int) (step, error) { return worker(d, w), nil })
	if err == nil {
		err = verify(d)
	}
	return s, errors.Join(err, d.Close())
}
