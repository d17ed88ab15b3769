package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// assignment is the partitions that a reader was told it has got, of all topics.
type assignment struct {
	p     *subscriptionsPart
	name  string
	holds map[string]bool
}

// told returns options with callbacks that complain if a reader is told twice that it has got a
// partition, or that it loses one that it has not. Each of them takes a pause.
func (p *subscriptionsPart) told(c *client, name string, pause time.Duration) *log.JoinOptions {
	a := &assignment{p: p, name: name, holds: make(map[string]bool)}
	call := func(got bool, how string) func(context.Context, *log.Member, []int) {
		return func(ctx context.Context, m *log.Member, partitions []int) {
			if pause > 0 {
				sleepOr(ctx, pause)
			}
			p.w.mu.Lock()
			defer p.w.mu.Unlock()
			for _, n := range partitions {
				a.note(c, fmt.Sprintf("%s/%d", m.Group().Topic().Name(), n), got, how)
			}
		}
	}
	return &log.JoinOptions{
		Name: name, DrainTimeout: 5 * time.Second,
		OnAssigned: call(true, "got"), OnRevoked: call(false, "is to lose"), OnLost: call(false, "has lost"),
	}
}

func (a *assignment) note(c *client, partition string, got bool, how string) {
	if c.born != a.p.w.life {
		return
	}
	c.tellCall("%s %s %s", a.name, how, partition)
	if a.holds[partition] == got {
		c.fail("%s is told that it %s %s, and had been: %v", a.name, how, partition, got)
	}
	a.holds[partition] = got
}

func (p *subscriptionsPart) drawVisit() args {
	if !p.made || p.visiting {
		return nil
	}
	a := args{"which": oneOf(p.w, "0", "1"), "span": oneOf(p.w, "1ms", "2s", "20s")}
	if p.w.chance(3) {
		a["slow"] = "yes"
	}
	return a
}

// visit lets another reader join, read and acknowledge what it gets, and leave.
func (p *subscriptionsPart) visit(c *client, a args) {
	if len(p.topics) == 0 || p.visiting {
		return
	}
	which, pause := a.int("which"), time.Duration(0)
	if a.has("slow") {
		pause = 10 * time.Second // longer than others wait
	}
	p.visited, p.visiting = true, true
	t := p.topics[which]
	var m *log.Member
	name := fmt.Sprintf("visitor %d", c.event())
	o := c.call(func(ctx context.Context) error {
		g, err := t.OpenGroup(pebblemq.WithDurability(ctx, pebblemq.Sync), "readers", &log.GroupConfig{From: log.Start()})
		if err == nil {
			m, err = g.Join(ctx, p.told(c, name, pause))
		}
		return err
	})
	if c.expects(o, "join the readers"); o.done() {
		p.readAs(c, m, t, a.span("span"))
		o = c.call(m.Leave)
		c.expects(o, "leave the readers", log.ErrLeft)
	}
	if c.born == c.life {
		p.visiting = false
	}
}

// readAs reads as a member for some time.
func (p *subscriptionsPart) readAs(c *client, m *log.Member, t log.TypedTopic[note], span time.Duration) {
	until := time.Now().Add(span)
	for time.Now().Before(until) && c.fault == "" && c.born == c.life {
		var list []log.TypedRecord[note]
		o := c.call(func(ctx context.Context) (err error) {
			ctx, stop := context.WithDeadline(ctx, until)
			defer stop()
			list, err = t.Member(m).Poll(ctx, 10)
			return err
		})
		if !o.done() || len(list) == 0 {
			c.expects(o, "read as a visitor", context.DeadlineExceeded)
			return
		}
		var records []log.Record
		var numbers []int
		for _, r := range list {
			if n, ok := p.judge(c, r.Record); ok {
				records, numbers = append(records, r.Record), append(numbers, n)
			}
		}
		o = c.call(func(ctx context.Context) error { return m.Ack(pebblemq.WithDurability(ctx, pebblemq.Sync), records...) })
		if c.expects(o, "acknowledge as a visitor", log.ErrFenced); o.done() {
			for _, n := range numbers {
				p.committed[n] = true
			}
		}
	}
}
