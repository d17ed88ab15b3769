package main

import (
	"context"
	"slices"

	"github.com/pebblemq/pebblemq/log"
)

// reset is where a group goes on when its place is gone. An alteration counts for some poll that is
// under way, so what it was before stays possible for the rest of the life.
type reset struct {
	is     string
	others []string
}

func (r *reset) may(be string) bool    { return r.is == be || slices.Contains(r.others, be) }
func (r *reset) surely(be string) bool { return r.is == be && len(r.others) == 0 }

func (p *logPart) drawAlterGroup() args {
	a := p.drawGroup()
	if a == nil || !p.w.likes("altered groups") {
		return nil
	}
	if p.w.chance(3) {
		return a
	}
	a["reset"] = oneOf(p.w, "earliest", "latest")
	return a
}

// alterGroup alters where a group goes on when its place is gone. The group stays where it is.
func (p *logPart) alterGroup(c *client, a args) {
	g := p.groupOf(a)
	if g == nil || g.g == nil {
		return
	}
	was, ensures := g.reset.is, c.hash("ensure "+g.name+a["reset"])%2 == 0
	g.reset.others = append(g.reset.others, a["reset"])
	config := &log.GroupConfig{From: log.Start().Or(resets[a["reset"]])}
	topic := g.topic.t
	o := callWith(c, g.g, func(ctx context.Context, group *log.Group) error {
		if ensures {
			_, _, err := topic.EnsureGroup(ctx, g.name, config)
			return err
		}
		return group.Alter(ctx, config)
	})
	c.tellCall("alter %s to go on at %q: %v", g.name, a["reset"], o.err)
	if c.expects(o, "alter "+g.name, g.topic.gone()...); o.done() {
		g.reset.is, g.reset.others = a["reset"], append(g.reset.others, was)
	}
}

// compareReset compares what a group has in a new life with what it may have.
func (g *lgroup) compareReset(c *client) {
	var info log.GroupInfo
	o := callWith(c, g.g, func(ctx context.Context, group *log.Group) (err error) {
		info, err = group.Info(ctx)
		return err
	})
	if c.expects(o, "info of "+g.name, g.topic.gone()...); !o.done() {
		return
	}
	for is, r := range resets {
		if info.Config.From != info.Config.From.Or(r) {
			continue
		}
		if !g.reset.may(is) {
			c.fail("%s goes on at %q when its place is gone, not at %q", g.name, is, g.reset.is)
		}
		g.reset = reset{is: is}
		return
	}
}
