package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// absencesPart is groups that nobody is a member of for some time: they lose their place when the topic's
// OffsetRetention is over, and not before.
type absencesPart struct {
	w      *world
	made   int // names of groups
	groups []*absence
}

// absence is what is known of such a group.
type absence struct {
	name  string
	since moment // when it was left
	life  int
	next  int64 // where it stands
}

// absent is how long a group keeps its place.
const absent = 30 * time.Minute

func newAbsencesPart(w *world) *absencesPart { return &absencesPart{w: w} }

func (p *absencesPart) verbs() []*verb {
	return []*verb{
		form("leave a group without members", 2, p.drawLeave, p.leave),
		form("look after a group without members", 4, p.drawLook, p.look),
	}
}

func (p *absencesPart) drawLeave() args {
	if !p.w.likes("absences") || len(p.groups) > 5 {
		return nil
	}
	return args{}
}

func (p *absencesPart) drawLook() args {
	if len(p.groups) == 0 {
		return nil
	}
	return args{}
}

const hotel = "hotel"

// leave makes a group that has read the topic to its end.
func (p *absencesPart) leave(c *client, _ args) {
	p.made++
	x := &absence{name: fmt.Sprintf("a%d", p.made), life: c.life}
	o := c.call(func(ctx context.Context) error {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		topic, err := log.OpenTopic(ctx, c.db, hotel, &log.TopicConfig{OffsetRetention: absent})
		if err != nil {
			return err
		}
		at, err := topic.Append(ctx, record("", x.name))
		if err != nil {
			return err
		}
		g, _, err := topic.EnsureGroup(ctx, x.name, &log.GroupConfig{From: log.Start()})
		if err != nil {
			return err
		}
		x.next = at[0].Offset + 1
		return g.Seek(ctx, log.Offset(x.next))
	})
	if c.expects(o, "leave "+x.name); o.done() {
		x.since = moment{o.from, o.to}
		p.groups = append(p.groups, x)
	}
}

// look sees whether the group that was left first still has its place, and ends it.
func (p *absencesPart) look(c *client, _ args) {
	if len(p.groups) == 0 {
		return
	}
	x := p.groups[0]
	p.groups = p.groups[1:]
	var at []log.Committed
	var infos []log.GroupInfo
	o := c.call(func(ctx context.Context) error {
		topic, err := log.LookupTopic(ctx, c.db, hotel)
		if err != nil {
			return err
		}
		if infos, err = topic.Groups(ctx); err != nil {
			return err
		}
		g, err := topic.LookupGroup(ctx, x.name)
		if err == nil {
			at, err = g.Committed(ctx)
		}
		return err
	})
	c.tellCall("%s: %v, %v", x.name, at, o.err)
	over := x.since.in(absent)
	expired := lost(o.err, log.ErrOffsetsExpired)
	switch {
	case o.other:
		return
	case expired && !over.maybe(o.to):
		c.fail("%s has lost its place, which it keeps for %s more", x.name, over.first.Sub(o.to))
	case expired:
	case o.done() && x.life == c.life && c.disk.wasWell(over.last) && over.in(time.Minute).surely(o.from):
		c.fail("%s has its place still, which it should have lost %s ago", x.name, o.from.Sub(over.last))
	case o.done() && (len(at) != 1 || at[0].Next != x.next):
		c.fail("%s stands at %+v, not at %d", x.name, at, x.next)
	default:
		c.expects(o, "look after "+x.name)
	}
	if listed := slices.ContainsFunc(infos, func(i log.GroupInfo) bool { return i.Name == x.name }); !listed && (o.done() || expired) {
		c.fail("%s is not listed", x.name)
	}
	p.end(c, x)
}

// end deletes a group, which may have lost its place.
func (p *absencesPart) end(c *client, x *absence) {
	o := c.call(func(ctx context.Context) error {
		topic, err := log.LookupTopic(ctx, c.db, hotel)
		if err == nil {
			err = topic.DeleteGroup(ctx, x.name)
		}
		return err
	})
	c.expects(o, "delete "+x.name)
}

func (p *absencesPart) opened(*client) {}
func (p *absencesPart) check(*client)  {}
func (p *absencesPart) settle(*client) {}
