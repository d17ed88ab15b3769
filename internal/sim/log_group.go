package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// lgroup is what is known of a consumer group.
type lgroup struct {
	name      string
	topic     *ltopic
	g         *log.Group
	reset     reset
	parts     []*lstand
	members   []*lmember
	moves     int // joins, leaves, seeks and runs ever
	moving    int // of these, how many are under way
	deleted   bool
	seeks     int               // ever: what was finished may come again
	runs      []*lrun           // under way
	handled   []*handling       // at this moment
	dead      map[*lrecord]fate // given up by a handler; whether it is in the topic of the dead
	mayBeLost bool              // in the crash that has just been
}

// lpos is what is known of what a group has finished in a partition.
type lpos struct {
	next  offsets // the committed offset
	acked map[int64]fate
}

// lstand is where a group stands in a partition, and who owns that.
type lstand struct {
	lpos
	group  *lgroup
	part   *lpartition
	tenure *ltenure
	early  *lmember // has polled from it, and was not known to own it
	calls  int      // that settle something
	under  int      // of these, how many are under way
}

// ltenure is the time in which a member owns a partition.
type ltenure struct {
	member       *lmember // nil if it is a run
	owner        string
	next         int64 // the offset after what was delivered, -1 if nothing was
	sure         bool  // the owner has had it all the time, and the rest is right
	blurred      bool  // the rest is not right any more
	over         bool
	paused       bool
	nacked       map[int64]lnack
	waiting      map[int64]bool // records that were passed over, for one of their key is to come again
	failed       time.Time      // when it told that it cannot go on
	failedBefore time.Time      // the time before
}

// lnack is a record that was given back.
type lnack struct {
	due   moment // untouched
	first bool   // it comes before anything newer
	ended uint64 // the clock, when the call was over
}

func newTenure(m *lmember, owner string) *ltenure {
	return &ltenure{member: m, owner: owner, next: -1, sure: true, nacked: make(map[int64]lnack), waiting: make(map[int64]bool)}
}

// use notes a call that settles something; the function that it returns ends it, and reports
// whether no other one was made in the meantime.
func (s *lstand) use() (end func() (quiet bool)) {
	s.calls++
	s.under++
	mine, alone := s.calls, s.under == 1
	return func() bool {
		s.under--
		return alone && s.calls == mine
	}
}

func (s *lpos) clone() lpos { return lpos{s.next, maps.Clone(s.acked)} }

// done is whether the record at an offset is finished.
func (s *lpos) done(at int64) fate {
	f, ok := s.acked[at]
	switch {
	case at < s.next.least:
		return here
	case at < s.next.most:
		return fate{mayBeHere: true, mayBeGone: !ok || f.mayBeGone}
	case ok:
		return f
	}
	return gone
}

// commit is the position after a commit. Records that were given back stay unfinished.
func (s *lpos) commit(n int64, back map[int64]lnack, sure bool) lpos {
	q := s.clone()
	if !sure {
		q.next.most = max(q.next.most, n)
		return q
	}
	low := n
	for at := range back {
		low = min(low, at)
	}
	for at := low; at < n; at++ {
		if _, given := back[at]; !given {
			q.acked[at] = here
		}
	}
	q.next = offsets{max(q.next.least, low), max(q.next.least, low)}
	q.tidy()
	return q
}

// ack is the position after an acknowledgement.
func (s *lpos) ack(list []int64) lpos {
	q := s.clone()
	for _, at := range list {
		if at >= q.next.least {
			q.acked[at] = here
		}
	}
	q.tidy()
	return q
}

// tidy moves on over what is finished.
func (s *lpos) tidy() {
	for s.acked[s.next.least] == here && s.next.least >= 0 {
		delete(s.acked, s.next.least)
		s.next.least++
	}
	s.next.most = max(s.next.most, s.next.least)
	for at := range s.acked {
		if at < s.next.least {
			delete(s.acked, at)
		}
	}
}

// join is what is known if either of two is the case.
func (s *lpos) join(o lpos) {
	acked := make(map[int64]fate)
	for at := range s.acked {
		acked[at] = either(s.done(at), o.done(at))
	}
	for at := range o.acked {
		acked[at] = either(s.done(at), o.done(at))
	}
	s.acked = acked
	s.next = offsets{min(s.next.least, o.next.least), max(s.next.most, o.next.most)}
}

func either(a, b fate) fate {
	return fate{mayBeHere: a.mayBeHere || b.mayBeHere, mayBeGone: a.mayBeGone || b.mayBeGone}
}

// mostNext is where the committed offset may be: it may pass what is finished, trimmed or
// compacted.
func (s *lstand) mostNext() int64 {
	if s.mayJump(s.next.least) {
		return int64(len(s.part.placed))
	}
	at, start := s.next.most, s.part.mostStart()
	for at < int64(len(s.part.placed)) && (s.acked[at].mayBeHere || at < start || s.part.mayBeCompacted(at)) {
		at++
	}
	return at
}

// mayJump reports that a group at an offset may go on at the end instead.
func (s *lstand) mayJump(at int64) bool {
	return s.group.reset.may("latest") && at < s.part.mostStart()
}

func (p *logPart) groupVerbs() []*verb {
	return slices.Concat([]*verb{
		form("open group {group} of {topic} [from {place}] [or {reset}]", 10, p.drawOpenGroup, p.openGroup),
		form("alter group {group} of {topic} [or {reset}]", 3, p.drawAlterGroup, p.alterGroup),
		form("join {group} of {topic} as {member}", 12, p.drawJoin, p.join),
		form("let {member} of {group} of {topic} leave", 4, p.drawMember, p.leave),
		form("let a guest join {group} of {topic} and leave [while {member} pauses]", 10, p.drawVisit, p.visit),
		form("move {group} of {topic} to {place} [partition {partition}] [transfer {amount}] [but fail]", 4, p.drawSeek, p.seek),
	}, p.memberVerbs(), p.runVerbs())
}

func (t *ltopic) group(name string) *lgroup {
	for _, g := range t.groups {
		if g.name == name && g.g != nil {
			return g
		}
	}
	return nil
}

// groupOf returns the group that a step is about, nil if it is not there.
func (p *logPart) groupOf(a args) *lgroup {
	if t := p.named(a["topic"]); t != nil {
		return t.group(a["group"])
	}
	return nil
}

func (p *logPart) drawOpenGroup() args {
	a := p.drawTopic()
	if a == nil || len(p.named(a["topic"]).groups) == 2 {
		return nil
	}
	p.drawn++
	a["group"] = fmt.Sprintf("g%d", p.drawn)
	if p.w.chance(3) {
		a["place"] = oneOf(p.w, "start", "end")
	}
	if p.w.chance(2) {
		a["reset"] = oneOf(p.w, "earliest", "latest")
	}
	return a
}

func (p *logPart) openGroup(c *client, a args) {
	t := p.named(a["topic"])
	if t == nil || slices.ContainsFunc(t.groups, func(g *lgroup) bool { return g.name == a["group"] }) {
		return
	}
	g := &lgroup{name: a["group"], topic: t, reset: reset{is: a["reset"]}, mayBeLost: true, dead: make(map[*lrecord]fate)}
	from := log.Start()
	if a["place"] == "end" {
		from = log.End()
	}
	place := "start"
	if a.has("place") {
		place = a["place"]
	}
	spans := make([]offsets, len(t.parts))
	for i, part := range t.parts {
		spans[i] = part.span(place)
	}
	t.groups = append(t.groups, g)
	var opened *log.Group
	o := callWith(c, t.t, func(ctx context.Context, topic *log.Topic) (err error) {
		opened, err = topic.OpenGroup(ctx, g.name, &log.GroupConfig{From: from.Or(resets[a["reset"]])})
		return err
	})
	c.expects(o, "open "+g.name, t.gone()...)
	if !o.done() { // whether it is there is not known: the world goes on without it
		g.drop()
		return
	}
	g.g, g.mayBeLost = opened, false
	g.grow()
	for i, s := range g.parts {
		var began offsets // of a partition that has come in between
		if i < len(spans) {
			began = spans[i]
		}
		s.next = offsets{began.least, max(began.most, s.part.span(place).most)}
	}
	if c.syncs(true) {
		c.synced(o.began)
	} else {
		c.lose(func() { g.mayBeLost = true })
	}
}

func (g *lgroup) drop() {
	g.deleted = true
	g.topic.groups = slices.DeleteFunc(g.topic.groups, func(o *lgroup) bool { return o == g })
}

// grow adds new partitions, which are read from their beginning.
func (g *lgroup) grow() {
	for len(g.parts) < len(g.topic.parts) {
		part := g.topic.parts[len(g.parts)]
		g.parts = append(g.parts, &lstand{group: g, part: part, lpos: lpos{acked: make(map[int64]fate)}, tenure: &ltenure{}})
	}
}

// reopen looks where a group stands in a new life.
func (g *lgroup) reopen(c *client) {
	if g.g == nil { // it was being opened
		g.drop()
		return
	}
	g.members, g.moving, g.runs, g.handled = nil, 0, nil, nil
	var group *log.Group
	o := callWith(c, g.topic.t, func(ctx context.Context, topic *log.Topic) (err error) {
		group, err = topic.LookupGroup(ctx, g.name)
		return err
	})
	g.g = group
	if g.mayBeLost && lost(o.err, log.ErrUnknownGroup) {
		g.drop()
		return
	}
	if c.expects(o, "open "+g.name+" again"); !o.done() {
		return
	}
	g.mayBeLost = false
	g.grow()
	for _, s := range g.parts {
		s.tenure, s.under = &ltenure{}, 0
	}
	g.compareReset(c)
	g.compareCommitted(c, true)
}

// compareCommitted looks where the group stands.
func (g *lgroup) compareCommitted(c *client, narrow bool) {
	var list []log.Committed
	o := callWith(c, g.g, func(ctx context.Context, group *log.Group) (err error) {
		list, err = group.Committed(ctx)
		return err
	})
	if c.expects(o, "where "+g.name+" stands", g.topic.gone()...); !o.done() {
		return
	}
	for _, at := range list {
		if at.Partition >= len(g.parts) {
			continue
		}
		s := g.parts[at.Partition]
		if at.Next < s.next.least || at.Next > s.mostNext() {
			c.fail("%s stands at %d of %s, not at %d to %d", g.name, at.Next, s.part, s.next.least, s.mostNext())
			return
		}
		if at.Next > int64(len(s.part.placed)) {
			c.fail("%s stands at %d of %s, which ends at %d", g.name, at.Next, s.part, len(s.part.placed))
		}
		if narrow {
			s.next.set(at.Next)
			s.tidy()
		}
	}
}

// check compares what Committed, Lag and Info tell.
func (g *lgroup) check(c *client) {
	if g.g == nil || c.fault != "" {
		return
	}
	g.compareCommitted(c, false)
	g.checkLag(c)
	g.checkOwners(c)
}

func (g *lgroup) checkLag(c *client) {
	var list []log.Lag
	o := callWith(c, g.g, func(ctx context.Context, group *log.Group) (err error) {
		list, err = group.Lag(ctx)
		return err
	})
	if c.expects(o, "the lag of "+g.name, g.topic.gone()...); !o.done() {
		return
	}
	for _, l := range list {
		if l.Partition >= len(g.parts) {
			continue
		}
		s := g.parts[l.Partition]
		left := s.left()
		if l.Records < left.least || l.Records > left.most {
			c.fail("%s has a lag of %d records in %s, not %d to %d: %+v", g.name, l.Records, s.part, left.least, left.most, l)
		}
		if l.End < s.part.ends() || l.End > int64(len(s.part.placed)+g.topic.waiting(s.part)) {
			c.fail("the lag of %s says that %s ends at %d, not %d to %d", g.name, s.part, l.End, s.part.ends(), len(s.part.placed))
		}
	}
}

// left is how many records a group has not finished.
func (s *lstand) left() (n offsets) {
	start := s.part.mostStart()
	for at := min(s.next.least, s.part.start.least); at < int64(len(s.part.placed)); at++ {
		f := s.done(at)
		if f.mayBeGone && at >= s.part.start.least {
			n.most++
		}
		if m := s.part.placed[at]; f == gone && !s.mayJump(s.next.least) && at >= start && m != nil && m.visible && !s.part.mayBeCompacted(at) {
			n.least++
		}
	}
	n.most += int64(s.part.topic.waiting(s.part))
	return n
}

// owners asks who owns which partition.
func (g *lgroup) owners(c *client) (owners map[int]string, ok bool) {
	owners = make(map[int]string)
	var info log.GroupInfo
	o := callWith(c, g.g, func(ctx context.Context, group *log.Group) (err error) {
		info, err = group.Info(ctx)
		return err
	})
	if c.expects(o, "info of "+g.name, g.topic.gone()...); !o.done() {
		c.tellCall("info of %s: error %v", g.name, o.err)
		return nil, false
	}
	for _, m := range info.Members {
		for _, n := range m.Partitions {
			if owners[n] != "" {
				c.fail("%s and %s both own partition %d of %s", owners[n], m.Name, n, g.topic.name)
			}
			owners[n] = m.Name
		}
	}
	return owners, c.fault == ""
}

// checkOwners compares who owns which partition with what is known.
func (g *lgroup) checkOwners(c *client) {
	owners, ok := g.owners(c)
	if !ok || g.moving > 0 || g.topic.growing {
		return
	}
	for n, s := range g.parts {
		switch {
		case len(g.members) > 0 && owners[n] == "":
			c.fail("partition %d of %s has no owner in %s, which has members", n, g.topic.name, g.name)
		case s.tenure.sure && owners[n] != s.tenure.owner:
			c.fail("partition %d of %s is owned by %s in %s, not by %s", n, g.topic.name, owners[n], g.name, s.tenure.owner)
		}
	}
}

// move begins a change of who owns what. The function that it returns ends it.
func (g *lgroup) move() (quiet func() bool, end func(c *client)) {
	g.moves++
	g.moving++
	mine, alone := g.moves, g.moving == 1
	was := make(map[*ltenure]bool)
	for _, s := range g.parts {
		was[s.tenure] = s.tenure.sure && alone
		s.tenure.sure = false
	}
	quiet = func() bool { return alone && g.moves == mine }
	return quiet, func(c *client) {
		if c.born != c.life || g.deleted {
			return
		}
		looker := *c
		looker.sync, looker.within = pebblemq.Default, 0
		owners, ok := g.owners(&looker)
		if c.born != c.life {
			return
		}
		if g.moving--; !ok {
			return
		}
		for n, s := range g.parts {
			s.tenure.sure = quiet() && was[s.tenure] && !s.tenure.blurred
			if owners[n] != s.tenure.owner {
				s.give(g.member(owners[n]), owners[n], quiet())
			}
		}
	}
}

// give begins a tenure.
func (s *lstand) give(m *lmember, owner string, sure bool) {
	s.tenure.over, s.tenure.sure = sure, false
	s.tenure = newTenure(m, owner)
	s.tenure.sure = sure && m != nil
	if m != nil && s.early == m {
		s.tenure.sure, s.tenure.blurred = false, true
	}
	s.early = nil
}

func (g *lgroup) member(name string) *lmember {
	for _, m := range g.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

func (p *logPart) drawGroup() args {
	a := p.drawTopic()
	if a == nil {
		return nil
	}
	var names []string
	for _, g := range p.named(a["topic"]).groups {
		if g.g != nil {
			names = append(names, g.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	a["group"] = oneOf(p.w, names...)
	return a
}
