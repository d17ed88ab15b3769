package main

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func (p *logPart) drawSeek() args {
	a := p.drawGroup()
	if a == nil || !p.w.likes("seeks") {
		return nil
	}
	a["place"] = oneOf(p.w, "start", "end", "50", "0")
	if a["place"] == "50" || p.w.chance(2) {
		p.drawPartition(a)
	}
	if p.w.likes("transactions of the log") && p.w.chance(2) {
		a["amount"] = fmt.Sprint(p.w.upTo(100))
		if p.w.chance(2) {
			a["fail"] = "yes"
		}
	}
	return a
}

func (p *logPart) seek(c *client, a args) {
	g := p.groupOf(a)
	if g == nil {
		return
	}
	moved, list := g.parts, []int(nil)
	if part := g.topic.partition(a); part != nil {
		moved, list = g.parts[part.n:part.n+1], []int{part.n}
	}
	place, _ := moved[0].part.from(a["place"])
	was, to := make([]lpos, len(moved)), make([]lpos, len(moved))
	for i, s := range moved {
		was[i] = s.clone()
		to[i] = lpos{s.part.span(a["place"]), make(map[int64]fate)}
		s.join(to[i])
	}
	g.seeks++
	quiet, end := g.move()
	o := p.callSeek(c, g, a, place, list)
	if !o.other && lost(o.err, log.ErrOffsetOutOfRange) && a["place"] != "start" && a["place"] != "end" {
		o.err = errRefused
	} else {
		g.judgeSeek(c, o, a)
	}
	for i, s := range moved {
		if !o.refused() { // the end of a partition may have moved meanwhile
			to[i].next.most = max(to[i].next.most, s.part.span(a["place"]).most)
			s.join(to[i])
		}
		switch {
		case o.refused() && quiet():
			s.lpos = was[i]
		case o.done() && quiet():
			before := was[i]
			s.next, s.acked = to[i].next, to[i].acked
			paused := s.tenure.paused
			s.give(s.tenure.member, s.tenure.owner, true)
			s.tenure.paused = paused
			c.lose(func() { s.join(before) })
		case !o.other:
			s.tenure = &ltenure{member: s.tenure.member, owner: s.tenure.owner, nacked: make(map[int64]lnack), waiting: make(map[int64]bool)}
		}
	}
	if o.done() {
		c.durable(c, o, true)
	}
	end(c)
}

// judgeSeek complains about an error that should not be, or that is not there.
func (g *lgroup) judgeSeek(c *client, o outcome, a args) {
	allowed := g.topic.gone()
	if a.has("fail") {
		allowed = append(allowed, log.ErrConflict)
	}
	if c.expects(o, "move "+g.name, allowed...); o.done() && a.has("fail") {
		c.fail("a transaction that moves %s was to be refused, and was not", g.name)
	}
}

// callSeek moves a group, perhaps together with a transfer of the bank. One that is to fail has an
// append after it that is refused when the transaction commits.
func (p *logPart) callSeek(c *client, g *lgroup, a args, place log.From, list []int) outcome {
	if !a.has("amount") {
		return callWith(c, g.g, func(ctx context.Context, group *log.Group) error { return group.Seek(ctx, place, list...) })
	}
	group, topic := g.g, g.topic.t
	return p.bank.transfer(c, args{"amount": a["amount"]}, func(tx *pebblemq.Tx) error {
		err := group.In(tx).Seek(place, list...)
		if err == nil && a.has("fail") {
			o := log.AppendOptions{Partition: log.InPartition(0), ExpectOffset: log.AtOffset(1 << 40)}
			_, err = topic.In(tx).AppendWith(o, log.Record{Key: []byte("k0")})
		}
		return err
	}, nil)
}

// span is what a word may stand for.
func (part *lpartition) span(place string) offsets {
	switch _, offset := part.from(place); place {
	case "start":
		return offsets{part.start.least, part.mostStart()}
	case "end":
		return offsets{part.ends(), int64(len(part.placed) + part.topic.waiting(part))}
	default:
		return offsets{offset, offset}
	}
}
