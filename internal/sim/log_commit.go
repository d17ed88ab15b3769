package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func (p *logPart) drawSettle() args {
	w, a := p.w, p.drawMember()
	if a == nil || len(p.memberOf(a).held) == 0 {
		return nil
	}
	a["settle"] = oneOf(w, "commit", "commit", "ack")
	a["n"] = fmt.Sprint(w.upTo(len(p.memberOf(a).held)))
	if w.likes("transactions of the log") && w.chance(2) {
		a["amount"] = fmt.Sprint(w.upTo(100))
		if w.chance(8) {
			a["fail"] = "yes"
		}
	}
	return a
}

// settlement is a commit or an acknowledgement of some records.
type settlement struct {
	c       *client
	m       *lmember
	list    []ldelivery
	records []log.Record
	acks    bool
	joined  bool // it is part of a transaction
	was, to map[*lstand]lpos
	sure    bool // all tenures are, and last
	fenced  bool // a tenure is over for sure
	back    bool // it goes back behind what is committed, perhaps
	surely  bool // for sure
	moves   int
	quiet   map[*lstand]func() bool
	alone   map[*lstand]bool // no other settlement was made in the meantime
}

// take begins a settlement of the first or, if they are acknowledged, any records that are held.
func (m *lmember) take(c *client, a args) *settlement {
	n := min(a.int("n"), len(m.held))
	list, acks := slices.Clone(m.held[:n]), a["settle"] == "ack"
	m.held = m.held[n:]
	if acks && n > 1 { // in another order, and not the first one
		m.held = append(m.held, list[0])
		list = list[1:]
		slices.Reverse(list)
	}
	m.past = append(m.past, list...)
	m.past = m.past[max(0, len(m.past)-mostPast):]
	return m.settle(c, list, acks)
}

// mostPast is how many records a member remembers that it has settled, or has tried to.
const mostPast = 30

// settle begins a settlement of some records.
func (m *lmember) settle(c *client, list []ldelivery, acks bool) *settlement {
	x := &settlement{
		c: c, m: m, list: list, acks: acks, sure: true, moves: m.g.moves,
		was: make(map[*lstand]lpos), to: make(map[*lstand]lpos), quiet: make(map[*lstand]func() bool), alone: make(map[*lstand]bool),
	}
	byPart := make(map[*lstand][]int64)
	for _, d := range x.list {
		s := m.g.parts[d.m.part]
		byPart[s] = append(byPart[s], d.m.offset)
		x.records = append(x.records, d.r)
		x.fenced = x.fenced || d.tenure.over
		x.sure = x.sure && d.tenure == s.tenure && d.tenure.sure
	}
	for s, list := range byPart {
		x.was[s] = s.clone()
		last := slices.Max(list) + 1
		if x.acks {
			x.to[s] = s.ack(list)
		} else {
			x.to[s] = s.commit(last, s.tenure.nacked, x.sure)
			x.back = x.back || last < s.mostNext()
			x.surely = x.surely || last < s.next.least
		}
		s.join(x.to[s])
		x.quiet[s] = s.use()
	}
	return x
}

// end notes the outcome.
func (x *settlement) end(o outcome) {
	still := x.moves == x.m.g.moves && x.m.g.moving == 0
	steady := x.sure && still
	if o.done() && x.fenced {
		x.c.fail("%s has lost a partition, and settles %s", x.m.name, x.list[0].m)
	}
	if o.done() && !x.acks && x.surely && steady {
		x.c.fail("%s commits up to %s, which is before what is committed", x.m.name, x.list[len(x.list)-1].m)
	}
	for s, was := range x.was {
		switch {
		case o.refused() && x.alone[s] && still:
			s.lpos = was
		case o.done() && x.alone[s] && steady:
			s.lpos = x.to[s]
			x.c.lose(func() { s.join(was) })
		case o.done():
			x.c.lose(func() { s.join(was) })
		}
	}
}

// allowed are the errors that a settlement may have.
func (x *settlement) allowed() []error {
	list := x.m.g.topic.gone()
	if !x.sure || x.moves != x.m.g.moves || x.m.g.moving > 0 {
		list = append(list, log.ErrFenced)
	}
	alone := true // else another one may have settled the records, or later ones
	for _, is := range x.alone {
		alone = alone && is
	}
	if x.back || !alone || x.moves != x.m.g.moves {
		list = append(list, log.ErrBackwards)
	}
	if x.joined && x.acks && (!x.sure || !alone || x.repeats()) {
		list = append(list, log.ErrSettled)
	}
	return list
}

func (p *logPart) settleSome(c *client, a args) {
	m := p.memberOf(a)
	if m == nil || len(m.held) == 0 {
		return
	}
	x := m.take(c, a)
	if len(x.list) == 0 {
		return
	}
	if a.has("amount") {
		p.settleInTransaction(c, x, a)
		return
	}
	x.carryOut("settles")
}

// carryOut makes the call of a settlement that is no part of a transaction.
func (x *settlement) carryOut(what string) {
	o := callWith(x.c, x.m.m, func(ctx context.Context, member *log.Member) error {
		if x.acks {
			return member.Ack(ctx, x.records...)
		}
		return member.Commit(ctx, x.records...)
	})
	x.judge(o, what)
	if o.done() {
		x.c.durable(x.c, o, false)
	}
}

func (p *logPart) drawAgain() args {
	a := p.drawMember()
	if a == nil || len(p.memberOf(a).past) == 0 {
		return nil
	}
	a["n"] = fmt.Sprint(1 + p.w.rng.IntN(len(p.memberOf(a).past)))
	return a
}

// commitAgain commits up to a record that a member has settled before, which goes back if it has
// settled later ones since. It may have lost the partition, too.
func (p *logPart) commitAgain(c *client, a args) {
	m := p.memberOf(a)
	if m == nil || a.int("n") < 1 || a.int("n") > len(m.past) {
		return
	}
	m.settle(c, []ldelivery{m.past[len(m.past)-a.int("n")]}, false).carryOut("commits again")
}

// judge complains about an error that should not be, and notes the outcome.
func (x *settlement) judge(o outcome, what string, allowed ...error) {
	if x.m.g.deleted || o.other {
		return
	}
	for s, quiet := range x.quiet {
		x.alone[s] = quiet()
	}
	x.c.expects(o, x.m.name+" "+what, append(x.allowed(), allowed...)...)
	x.end(o)
}

// settleInTransaction does it together with a transfer of the bank and a record.
func (p *logPart) settleInTransaction(c *client, x *settlement, a args) {
	t := x.m.g.topic
	call, records := p.make(c, t, args{"keys": "3"}, 1)
	var placed *log.Placement
	u := &lupdate{call: call}
	x.joined = true
	topic, member := t.t, x.m.m
	o := p.bank.transfer(c, a, func(tx *pebblemq.Tx) (err error) {
		if placed, err = topic.In(tx).Append(records...); err != nil {
			return err
		}
		if x.acks {
			return member.In(tx).Ack(x.records...)
		}
		return member.In(tx).Commit(x.records...)
	}, u.then)
	if o.done() && o.err == nil && placed != nil && !a.has("fail") {
		at, err := placed.Positions()
		if err != nil {
			c.fail("a transaction has happened, and its records have no place: %v", err)
			return
		}
		t.appended(c, o, call, at)
	} else {
		t.appended(c, o, call, nil)
	}
	p.updates = append(p.updates, u)
	x.judge(o, "settles in a transaction", errRefused)
}

// repeats reports that one of the records may be finished already.
func (x *settlement) repeats() bool {
	for _, d := range x.list {
		was := x.was[x.m.g.parts[d.m.part]]
		if was.done(d.m.offset).mayBeHere {
			return true
		}
	}
	return false
}

// lupdate is a transaction that appends and moves money.
type lupdate struct {
	call     *lcall
	known    bool
	happened bool
}

func (u *lupdate) then(happened bool) { u.known, u.happened = true, happened }
