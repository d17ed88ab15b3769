package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// lmember is a member of a group.
type lmember struct {
	name    string
	g       *lgroup
	m       *log.Member
	polling bool
	left    bool
	held    []ldelivery // polled, and not settled
	past    []ldelivery // settled, or nearly, the last ones
}

// ldelivery is a record that a member has polled.
type ldelivery struct {
	m      *lrecord
	r      log.Record
	tenure *ltenure
}

func (p *logPart) memberVerbs() []*verb {
	return []*verb{
		form("let {member} of {group} of {topic} poll {n} records [for {wait}] [walking]", 30, p.drawPoll, p.poll),
		form("let {member} of {group} of {topic} {settle} {n} records [transfer {amount}] [but fail]", 20, p.drawSettle, p.settleSome),
		form("let {member} of {group} of {topic} commit the record that it has settled as the {n} last", 6, p.drawAgain, p.commitAgain),
		form("let {member} of {group} of {topic} give {n} records back [after {after}]", 6, p.drawNack, p.nack),
		form("let {member} of {group} of {topic} pause", 4, p.drawMember, p.pause),
		form("let {member} of {group} of {topic} resume", 4, p.drawMember, p.resume),
	}
}

func (p *logPart) drawJoin() args {
	a := p.drawGroup()
	if a == nil || len(p.groupOf(a).members) >= 3 {
		return nil
	}
	p.joined++
	a["member"] = fmt.Sprintf("m%d", p.joined)
	return a
}

func (p *logPart) drawMember() args {
	a := p.drawGroup()
	if a == nil || len(p.groupOf(a).members) == 0 {
		return nil
	}
	a["member"] = oneOf(p.w, p.groupOf(a).members...).name
	return a
}

// memberOf returns the member that a step is about, nil if there is none.
func (p *logPart) memberOf(a args) *lmember {
	g := p.groupOf(a)
	if g == nil {
		return nil
	}
	if m := g.member(a["member"]); m != nil && m.m != nil {
		return m
	}
	return nil
}

func (p *logPart) join(c *client, a args) {
	g := p.groupOf(a)
	if g == nil || g.member(a["member"]) != nil {
		return
	}
	m := &lmember{name: a["member"], g: g}
	_, end := g.move()
	var joined *log.Member
	o := callWith(c, g.g, func(ctx context.Context, group *log.Group) (err error) {
		joined, err = group.Join(ctx, &log.JoinOptions{Name: m.name})
		return err
	})
	c.expects(o, "join "+g.name, g.topic.gone()...)
	c.tellCall("%s joins %s: error %v", m.name, g.name, o.err)
	if o.done() {
		m.m = joined
		g.members = append(g.members, m)
	}
	end(c)
}

func (p *logPart) leave(c *client, a args) {
	m := p.memberOf(a)
	if m == nil || m.left {
		return
	}
	m.left = true
	g := m.g
	_, end := g.move()
	o := callWith(c, m.m, func(ctx context.Context, member *log.Member) error { return member.Leave(ctx) })
	c.expects(o, m.name+" leaves "+g.name, g.topic.gone()...)
	g.members = slices.DeleteFunc(g.members, func(o *lmember) bool { return o == m })
	end(c)
}

func (p *logPart) drawVisit() args {
	if p.w.chance(4) {
		return p.drawGroup()
	}
	return p.drawMember()
}

// visit lets a member join and leave at once. It may take partitions away and give them back,
// while the others do not look.
func (p *logPart) visit(c *client, a args) {
	g := p.groupOf(a)
	if g == nil {
		return
	}
	if p.memberOf(a) != nil {
		p.pause(c, a)
	}
	p.joined++
	guest := args{"topic": a["topic"], "group": a["group"], "member": fmt.Sprintf("guest%d", p.joined)}
	p.join(c, guest)
	p.leave(c, guest)
}

func (p *logPart) drawPoll() args {
	w, a := p.w, p.drawMember()
	if a == nil {
		return nil
	}
	a["n"] = fmt.Sprint(w.upTo(20))
	if w.likes("hundreds of records") && w.chance(10) {
		a["n"] = "1000"
	}
	if w.chance(2) {
		a["wait"] = oneOf(w, "100ms", "10s", "1m", "1h")
	}
	if w.likes("walks") && w.chance(4) {
		a["walking"] = "yes"
	}
	return a
}

// poll lets a member take records, and waits for them.
func (p *logPart) poll(c *client, a args) {
	m := p.memberOf(a)
	if m == nil || m.polling || m.left {
		return
	}
	if c.within == 0 {
		c.within = time.Second
	}
	if a.has("wait") {
		c.within = a.span("wait")
	}
	m.polling = true
	defer func() { m.polling = false }()
	g := m.g
	moves, calls, steady := g.moves, g.topic.calls, g.moving == 0
	ready := m.ready()
	var got []log.Record
	o := callWith(c, m.m, func(ctx context.Context, member *log.Member) (err error) {
		if a.has("walking") {
			got, err = walk(ctx, member, a.int("n"))
			return err
		}
		got, err = member.Poll(ctx, a.int("n"))
		return err
	})
	if o.other || g.deleted {
		return
	}
	steady = steady && moves == g.moves
	c.tellCall("%s: %d polled, error %v", m.name, len(got), o.err)
	if len(got) > a.int("n") {
		c.fail("%s polled %d records, %s asked for", m.name, len(got), a["n"])
	}
	for _, r := range got {
		if p.judgeDelivery(c, o, m, r, steady, calls); c.fault != "" {
			return
		}
	}
	switch {
	case lost(o.err, context.DeadlineExceeded):
		if steady && c.within >= patience(c) && c.disk.isWell() && !c.disk.wasFull(o.from) {
			m.judgeWithheld(c, ready)
		}
	case m.left && lost(o.err, log.ErrLeft):
	case m.judgeOutOfRange(c, o, steady):
	default:
		c.expects(o, m.name+" polls", g.topic.gone()...)
	}
}

// walk reads up to n records. It returns an error only if there is none.
func walk(ctx context.Context, member *log.Member, n int) (got []log.Record, err error) {
	for r, err := range member.Records(ctx) {
		if err != nil && len(got) == 0 {
			return nil, err
		}
		if err != nil {
			return got, nil
		}
		if got = append(got, r.Clone()); len(got) == n {
			break
		}
	}
	return got, nil
}

// patience is how long a poll must wait to be sure that it is told what there is: what is on its
// way to the disk comes first.
func patience(c *client) time.Duration { return time.Second + 10*time.Duration(c.disk.slow.Load()) }

// judgeOutOfRange judges the error for records that were trimmed before the group has read them.
func (m *lmember) judgeOutOfRange(c *client, o outcome, steady bool) bool {
	var e *log.OffsetError
	if !errors.As(o.err, &e) || e.Partition >= len(m.g.parts) || e.Topic != m.g.topic.name {
		return false
	}
	s := m.g.parts[e.Partition]
	if !m.g.reset.may("") || e.Offset < s.next.least && !(s.tenure.next >= 0) || e.Offset >= e.Start || e.Start > s.part.mostStart() {
		return false
	}
	// A try may be told late, by the call after the one that it was made in, and the next try at once.
	if pause := untouched(o.to).Sub(s.tenure.failedBefore); steady && s.tenure.sure && pause < time.Second {
		c.fail("%s is told the third time in %s: %v", m.name, pause, e)
	}
	s.tenure.failed, s.tenure.failedBefore = untouched(o.to), s.tenure.failed
	return true
}

// ready returns an offset of each partition that the member should get if it polls.
func (m *lmember) ready() map[*ltenure]int64 {
	list := make(map[*ltenure]int64)
	for _, s := range m.g.parts {
		if s.tenure.member != m || !s.tenure.sure || s.tenure.paused {
			continue
		}
		if at, ok := s.ready(); ok {
			list[s.tenure] = at
		}
	}
	return list
}

// ready returns an offset that a member which owns the partition must get if it polls.
func (s *lstand) ready() (at int64, ok bool) {
	t := s.tenure
	now := untouched(wall())
	for at, n := range t.nacked {
		if n.due.surely(now) && at >= s.part.mostStart() && !s.part.mayBeCompacted(at) && !s.waitsForKey(at) {
			return at, true
		}
	}
	if len(t.nacked) > 0 || len(t.waiting) > 0 { // others may have to wait
		return 0, false
	}
	from := max(t.next, s.next.least)
	if from < s.part.mostStart() && !s.group.reset.surely("earliest") {
		return 0, false // it may be told that records are gone, or go to the end
	}
	for at := max(from, s.part.mostStart()); at < int64(len(s.part.placed)); at++ {
		if m := s.part.placed[at]; m != nil && m.visible && s.done(at) == gone && !s.part.mayBeCompacted(at) {
			return at, true
		}
	}
	return 0, false
}

// judgeWithheld complains about a member that got nothing although there was something all the
// time.
func (m *lmember) judgeWithheld(c *client, ready map[*ltenure]int64) {
	for _, s := range m.g.parts {
		at, ok := ready[s.tenure]
		if !ok || !s.tenure.sure || s.tenure.paused || s.done(at) != gone || at < s.part.mostStart() || s.part.mayBeCompacted(at) {
			continue
		}
		c.fail("%s of %s polls in vain for %s, although it owns partition %d, where %v is next", m.name, m.g.name, c.within, s.part.n, s.part.at(at))
		return
	}
}

// judgeDelivery compares a record that was polled with what is known.
func (p *logPart) judgeDelivery(c *client, o outcome, m *lmember, r log.Record, steady bool, calls int) {
	g := m.g
	if r.Partition >= len(g.parts) {
		c.fail("%s polled a record of partition %d", m.name, r.Partition)
		return
	}
	s := g.parts[r.Partition]
	record := s.part.match(c, p, r)
	if c.fault != "" {
		return
	}
	t := s.tenure
	if !steady || !t.sure { // nobody knows under which one it was delivered
		if t.member == m {
			t.sure, t.blurred = false, true
		} else {
			s.early = m
		}
		m.held = append(m.held, ldelivery{record, r, newTenure(m, "")})
		return
	}
	m.held = append(m.held, ldelivery{record, r, t})
	switch f := s.done(r.Offset); {
	case t.member != m:
		c.fail("%s of %s polled %s, whose partition %s owns", m.name, g.name, record, t.owner)
	case f == here:
		c.fail("%s of %s polled %s, which is finished", m.name, g.name, record)
	default:
		s.judgeOrder(c, o, m, record)
	}
	delete(s.acked, r.Offset)
	s.next.most = min(s.next.most, r.Offset)
}

// judgeOrder compares the order of what is polled from a partition.
func (s *lstand) judgeOrder(c *client, o outcome, m *lmember, record *lrecord) {
	t, at := s.tenure, record.offset
	n, given := t.nacked[at]
	waits := t.waiting[at]
	delete(t.nacked, at)
	delete(t.waiting, at)
	for other, n := range t.nacked {
		key := s.part.at(other)
		switch {
		case other > at || key == nil || n.ended > o.began: // perhaps it was polled first
		case n.first && !given && n.due.surely(untouched(o.from)) && !s.waitsForKey(other):
			c.fail("%s polled %s before %s, which was given back", m.name, record, key)
		case record.key != nil && string(key.key) == string(record.key):
			c.fail("%s polled %s before %s, which has its key and was given back", m.name, record, key)
		}
	}
	switch {
	case given && !n.due.maybe(untouched(o.to)):
		c.fail("%s polled %s, which was given back until %s later", m.name, record, n.due.first.Sub(untouched(o.to)))
	case given || waits:
		return
	case at < t.next:
		c.fail("%s polled %s, after what is before %d", m.name, record, t.next)
	}
	from := t.next
	if from < 0 {
		from = s.next.least
	}
	if s.mayJump(from) {
		from = at
	}
	for skipped := from; skipped < at; skipped++ {
		switch {
		case s.waitsForKey(skipped):
			t.waiting[skipped] = true
		case !s.done(skipped).mayBeHere && !s.part.mayBeCompacted(skipped) && !(!m.g.reset.surely("") && skipped < s.part.mostStart()):
			c.fail("%s of %s polled %s and passed over %d: %v", m.name, m.g.name, record, skipped, s.part.at(skipped))
			return
		}
	}
	t.next = at + 1
}

// waitsForKey reports that a record may wait for another one of its key.
func (s *lstand) waitsForKey(at int64) bool {
	m := s.part.at(at)
	if m != nil && m.key == nil {
		return false
	}
	for other := range s.tenure.nacked {
		o := s.part.at(other)
		if other < at && o != nil && o.key != nil && (m == nil || string(o.key) == string(m.key)) { // nobody has read it yet, so it may have any key
			return true
		}
	}
	return false
}

func (p *logPart) drawNack() args {
	a := p.drawMember()
	if a == nil || len(p.memberOf(a).held) == 0 || !p.w.likes("nacks") {
		return nil
	}
	a["n"] = fmt.Sprint(p.w.upTo(min(5, len(p.memberOf(a).held))))
	if p.w.chance(2) {
		a["after"] = oneOf(p.w, "1ms", "1s", "1m")
	}
	return a
}

// nack gives records back, one by one.
func (p *logPart) nack(c *client, a args) {
	m := p.memberOf(a)
	for n := a.int("n"); m != nil && n > 0 && len(m.held) > 0 && c.fault == "" && !m.g.deleted; n-- {
		d := m.held[0]
		m.held = m.held[1:]
		g, s := m.g, m.g.parts[d.m.part]
		moves, sure := g.moves, s.tenure == d.tenure && d.tenure.sure && g.moving == 0
		before := s.done(d.m.offset)
		_, twice := d.tenure.nacked[d.m.offset]
		o := callWith(c, m.m, func(ctx context.Context, member *log.Member) error { return member.Nack(ctx, d.r, a.span("after")) })
		if o.other {
			return
		}
		sure = sure && moves == g.moves
		switch {
		case o.done() && d.tenure.over:
			c.fail("%s gives %s back, and has lost its partition", m.name, d.m)
		case o.done() && sure && before == here:
			c.fail("%s gives %s back, which is finished", m.name, d.m)
		case o.done():
			delay := a.span("after")
			d.tenure.nacked[d.m.offset] = lnack{moment{untouched(o.from).Add(delay), untouched(o.to).Add(delay)}, delay == 0, c.event()}
		case lost(o.err, log.ErrFenced) && !sure:
		case lost(o.err, pebblemq.ErrInvalid) && (before.mayBeHere || twice || !sure):
		default:
			c.expects(o, m.name+" gives back", g.topic.gone()...)
		}
	}
}

func (p *logPart) pause(c *client, a args)  { p.setPaused(c, a, true) }
func (p *logPart) resume(c *client, a args) { p.setPaused(c, a, false) }

// setPaused pauses all that a member owns, or ends that.
func (p *logPart) setPaused(c *client, a args, paused bool) {
	m := p.memberOf(a)
	if m == nil {
		return
	}
	g := m.g
	moves, steady := g.moves, g.moving == 0
	o := c.callFree(func() error {
		if paused {
			return m.m.Pause()
		}
		return m.m.Resume()
	})
	c.expects(o, m.name+" pauses or resumes", append(g.topic.gone(), log.ErrLeft)...)
	for _, s := range g.parts {
		if s.tenure.member != m {
			continue
		}
		if s.tenure.paused = paused; !steady || moves != g.moves {
			s.tenure.sure, s.tenure.blurred = false, true
		}
	}
}
