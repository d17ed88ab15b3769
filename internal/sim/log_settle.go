package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/log"
)

// reopenUpdates complains about transactions of which a part has happened.
func (p *logPart) reopenUpdates(c *client) {
	for _, u := range p.updates {
		m := u.call.records[0]
		switch {
		case !u.known || m.topic.deleted || m.topic.compacts:
		case u.happened && m.fate == gone:
			c.fail("the money of a transaction has moved, and %s, which it appended, is lost", m)
		case !u.happened && m.fate == here:
			c.fail("%s is there, and the money of its transaction has not moved", m)
		}
	}
	p.updates = nil
}

// settle lets one member read and commit all that is left.
func (g *lgroup) settle(c *client, p *logPart) {
	a := args{"topic": g.topic.name, "group": g.name}
	for len(g.members) > 0 && c.fault == "" {
		a["member"] = g.members[0].name
		p.leave(c, a)
	}
	a["member"] = "settler of " + g.name
	p.join(c, a)
	m := p.memberOf(a)
	for range 10_000 {
		if c.fault != "" || m == nil {
			return
		}
		a["n"], a["wait"], a["settle"] = "1000", "5s", "commit"
		p.poll(c, a)
		if len(m.held) > 0 {
			p.settleSome(c, a)
			continue
		}
		g.passTrimmed(c, p)
		if left := g.lag(c); left == 0 {
			return
		}
		c.mu.Unlock()
		time.Sleep(time.Minute)
		c.mu.Lock()
	}
	c.fail("%s never comes to the end of %s", g.name, g.topic.name)
}

// passTrimmed moves the group behind what was trimmed before it has read it, if it was told so.
func (g *lgroup) passTrimmed(c *client, p *logPart) {
	for n, s := range g.parts {
		if g.reset.may("") && !s.tenure.failed.IsZero() {
			p.seek(c, args{"topic": g.topic.name, "group": g.name, "place": "start", "partition": fmt.Sprint(n)})
		}
	}
}

// lag is how many records the group says that it has not finished.
func (g *lgroup) lag(c *client) (n int64) {
	o := callWith(c, g.g, func(ctx context.Context, group *log.Group) error {
		list, err := group.Lag(ctx)
		for _, l := range list {
			if n += l.Records; l.Records > 0 {
				c.tellCall("%s: %+v", g.name, l)
			}
		}
		return err
	})
	c.expects(o, "the lag of "+g.name)
	return n
}
