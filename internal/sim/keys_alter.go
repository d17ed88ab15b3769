package main

import (
	"context"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/idempotency"
)

// formerExpiry is an Expiry that a namespace had until some event, or still has perhaps if that is 0.
type formerExpiry struct {
	expiry time.Duration
	until  uint64
}

func (p *keysPart) drawAlter() args {
	a := p.drawSpace()
	if a == nil || !p.w.likes("altered namespaces") {
		return nil
	}
	a["expiry"] = oneOf(p.w, "1s", "1m", "24h")
	if p.w.chance(3) {
		a["lease"] = oneOf(p.w, "1s", "500ms")
	}
	if p.w.chance(2) {
		a["ensured"] = "yes"
	}
	return a
}

// alter gives a namespace another config, which counts for what is completed from then on.
func (p *keysPart) alter(c *client, a args) {
	s := p.named(a["space"])
	if s == nil || s.altering {
		return
	}
	was, next := s.config, s.config
	if next.Expiry = a.span("expiry"); a.has("lease") {
		next.Lease = a.span("lease")
	}
	life := c.life
	s.altering, s.next = true, next
	o := callWith(c, s.n, func(ctx context.Context, namespace *idempotency.Namespace) error {
		if a.has("ensured") {
			_, _, err := idempotency.EnsureNamespace(ctx, c.db, s.name, &next)
			return err
		}
		return namespace.Alter(ctx, &next)
	})
	if c.expects(o, "alter "+s.name); life != c.world.life || o.unclear() { // the next life finds out
		return
	}
	if s.altering = false; !o.done() {
		return
	}
	s.adopt(c.event(), next)
	if !c.syncs(true) {
		c.lose(func() { s.lost = append(s.lost, was) })
	}
	if is := s.n.Config(); is != next {
		c.fail("%s has config %+v, and was altered from %+v to %+v", s.name, is, was, next)
	}
}

// adopt notes that a namespace has a config from some event on.
func (s *space) adopt(from uint64, config idempotency.Config) {
	if s.config.Expiry != config.Expiry {
		s.former = append(s.former, formerExpiry{s.config.Expiry, from})
	}
	s.config, s.longest = config, max(s.longest, config.Expiry)
}

// reopened compares the config of a new life.
func (s *space) reopened(c *client) {
	is := s.n.Config()
	if is != s.config && !(s.altering && is == s.next) && !slices.Contains(s.lost, is) {
		c.fail("%s has config %+v in another life, not %+v", s.name, is, s.config)
	}
	if s.altering { // a call of the life before may have completed something by either
		s.former = append(s.former, formerExpiry{s.next.Expiry, c.event()})
		s.longest = max(s.longest, s.next.Expiry)
	}
	s.adopt(c.event(), is)
	s.altering, s.lost, s.lease = false, nil, is.Lease
}

// expiry returns how long what is completed during a call is kept, at least and at most.
func (s *space) expiry(o outcome) (least, most time.Duration) {
	least, most = s.config.Expiry, s.config.Expiry
	if s.altering {
		least, most = min(least, s.next.Expiry), max(most, s.next.Expiry)
	}
	for _, f := range s.former {
		if f.until > o.began {
			least, most = min(least, f.expiry), max(most, f.expiry)
		}
	}
	return least, most
}

// expires is when what is completed during a call expires.
func (s *space) expires(o outcome) moment {
	least, most := s.expiry(o)
	return moment{o.from.Add(least), o.to.Add(most)}
}

// shortest is the shortest time for which the namespace may have kept something.
func (s *space) shortest() time.Duration {
	least, _ := s.expiry(outcome{})
	return least
}

func (p *keysPart) drawDelete() args {
	if !p.w.likes("deleted namespaces") {
		return nil
	}
	a := p.drawSpace()
	if a == nil || !p.named(a["space"]).idle() {
		return nil
	}
	return a
}

// idle reports that nobody uses a namespace.
func (s *space) idle() bool {
	for _, k := range s.keys {
		if k.under > 0 {
			return false
		}
	}
	return !s.altering && s.listing == 0
}

// delete deletes a namespace that nobody uses, and makes another one under its name, which knows none of the keys.
// Then it is forgotten.
func (p *keysPart) delete(c *client, a args) {
	s := p.named(a["space"])
	if s == nil || !s.idle() {
		return
	}
	p.drop(s)
	o := callWith(c, s.n, func(ctx context.Context, namespace *idempotency.Namespace) error { return namespace.Delete(ctx) })
	c.tellCall("delete %s: %v", s.name, o.err)
	if c.expects(o, "delete "+s.name); !o.done() {
		return
	}
	found := ""
	o = c.call(func(ctx context.Context) error {
		n, err := idempotency.OpenNamespace(ctx, c.db, s.name, nil)
		for _, k := range s.keys {
			if err == nil && found == "" {
				var ok bool
				if ok, err = n.Seen(ctx, []byte(k.name)); ok {
					found = k.name
				}
			}
		}
		return err
	})
	if c.expects(o, "open "+s.name+" anew"); found != "" {
		c.fail("%s of %s was seen, and the namespace is another one", found, s.name)
	}
}
