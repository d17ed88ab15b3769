package main

import (
	"errors"
	"fmt"
	"time"
)

// L3: reading a log from its start, right after it was opened.
func replayWorkloads() []Workload {
	p := Params{Size: 100, Count: 1_000_000, Batch: 1000}
	return []Workload{{
		ID: "L3", Title: "replay after a reopen", Unit: "msg/s",
		Variants: []Variant{
			{
				Name: "1 M x 100 B", Params: p, Only: Either,
				Offered: offersLog, Prepare: prepareReplay, Store: "log", Run: runReplay,
			},
			{
				Name: "1 M x 100 B, group, commit every 500", Params: p, Only: Either,
				Offered: func(p *Peer) bool { return p.Groups }, Prepare: prepareReplay, Store: "log", Run: runGroup,
			},
		},
	}}
}

func prepareReplay(c *Cell) error {
	l, err := c.peer.Log(c.env())
	if err != nil {
		return err
	}
	b, p := bodies(c.Params.Batch, c.Params.Size), newProspect(c.Params.Count, c.Fill)
	led := newLedger(c.Params.Size, c.Params.Count)
	for led.sent() < c.Params.Count {
		if err := p.check(led.sent()); err != nil {
			return errors.Join(err, l.Close())
		}
		led.stampNext(b)
		if err := l.Append(b); err != nil {
			return err
		}
	}
	return l.Close()
}

func runReplay(c *Cell) (Sample, error) {
	return replay(c, func(l Log, f func([]byte) error) error { return l.Replay(c.Params.Count, f) })
}

const commitEvery = 500

func runGroup(c *Cell) (Sample, error) {
	return replay(c, func(l Log, f func([]byte) error) error {
		return l.(GroupLog).ReplayGroup(fmt.Sprintf("g%d", c.Serial), c.Params.Count, commitEvery, f)
	})
}

// replay measures from the opened log to the last record. Every record is
// checked as it comes.
func replay(c *Cell, read func(Log, func([]byte) error) error) (Sample, error) {
	env := c.env()
	env.Reopen = true
	l, err := c.peer.Log(env)
	if err != nil {
		return Sample{}, err
	}
	defer l.Close()
	n := uint64(0)
	m := startMeter(c, nil)
	err = read(l, func(body []byte) error {
		n++
		return checkBody(body, n-1, c.Params.Size)
	})
	if err != nil {
		return Sample{}, err
	}
	s := m.sample(time.Since(m.start).Seconds(), int64(n))
	if int(n) != c.Params.Count {
		return s, fmt.Errorf("%d of %d records came", n, c.Params.Count)
	}
	return s, nil
}
