package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

// keysPart is the idempotency namespaces of a world.
type keysPart struct {
	w      *world
	spaces []*space
	drawn  int // names of namespaces
	runs   int // names of results
}

// space is what is known of a namespace.
type space struct {
	name      string
	n         *idempotency.Namespace
	config    idempotency.Config
	next      idempotency.Config   // that it is getting
	altering  bool                 // an Alter is under way, or nobody knows how it ended
	listing   int                  // calls under way that list it
	lost      []idempotency.Config // that a crash may have brought back
	former    []formerExpiry
	longest   time.Duration // that it has kept anything
	lease     time.Duration // in this life
	mayBeLost bool
	keys      map[string]*keyModel
	token     uint64 // the highest that a handler has had
	opened    moment // in this life
}

// keyModel is what is known of a key. Its fate says whether it has an outcome.
type keyModel struct {
	fate
	name      string
	results   []string // that it may have; an error begins with "final: "
	expires   moment   // of the outcome
	running   int      // handlers under way in this life
	under     int      // calls under way
	calls     int      // ever made
	cut       bool     // a run has ended without an outcome, or may have
	forgets   int      // ever made
	forgotten bool     // while a handler ran, or a call was under way
	effects   int      // that Once has surely caused
	mayCause  int      // and may have caused beside

	forgetting int       // forgets under way
	sole       *run      // the latest handler that no forget can have taken the key from when it began
	died       time.Time // when a call was made whose handler a crash has ended, the latest of all; zero if there is none
	stored     bool      // it may have a record of an outcome, perhaps an expired one
	attempts   []attempt // of Once, that mayCause counts and nobody knows the end of
}

// attempt is a Once that would have left an outcome: as long as the key is not forgotten and the
// outcome has not expired.
type attempt struct {
	forgets int
	until   time.Time
}

func newKeysPart(w *world) *keysPart { return &keysPart{w: w} }

func (p *keysPart) verbs() []*verb {
	return []*verb{
		form("open namespace {space} [expiry {expiry}] [lease {lease}]", 3, p.drawOpen, p.open),
		form("do {key} of {space} which takes {span} and ends with {end} [nowait] [deaf] [inside]", 20, p.drawDo, p.do),
		form("once {key} of {space} which ends with {end}", 20, p.drawOnce, p.once),
		form("find {key} of {space} [seen]", 10, p.drawFind, p.find),
		form("forget {key} of {space}", 6, p.drawBusy, p.forget),
		form("list the keys of {space}", 4, p.drawSpace, p.list),
		form("alter namespace {space} expiry {expiry} [lease {lease}] [ensured]", 3, p.drawAlter, p.alter),
		form("delete namespace {space}", 1, p.drawDelete, p.delete),
	}
}

func (p *keysPart) named(name string) *space {
	for _, s := range p.spaces {
		if s.name == name && s.n != nil {
			return s
		}
	}
	return nil
}

func (p *keysPart) drawSpace() args {
	var open []string
	for _, s := range p.spaces {
		if s.n != nil {
			open = append(open, s.name)
		}
	}
	if len(open) == 0 {
		return nil
	}
	return args{"space": oneOf(p.w, open...)}
}

func (p *keysPart) drawKey() args {
	a := p.drawSpace()
	if a == nil {
		return nil
	}
	n := 3
	if p.w.likes("many keys") {
		n = 200
	}
	a["key"] = fmt.Sprintf("k%d", 1+p.w.rng.IntN(n))
	return a
}

func (p *keysPart) drawFind() args {
	a := p.drawKey()
	if a != nil && p.w.chance(4) {
		a["seen"] = "yes"
	}
	return a
}

// drawBusy prefers a key whose handler runs.
func (p *keysPart) drawBusy() args {
	a := p.drawKey()
	if a == nil || p.w.chance(2) {
		return a
	}
	var busy []string
	for name, k := range p.named(a["space"]).keys {
		if k.running > 0 {
			busy = append(busy, name)
		}
	}
	if len(busy) > 0 {
		slices.Sort(busy) // a map has no order
		a["key"] = oneOf(p.w, busy...)
	}
	return a
}

func (p *keysPart) drawDo() args {
	a := p.drawBusy()
	if a == nil {
		return nil
	}
	w := p.w
	a["span"] = oneOf(w, "0s", "0s", "1ms", "1s", "1m", "5m")
	a["end"] = oneOf(w, "result", "result", "result", "error", "final", "panic", "goexit")
	if w.chance(4) {
		a["nowait"] = "yes"
	}
	if w.likes("deaf handlers") && w.chance(3) {
		a["deaf"] = "yes"
	}
	if a["end"] == "result" && w.likes("claims in transactions") && w.chance(2) {
		a["inside"] = "yes"
	}
	return a
}

func (p *keysPart) drawOnce() args {
	a := p.drawKey()
	if a != nil {
		a["end"] = oneOf(p.w, "result", "result", "result", "error", "final")
	}
	return a
}

// at returns a namespace and the model of a key.
func (p *keysPart) at(a args) (*space, *keyModel) {
	s := p.named(a["space"])
	if s == nil {
		return nil, nil
	}
	k := s.keys[a["key"]]
	if k == nil {
		k = &keyModel{fate: gone, name: a["key"]}
		s.keys[k.name] = k
	}
	return s, k
}

func (p *keysPart) drawOpen() args {
	w := p.w
	if len(p.spaces) == 3 {
		return nil
	}
	p.drawn++
	a := args{"space": fmt.Sprintf("n%d", p.drawn)}
	if w.likes("expiry") {
		a["expiry"] = oneOf(w, "1s", "1m", "24h")
	}
	if w.likes("leases") {
		a["lease"] = oneOf(w, "1s", "500ms")
	}
	return a
}

func (p *keysPart) open(c *client, a args) {
	if slices.ContainsFunc(p.spaces, func(s *space) bool { return s.name == a["space"] }) {
		return
	}
	s := &space{name: a["space"], mayBeLost: true, keys: make(map[string]*keyModel)}
	s.config = idempotency.Config{Expiry: a.span("expiry"), Lease: a.span("lease")}
	p.spaces = append(p.spaces, s)
	config := s.config
	var n *idempotency.Namespace
	o := c.call(func(ctx context.Context) (err error) {
		n, err = idempotency.OpenNamespace(ctx, c.db, s.name, &config)
		return err
	})
	if c.expects(o, "open "+s.name); !o.done() {
		p.drop(s)
		return
	}
	s.n = n
	s.mayBeLost, s.config, s.opened = false, s.n.Config(), moment{o.from, o.to}
	s.longest, s.lease = s.config.Expiry, s.config.Lease
	p.w.durable(c, o, true)
	if !c.syncs(true) {
		c.lose(func() { s.mayBeLost = true })
	}
}

func (p *keysPart) drop(s *space) {
	p.spaces = slices.DeleteFunc(p.spaces, func(o *space) bool { return o == s })
}

func (p *keysPart) opened(c *client) {
	for _, s := range slices.Clone(p.spaces) {
		var n *idempotency.Namespace
		o := c.call(func(ctx context.Context) (err error) {
			n, err = idempotency.LookupNamespace(ctx, c.db, s.name)
			return err
		})
		s.n = n
		if s.mayBeLost && lost(o.err, idempotency.ErrUnknownNamespace) {
			p.drop(s)
			continue
		}
		if c.expects(o, "open "+s.name+" again"); o.done() {
			s.reopened(c)
		}
		s.opened = moment{o.from, o.to}
		for _, k := range s.keys {
			k.ended(p.w.unclean)
		}
	}
}

// ended notes that a life is over, and its handlers with it.
func (k *keyModel) ended(crashed bool) {
	if crashed && k.running == 1 && k.sole != nil && !k.sole.over && !k.forgotten {
		k.died = k.sole.called
	}
	if k.running > 0 || k.under > 0 { // a claim may be on the disk whose handler did not begin
		k.running, k.cut = 0, true
	}
	k.sole = nil
}

// leaseOver reports that no key is taken by a handler of an earlier life.
func (s *space) leaseOver(t time.Time) bool { return t.After(s.opened.last.Add(s.lease)) }

// use notes a call with the key; the function that it returns ends it, and reports whether no
// other one was made in the meantime.
func (k *keyModel) use() (end func() (quiet bool)) {
	k.calls++
	k.under++
	mine, alone := k.calls, k.under == 1
	return func() bool {
		k.under--
		k.forgotten = k.forgotten && k.under > 0
		return alone && k.calls == mine
	}
}

// now brings a key up to date: an outcome that has expired is gone. A call that is under way may
// have found it before, and waits for the disk.
func (k *keyModel) now(t time.Time) {
	if k.mayBeHere && k.expires.maybe(t) {
		k.mayBeGone = true
	}
	if k.mayBeHere && k.expires.surely(t) {
		k.fate = gone
	}
	if k.fate == gone && k.under == 0 {
		k.results = nil
	}
}

// completed notes an outcome.
func (k *keyModel) completed(c *client, s *space, o outcome, result string, durable bool) {
	before := *k
	k.fate, k.results, k.stored, k.died = here, []string{result}, true, time.Time{}
	k.expires = s.expires(o)
	if !durable {
		c.lose(func() {
			k.mayBeGone, k.cut = true, true
			if before.mayBeHere {
				k.results = append(k.results, before.results...)
			}
		})
	}
}

// mayComplete notes that a key may have an outcome.
func (k *keyModel) mayComplete(s *space, o outcome, result string) {
	if !k.mayBeHere {
		k.expires = s.expires(o)
	}
	k.mayBeHere, k.stored, k.died = true, true, time.Time{}
	k.results = append(k.results, result)
	k.expires.last = later(k.expires.last, s.expires(o).last)
}

// judge compares an outcome that was replayed with those that are possible.
func (k *keyModel) judge(c *client, s *space, result string, quiet bool) {
	switch {
	case !slices.Contains(k.results, result) && quiet:
		c.fail("%s of %s has the outcome %q, none of %q", k.name, s.name, result, k.results)
	case quiet:
		k.results = []string{result} // it may be lost still: its fate stays
	}
}

const finalPrefix = "final: "

func outcomeOf(r idempotency.Result, err error) string {
	var final *idempotency.FinalError
	if errors.As(err, &final) {
		return finalPrefix + final.Message
	}
	return string(r.Value)
}

func (p *keysPart) find(c *client, a args) {
	s, k := p.at(a)
	if s == nil {
		return
	}
	k.now(wall())
	end := k.use()
	var r idempotency.Result
	var ok bool
	o := callWith(c, s.n, func(ctx context.Context, namespace *idempotency.Namespace) (err error) {
		if a.has("seen") {
			ok, err = namespace.Seen(ctx, []byte(k.name))
			return err
		}
		r, ok, err = namespace.Find(ctx, []byte(k.name))
		return err
	})
	quiet := end()
	result := outcomeOf(r, o.err)
	switch {
	case o.other:
	case ok && a.has("seen"):
		if k.fate == gone && quiet {
			c.fail("%s of %s was seen, and has no outcome", k.name, s.name)
		}
	case ok:
		k.judge(c, s, result, quiet)
		if k.mayBeHere && quiet && !k.expires.maybe(o.to) {
			k.fate = here // a lookup rests on what is on disk
		}
	case o.err != nil:
		c.expects(o, "find "+k.name)
	case k.fate == here && quiet && !k.expires.maybe(o.to):
		c.fail("%s of %s is not found, and has the outcome %q", k.name, s.name, k.results)
	case quiet:
		k.fate, k.results = gone, nil
	}
}

func (p *keysPart) forget(c *client, a args) {
	s, k := p.at(a)
	if s == nil {
		return
	}
	k.forgets++
	k.forgetting++
	defer func() { k.forgetting-- }()
	k.forgotten, k.died = k.under > 0, time.Time{}
	end := k.use()
	before := *k
	k.mayBeGone = true
	o := callWith(c, s.n, func(ctx context.Context, namespace *idempotency.Namespace) error {
		return namespace.Forget(ctx, []byte(k.name))
	})
	quiet := end()
	c.tellCall("forget %s: error %v", k.name, o.err)
	c.expects(o, "forget "+k.name)
	switch {
	case o.done() && quiet:
		k.fate, k.results, k.stored = gone, nil, false
		if !c.syncs(true) {
			c.lose(func() { k.mayReturn(before) })
		}
	case o.refused() && quiet:
		k.fate = before.fate
	}
}

// mayReturn notes that a crash may have brought back what a forget had removed, beside what has been
// stored since.
func (k *keyModel) mayReturn(before keyModel) {
	switch {
	case !before.mayBeHere:
	case !k.mayBeHere:
		k.expires = before.expires
	default:
		k.expires = moment{earlier(k.expires.first, before.expires.first), later(k.expires.last, before.expires.last)}
	}
	k.mayBeHere, k.stored = k.mayBeHere || before.mayBeHere, k.stored || before.stored
	k.results = append(slices.Clone(k.results), before.results...)
}

// list compares the keys that have an outcome.
func (p *keysPart) list(c *client, a args) {
	s := p.named(a["space"])
	if s == nil {
		return
	}
	now := wall()
	calls := make(map[*keyModel]int)
	for _, k := range s.keys {
		if k.now(now); k.under == 0 {
			calls[k] = k.calls
		}
	}
	shown := make(map[string]bool)
	var info idempotency.NamespaceInfo
	s.listing++
	o := callWith(c, s.n, func(ctx context.Context, namespace *idempotency.Namespace) (err error) {
		for e, err := range namespace.Entries(ctx, nil) {
			if err != nil {
				return err
			}
			if e.State == idempotency.Completed || e.State == idempotency.Failed {
				shown[string(e.Key)] = true
			}
		}
		info, err = namespace.Info(ctx)
		return err
	})
	s.listing--
	if c.expects(o, "list "+s.name); !o.done() || o.to != now {
		return
	}
	s.judgeCount(c, info.Completed, calls)
	for k, n := range calls {
		switch {
		case k.calls != n: // it was used meanwhile
		case shown[k.name] && !k.mayBeHere:
			c.fail("%s lists %s, which has no outcome", s.name, k.name)
		case !shown[k.name] && k.fate == here:
			c.fail("%s does not list %s, which has the outcome %q", s.name, k.name, k.results)
		}
	}
}

// judgeCount compares the number of outcomes with those of the keys. Calls are those of the keys
// that nobody uses.
func (s *space) judgeCount(c *client, n uint64, calls map[*keyModel]int) {
	var least, most uint64
	for _, k := range s.keys {
		before, unused := calls[k]
		unused = unused && before == k.calls
		if unused && k.fate == here {
			least++
		}
		if !unused || k.stored {
			most++
		}
	}
	if n < least || n > most {
		c.fail("%s says that it has %d outcomes, and has %d to %d", s.name, n, least, most)
	}
}

func (p *keysPart) check(*client) {}

// settle compares the effects of Once: each has happened exactly as often as it said.
func (p *keysPart) settle(c *client) {
	for _, s := range p.spaces {
		p.list(c, args{"space": s.name})
		p.reclaimed(c, s)
		for _, k := range s.keys {
			var n int
			o := c.call(func(ctx context.Context) error {
				return c.db.View(ctx, func(tx *pebblemq.Tx) (err error) {
					n, err = readNumber(tx, s.effects(k))
					return err
				})
			})
			if c.expects(o, "view"); o.done() && (n < k.effects || n > k.effects+k.mayCause) {
				c.fail("once %s of %s has had %d effects, not %d to %d", k.name, s.name, n, k.effects, k.effects+k.mayCause)
			}
		}
	}
}

// reclaimed waits until all outcomes have expired for long, if that does not take too long, and
// sees that nothing is kept of them.
func (p *keysPart) reclaimed(c *client, s *space) {
	if s.longest > time.Minute {
		return
	}
	c.mu.Unlock()
	time.Sleep(2*s.longest + time.Second)
	c.mu.Lock()
	var info idempotency.NamespaceInfo
	s.listing++
	o := callWith(c, s.n, func(ctx context.Context, namespace *idempotency.Namespace) (err error) {
		info, err = namespace.Info(ctx)
		return err
	})
	if c.expects(o, "ask "+s.name); o.done() && (info.Completed != 0 || info.InProgress != 0) {
		c.fail("%s has %d outcomes, which have expired for long, and %d handlers", s.name, info.Completed, info.InProgress)
	}
}
