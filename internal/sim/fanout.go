package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// fanoutPart is an exchange that leads to a topic, a visibility queue and two work queues. A letter that is
// published there comes to all of them or to none, also as a dead letter. Nobody takes one away.
type fanoutPart struct {
	w       *world
	made    bool
	letters map[string]*circular
	calls   int       // ever made
	under   int       // of these, how many are under way
	ended   time.Time // the latest
}

// circular is what is known of a letter to everyone.
type circular struct {
	fate
	at time.Time // when its call was over
}

// Names of what a letter comes to, and of the queue that one pushes another one out of.
const (
	everyone = "everyone"
	narrow   = "narrow"
)

// circulars is how many letters a world has at most: all are read each time.
const circulars = 300

func newFanoutPart(w *world) *fanoutPart {
	return &fanoutPart{w: w, letters: make(map[string]*circular)}
}

func (p *fanoutPart) verbs() []*verb {
	return []*verb{
		form("publish {n} letters to everyone [together] [dying] [headers {headers}] [size {size}] [refused]", 8, p.drawPublish, p.publish),
		form("compare what everyone has", 3, p.drawCompare, func(c *client, _ args) { p.compare(c) }),
	}
}

func (p *fanoutPart) drawPublish() args {
	w := p.w
	if !w.likes("letters to everyone") || len(p.letters) >= circulars {
		return nil
	}
	a := args{"n": fmt.Sprint(w.upTo(5))}
	if w.chance(2) {
		a["together"] = "yes"
	}
	if w.chance(3) {
		a["dying"] = "yes"
	}
	if w.chance(3) {
		a["headers"] = "a=1,b=2"
	}
	if w.likes("thick letters") && w.chance(3) {
		a["size"] = oneOf(w, "1000", "20000")
	}
	if w.chance(8) {
		a["refused"] = "yes"
	}
	return a
}

func (p *fanoutPart) drawCompare() args {
	if !p.made {
		return nil
	}
	return args{}
}

// open makes the exchange and what it leads to, durably.
func (p *fanoutPart) open(c *client) bool {
	if p.made {
		return true
	}
	o := c.call(func(ctx context.Context) error {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		if _, err := log.OpenTopic(ctx, c.db, everyone, nil); err != nil {
			return err
		}
		if _, err := visibility.OpenQueue(ctx, c.db, everyone, &visibility.QueueConfig{Retention: visibility.MaxRetention}); err != nil {
			return err
		}
		b, err := workqueue.OpenBroker(ctx, c.db, everyone)
		if err != nil {
			return err
		}
		if err := b.DeclareExchange(ctx, everyone, workqueue.Fanout, nil); err != nil {
			return err
		}
		for name, config := range map[string]*workqueue.QueueConfig{everyone: nil, "others": nil, narrow: {MaxLength: 1, DeadLetter: &workqueue.DeadLetter{Exchange: everyone}}} {
			if _, err := b.DeclareQueue(ctx, name, config); err != nil {
				return err
			}
		}
		for _, to := range []workqueue.Binding{{Queue: everyone}, {Queue: "others"}, {Topic: everyone}, {VisibilityQueue: everyone}} {
			to.Exchange = everyone
			if err := b.Bind(ctx, to); err != nil {
				return err
			}
		}
		return nil
	})
	if c.expects(o, "make the exchange for everyone"); o.done() {
		p.made = true
	}
	return o.done()
}

// publish publishes letters one by one or in a transaction. One that is dying goes to a queue that has room for one,
// and pushes another one out.
func (p *fanoutPart) publish(c *client, a args) {
	if !p.open(c) {
		return
	}
	n := a.int("n")
	if !a.has("together") {
		for ; n > 0 && c.fault == "" && c.born == c.life; n-- {
			p.publishOnce(c, a, 1)
		}
		return
	}
	p.publishOnce(c, a, n)
}

func (p *fanoutPart) publishOnce(c *client, a args, n int) {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("f%d", len(p.letters)+1)
		p.letters[names[i]] = &circular{fate: unknown}
	}
	exchange, key := everyone, "key of all"
	if a.has("dying") {
		exchange, key = "", narrow
	}
	p.calls++
	p.under++
	o := c.call(func(ctx context.Context) error {
		b, err := workqueue.LookupBroker(ctx, c.db, everyone)
		if err != nil {
			return err
		}
		return c.db.Update(ctx, func(tx *pebblemq.Tx) error {
			for _, name := range names {
				m := workqueue.Message{MessageID: name, ContentType: "letter", Headers: parsePairs(a["headers"]), Body: []byte(name + "." + strings.Repeat("x", a.int("size")))}
				if err := b.In(tx).Publish(exchange, key, m); err != nil {
					return err
				}
			}
			if a.has("refused") { // when all others have been run
				return b.In(tx).DeleteJob(nobody)
			}
			return nil
		})
	})
	p.under--
	p.ended = o.to
	c.tellCall("letters %v: %v", names, o.err)
	if o.done() && a.has("refused") {
		c.fail("letters %v are published, and a part of that cannot be", names)
	}
	if !a.has("refused") || !lost(o.err, workqueue.ErrUnknownJob) {
		c.expects(o, "publish to everyone")
	}
	for _, name := range names {
		x := p.letters[name]
		switch x.at = o.to; {
		case o.refused():
			x.fate = gone
		case o.done() && !a.has("dying") && x.mayBeHere:
			if x.fate = here; !c.syncs(true) {
				c.lose(func() { x.mayBeGone = true })
			}
		}
	}
	p.w.durable(c, o, true)
}

// opened begins a life.
func (p *fanoutPart) opened(*client) { p.under = 0 }

func (p *fanoutPart) check(c *client)  { p.compare(c) }
func (p *fanoutPart) settle(c *client) { p.compare(c) }

// compare reads what all have.
func (p *fanoutPart) compare(c *client) {
	if !p.made {
		return
	}
	calls := p.calls
	var is map[string]string
	o := c.call(func(ctx context.Context) (err error) {
		is, err = readEveryone(ctx, c.db)
		return err
	})
	if c.expects(o, "read what everyone has"); !o.done() {
		return
	}
	quiet := p.under == 0 && p.calls == calls && !o.mayMiss(c.disk, p.ended)
	for name, has := range is {
		if x := p.letters[name]; x == nil || !x.mayBeHere {
			c.fail("%s have letter %s, which was not published", has, name)
		} else if quiet && has != all && !x.old() {
			c.fail("letter %s has come to %s only, or twice", name, has)
		}
	}
	for name, x := range p.letters {
		if is[name] == "" && quiet && x.fate == here && !x.old() {
			c.fail("nobody has letter %s", name)
		}
	}
}

// all is what has a letter that was published.
const all = "the queue and the other and the topic and the visibility queue"

// old reports that the visibility queue may not keep a letter any more.
func (x *circular) old() bool {
	return !x.at.IsZero() && latest(wall()).Sub(x.at) > visibility.MaxRetention-time.Hour
}

// readEveryone returns the letters, and who has each.
func readEveryone(ctx context.Context, db *pebblemq.DB) (map[string]string, error) {
	has := make(map[string][]string)
	note := func(body []byte, what string) {
		name, _, _ := strings.Cut(string(body), ".")
		has[name] = append(has[name], what)
	}
	b, err := workqueue.LookupBroker(ctx, db, everyone)
	if err != nil {
		return nil, err
	}
	for _, of := range []struct{ queue, what string }{{everyone, "the queue"}, {"others", "the other"}} {
		q, err := b.Queue(ctx, of.queue)
		if err != nil {
			return nil, err
		}
		for m, err := range q.Browse(ctx, nil) {
			if err != nil {
				return nil, err
			}
			note(m.Body, of.what)
		}
	}
	t, err := log.LookupTopic(ctx, db, everyone)
	if err != nil {
		return nil, err
	}
	reader, err := t.NewReader(0, log.Start())
	if err == nil {
		err = reader.Until(log.End())
	}
	if err != nil {
		return nil, err
	}
	for r, err := range reader.Records(ctx) {
		if err != nil {
			return nil, err
		}
		note(r.Value, "the topic")
	}
	v, err := visibility.LookupQueue(ctx, db, everyone)
	if err != nil {
		return nil, err
	}
	for m, err := range v.Browse(ctx, nil) {
		if err != nil {
			return nil, err
		}
		note(m.Body, "the visibility queue")
	}
	is := make(map[string]string, len(has))
	for name, list := range has {
		is[name] = strings.Join(list, " and ")
	}
	return is, nil
}

// remember compares, later, what all have in a copy.
func (p *fanoutPart) remember() judge {
	if !p.made {
		return func(*client) {}
	}
	may := make(map[string]bool)
	for name, x := range p.letters {
		may[name] = x.mayBeHere
	}
	return func(c *client) {
		is, err := readEveryone(c.ctx, c.db)
		if !c.allows(err, "read what everyone has") {
			return
		}
		for name, has := range is {
			switch {
			case !may[name]:
				c.fail("%s of a copy have letter %s, which was not published", has, name)
			case has != all && len(c.allowed) == 0:
				c.fail("letter %s has come to %s of a copy only, or twice", name, has)
			}
		}
	}
}
