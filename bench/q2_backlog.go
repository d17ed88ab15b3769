package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Q2: a backlog is published first and drained afterwards.
func backlogWorkloads() []Workload {
	w := Workload{ID: "Q2", Title: "backlog, 100 B x100, 4 producers, then 4 consumers", Unit: "msg/s"}
	for _, v := range []struct {
		name  string
		count int
		only  Durability
	}{{"1 M", 1_000_000, ""}, {"10 M", 10_000_000, Relaxed}} {
		w.Variants = append(w.Variants, Variant{
			Name:   v.name,
			Params: Params{Size: 100, Batch: 100, Workers: 4, Count: v.count},
			Only:   v.only, Rounds: 1, Large: v.count > 1_000_000,
			Offered: offersQueue, Run: runBacklog,
		})
	}
	return []Workload{w}
}

// settleTime is what a peer gets to give space back after the drain.
const settleTime = 3 * time.Second

// runBacklog publishes and drains. Rate is that of messages going through both.
// A peer that is too slow for the budget gets fewer messages, and the sample
// says so.
func runBacklog(c *Cell) (Sample, error) {
	q, err := c.peer.Queue(c.env())
	if err != nil {
		return Sample{}, err
	}
	led := newLedger(c.Params.Size, c.Params.Count)
	lanes := make([]lane, 1)
	m := startMeter(c, lanes)
	if err := publishBacklog(c, q, led); err != nil {
		return Sample{}, errors.Join(err, q.Close())
	}
	published := time.Since(m.start)
	n := led.sent()
	if n < c.Params.Count && large(c) {
		return Sample{}, errors.Join(fmt.Errorf("%w: %s messages published in %v", errUnfinished, rate(float64(n)), published.Round(time.Second)), q.Close())
	}
	full, filled := c.usage.disk(), c.usage.peak()
	began := time.Now()
	if err := drainBacklog(c, q, led); err != nil {
		return Sample{}, errors.Join(err, q.Close())
	}
	drained := time.Since(began)
	s := m.sample((published + drained).Seconds(), int64(n))
	time.Sleep(min(settleTime, c.Budget))
	s.Extra = map[string]float64{
		"published/s": float64(n) / published.Seconds(), "drained/s": float64(n) / drained.Seconds(),
		"memory when full bytes": float64(filled),
		"disk when full bytes":   float64(full), "drained bytes": float64(c.usage.disk()),
	}
	if n < c.Params.Count {
		s.Note = fmt.Sprintf("only %s messages within %v", rate(float64(n)), c.Budget)
	}
	if d := led.duplicates.Load(); d > 0 {
		s.Note += fmt.Sprintf(" %d delivered twice", d)
	}
	if err := q.Close(); err != nil {
		return s, err
	}
	if c.peer.Server == nil {
		if err := reopened(c, &s); err != nil {
			return s, err
		}
	}
	return s, led.settle()
}

func reopened(c *Cell, s *Sample) error {
	env := c.env()
	env.Reopen = true
	began := time.Now()
	q, err := c.peer.Queue(env)
	if err != nil {
		return fmt.Errorf("opening again: %w", err)
	}
	s.Extra["reopening ms"] = float64(time.Since(began).Microseconds()) / 1e3
	s.Disk = c.usage.disk()
	s.Extra["reopened bytes"] = float64(s.Disk)
	return q.Close()
}

// large is a backlog that slow peers are spared.
func large(c *Cell) bool { return c.Params.Count > 1_000_000 }

// backlogTime is how long may be published.
func backlogTime(c *Cell) time.Duration {
	if large(c) {
		return 3 * c.Budget
	}
	return c.Budget
}

func publishBacklog(c *Cell, q Queue, led *Ledger) error {
	p := newProspect(c.Params.Count, backlogTime(c))
	end := p.began.Add(p.limit)
	errs := make([]error, c.Params.Workers)
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			b := bodies(c.Params.Batch, c.Params.Size)
			for errs[w] == nil && time.Now().Before(end) {
				if led.sent() >= c.Params.Count || !led.stampNext(b) {
					return
				}
				errs[w] = q.Publish(b)
				if large(c) && p.check(led.sent()) != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// drainBacklog takes everything out. Messages are lost if none comes for a while;
// a peer that is merely slow is told so.
func drainBacklog(c *Cell, q Queue, led *Ledger) error {
	consumers, err := openConsumers(q, c.Params.Workers, 4*c.Params.Batch)
	if err != nil {
		return err
	}
	slow := fmt.Errorf("%w: it did not drain in %v", errUnfinished, 3*backlogTime(c)+2*patience)
	ctx, done := context.WithTimeoutCause(bg, 3*backlogTime(c)+2*patience, slow)
	defer done()
	go cancelWhenStill(ctx, done, led)
	errs := make([]error, len(consumers))
	var wg sync.WaitGroup
	for w, consumer := range consumers {
		wg.Go(func() {
			for errs[w] == nil && ctx.Err() == nil {
				errs[w] = drainSome(ctx, done, c, consumer, led)
			}
		})
	}
	wg.Wait()
	for _, consumer := range consumers {
		errs = append(errs, consumer.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if errors.Is(context.Cause(ctx), errUnfinished) {
		return slow
	}
	return led.settle()
}

// cancelWhenStill gives up on messages that do not come.
func cancelWhenStill(ctx context.Context, cancel func(), led *Ledger) {
	t := time.NewTicker(patience)
	defer t.Stop()
	for last := int64(-1); last != led.got.Load(); {
		last = led.got.Load()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
	cancel()
}

func drainSome(ctx context.Context, done func(), c *Cell, consumer Consumer, led *Ledger) error {
	got, err := consumer.Receive(ctx, c.Params.Batch)
	if err != nil || len(got) == 0 {
		return err
	}
	for i := range got {
		if err := led.receive(got[i].Body); err != nil {
			return err
		}
	}
	if int(led.got.Load()) >= led.sent() {
		defer done() // nobody needs to wait for more
	}
	return consumer.Ack(got)
}
