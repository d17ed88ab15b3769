package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
)

// lost reports an error of a package.
func lost(err, kind error) bool { return err != nil && errors.Is(err, kind) }

// check compares what Browse and Stats show with what is known.
func (p *visibilityPart) check(c *client) {
	for _, q := range p.queues {
		if q.q == nil || q.deleting || c.fault != "" {
			continue
		}
		p.checkBrowse(c, q)
		p.checkStats(c, q)
	}
	p.forget(c)
}

// checkBrowse compares each message that Browse shows.
func (p *visibilityPart) checkBrowse(c *client, q *vqueue) {
	now := wall()
	shown := make(map[*vmessage]bool)
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) error {
		for b, err := range queue.Browse(ctx, nil) {
			if err != nil {
				return err
			}
			m := p.byID[b.ID]
			switch {
			case m == nil:
				c.fail("%s shows %q, which nobody has sent", q.name, b.ID)
			case !m.mayBeHere:
				c.fail("%s shows %s, which is gone", q.name, m.id)
			case !m.mayBeIn(q, now):
				c.fail("%s shows %s, a message of %s", q.name, m.id, m.home.name)
			case m.expires().surely(now) && m.home == q && !now.Equal(m.expires().last):
				p.failKept(c, q, now, "%s shows %s, which should be gone since %s", q.name, m.id, now.Sub(m.expires().last))
			case shown[m]:
				c.fail("%s shows %s twice", q.name, m.id)
			}
			shown[m] = true
		}
		return nil
	})
	c.expects(o, "browse "+q.name)
	for _, m := range q.messages {
		if o.done() && m.fate == here && m.home == q && !shown[m] && !m.mayLeave(now) {
			c.fail("%s does not show %s", q.name, m.id)
			return
		}
	}
}

// failKept tells of a message that is kept for too long.
func (p *visibilityPart) failKept(c *client, q *vqueue, now time.Time, format string, values ...any) {
	if c.disk.wasWell(now) { // or it cannot be read, and so not be moved or deleted
		c.fail(format, values...)
	}
}

// checkStats compares the counters.
func (p *visibilityPart) checkStats(c *client, q *vqueue) {
	now := wall()
	var s visibility.Stats
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		s, err = queue.Stats(ctx)
		return err
	})
	if c.expects(o, "stats of "+q.name); !o.done() {
		return
	}
	var all, inFlight, delayed counted
	for _, m := range q.messages {
		in := m.mayBeHere && !m.expires().surely(now)
		sure := m.fate == here && !m.mayLeave(now)
		all.count(sure, in)
		delayed.count(sure && !m.due.maybe(now), in && !m.due.surely(now))
		tried := c.life > 0 // it may have been in flight when the process died, and wait for others
		inFlight.count(sure && !m.free.maybe(now), in && (!m.free.surely(now) || tried))
	}
	for _, other := range p.queues {
		for _, m := range other.messages {
			if other != q && m.mayBeHere && m.mayBeIn(q, now) {
				all.most++
				if slices.Contains(m.others, q) {
					inFlight.most++
				}
			}
		}
	}
	for _, look := range []struct {
		what  string
		is    uint64
		known counted
	}{{"messages", s.Visible + s.InFlight + s.Delayed, all}, {"delayed messages", s.Delayed, delayed}, {"messages in flight", s.InFlight, inFlight}} {
		if !look.known.holds(int(look.is)) && c.disk.wasWell(now) { // or it is counted as it was
			c.fail("%s has %d %s, not %d to %d: %+v", q.name, look.is, look.what, look.known.least, look.known.most, s)
		}
	}
}

// fallsDue reports that something happens to a message at this very moment.
func (q *vqueue) fallsDue(now time.Time) bool {
	for _, m := range q.messages {
		if m.due.last.Equal(now) && m.delayed || m.free.last.Equal(now) || m.expires().last.Equal(now) {
			return true
		}
	}
	return false
}

// count adds one that is surely there, or may be.
func (c *counted) count(surely, maybe bool) {
	if surely {
		c.least++
	}
	if maybe {
		c.most++
	}
}

// forget drops the messages that are gone for good.
func (p *visibilityPart) forget(c *client) {
	if len(c.unsynced) > 0 {
		return
	}
	for _, q := range p.queues {
		q.messages = slices.DeleteFunc(q.messages, func(m *vmessage) bool { return m.fate == gone })
	}
}

// settle receives and deletes everything, and complains about what does not come.
func (p *visibilityPart) settle(c *client) {
	for _, dead := range []bool{false, true} { // dead-letter queues last
		for _, q := range p.queues {
			if q.q != nil && !q.deleting && (q.dead == nil) == dead {
				p.drain(c, q)
			}
		}
	}
	now := wall()
	for _, q := range p.queues {
		for _, m := range q.messages {
			if m.fate == here && !m.mayLeave(now) && c.fault == "" {
				c.fail("%s of %s is lost", m.id, q.name)
			}
		}
	}
}

// drain receives what a queue has until nothing is left of it, in any state.
func (p *visibilityPart) drain(c *client, q *vqueue) {
	for idle := 0; idle < 10_000; {
		if c.fault != "" {
			return
		}
		q.held = nil
		p.receive(c, args{"queue": q.name, "n": "100", "hidden": "1m"})
		p.each(p.delete)(c, args{"queue": q.name, "n": "100"})
		var s visibility.Stats
		o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
			s, err = queue.Stats(ctx)
			return err
		})
		if c.expects(o, "stats of "+q.name); s.Visible+s.InFlight+s.Delayed == 0 {
			return
		}
		if s.Visible == 0 || q.held == nil {
			idle++
			c.mu.Unlock()
			time.Sleep(time.Minute)
			c.mu.Lock()
		}
	}
	c.fail("%s is never empty", q.name)
}
