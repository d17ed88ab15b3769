package main

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func (p *visibilityPart) opened(c *client) {
	for _, q := range slices.Clone(p.queues) {
		var handle *visibility.Queue
		o := c.call(func(ctx context.Context) (err error) {
			handle, err = visibility.LookupQueue(ctx, c.db, q.name)
			return err
		})
		q.q = handle
		switch isLost := q.mayBeLost && lost(o.err, visibility.ErrUnknownQueue); {
		case isLost && q.deleting: // what died in it before is where it went
			p.remove(q)
			continue
		case isLost:
			p.drop(q)
			continue
		}
		if c.expects(o, "open "+q.name+" again"); !o.done() {
			continue
		}
		q.mayBeLost, q.deleting, q.moving = false, false, 0
		p.reconsider(c, q)
		p.follow(c, q)
	}
	for _, q := range p.queues {
		if q.dead != nil && q.q != nil && !slices.Contains(p.queues, q.dead) {
			p.w.fail("%s is lost, the dead-letter queue of %s", q.dead.name, q.name)
		}
	}
}

// reconsider looks which config a queue has.
func (p *visibilityPart) reconsider(c *client, q *vqueue) {
	is := q.q.Config()
	if q.config.Retention == 0 { // nobody has seen it before
		q.config = is
	}
	if q.altering > 0 && reflect.DeepEqual(is, q.next) {
		p.adopt(q, is)
	}
	q.altering = 0
	if !reflect.DeepEqual(is, q.config) {
		c.fail("%s has config %+v, not %+v", q.name, is, q.config)
	}
}

// drop goes on without a queue.
func (p *visibilityPart) drop(q *vqueue) {
	p.queues = slices.DeleteFunc(p.queues, func(o *vqueue) bool { return o == q })
	for _, m := range q.messages {
		if m.fate == here && len(m.others) == 0 && !q.deleting {
			p.w.fail("%s is lost with its queue %s", m.id, q.name)
		}
		m.mayBeGone = true
	}
	for _, o := range p.queues {
		if o.dead == q && !o.mayBeLost { // else it may be lost as well
			p.w.fail("%s is lost, the dead-letter queue of %s", q.name, o.name)
		}
	}
}

func (p *visibilityPart) drawOpen() args {
	w := p.w
	if len(p.queues) >= 4 {
		return nil
	}
	p.drawn++
	a := args{"queue": fmt.Sprintf("v%d", p.drawn)}
	if w.likes("fifo") && w.chance(2) {
		a["fifo"] = "yes"
	}
	if w.likes("priorities") && w.chance(2) {
		a["priorities"] = oneOf(w, "1", "9")
	}
	if w.likes("dedupe") && w.chance(2) {
		a["dedupe"] = oneOf(w, "10s", "5m")
		p.drawClauses(a, "body", "pergroup")
	}
	if a.has("fifo") && !a.has("priorities") && w.likes("delays") {
		p.drawClauses(a, "blocking")
	}
	p.drawConfig(a, a.has("fifo"), nil)
	return a
}

// drawClauses adds some of these clauses.
func (p *visibilityPart) drawClauses(a args, clauses ...string) {
	for _, clause := range clauses {
		if p.w.chance(3) {
			a[clause] = "yes"
		}
	}
}

// drawConfig draws what can be altered later.
func (p *visibilityPart) drawConfig(a args, fifo bool, self *vqueue) {
	w := p.w
	if w.likes("timeouts") {
		a["timeout"] = oneOf(w, "1s", "10s", "5m")
	}
	if w.likes("retention") && w.chance(2) {
		a["retention"] = oneOf(w, "1m", "1h", "24h")
	}
	if w.likes("in flight") && w.chance(2) {
		a["flying"] = oneOf(w, "1", "3", "20")
	}
	if w.likes("moved retention") {
		p.drawClauses(a, "restarts")
	}
	if self != nil && self.isGrave() { // it and its source would be each other's
		return
	}
	if dead := p.deadFor(fifo, self); dead != nil && w.chance(2) {
		a["dead"], a["receives"] = dead.name, oneOf(w, "1", "2", "3")
		if w.likes("expired") {
			p.drawClauses(a, "expired")
		}
	}
}

// deadFor returns a queue that can be the dead-letter queue of another one.
func (p *visibilityPart) deadFor(fifo bool, self *vqueue) *vqueue {
	for _, q := range p.queues {
		if q.q != nil && q.config.FIFO == fifo && q.dead == nil && q != self && (self == nil || !p.isDead(self)) {
			return q
		}
	}
	return nil
}

// isGrave reports that Run has created a queue for dead letters.
func (q *vqueue) isGrave() bool { return strings.HasSuffix(q.name, ".dead") }

// isDead reports that a queue is the dead-letter queue of another one.
func (p *visibilityPart) isDead(q *vqueue) bool {
	return slices.ContainsFunc(p.queues, func(o *vqueue) bool { return o.dead == q })
}

// isNeeded reports the same of another one that surely stays.
func (p *visibilityPart) isNeeded(q *vqueue) bool {
	return slices.ContainsFunc(p.queues, func(o *vqueue) bool { return o.dead == q && !o.deleting })
}

// configOf returns a config with what a step says.
func configOf(c visibility.QueueConfig, a args) visibility.QueueConfig {
	c.VisibilityTimeout, c.Retention = a.span("timeout"), a.span("retention")
	c.MaxReceives, c.DeadLetterQueue = a.int("receives"), a["dead"]
	c.MaxInFlight, c.RetentionRestarts, c.DeadLetterExpired = a.int("flying"), a.has("restarts"), a.has("expired")
	return c
}

func (p *visibilityPart) open(c *client, a args) {
	q := &vqueue{part: p, name: a["queue"], dead: p.named(a["dead"]), mayBeLost: true, attempts: make(map[string]vattempt)}
	if p.taken(q.name) || a.has("dead") && (q.dead == nil || q.dead.config.FIFO != a.has("fifo")) {
		return
	}
	q.config = configOf(visibility.QueueConfig{
		FIFO: a.has("fifo"), MaxPriority: uint8(a.int("priorities")), DedupeWindow: a.span("dedupe"),
		DedupeByBody: a.has("body"), DedupePerGroup: a.has("pergroup"), DelayBlocksGroup: a.has("blocking"),
	}, a)
	p.queues = append(p.queues, q)
	config := q.config
	var handle *visibility.Queue
	o := c.call(func(ctx context.Context) (err error) {
		handle, err = visibility.OpenQueue(ctx, c.db, q.name, &config)
		return err
	})
	c.tellCall("open %s: %v", q.name, o.err)
	gone := q.dead != nil && q.dead.deleting
	if gone && lost(o.err, visibility.ErrUnknownQueue) {
		p.drop(q)
		return
	}
	c.expects(o, "open "+q.name, q.dead.deleted())
	if !o.done() { // whether it is there is not known: the world goes on without it
		p.hidden = p.hidden || o.unclear() || lost(o.err, pebblemq.ErrClosed)
		p.drop(q)
		return
	}
	q.q, q.mayBeLost = handle, false
	if c.syncs(true) {
		p.w.synced(o.began)
	} else {
		c.lose(func() { q.mayBeLost = true })
	}
	q.config = q.q.Config()
}

func (p *visibilityPart) drawAlter() args {
	a := p.drawQueue()
	if a == nil {
		return nil
	}
	q := p.named(a["queue"])
	p.drawConfig(a, q.config.FIFO, q)
	p.drawClauses(a, "ensured")
	return a
}

// alter gives a queue another config. While it is under way nobody knows which one counts.
func (p *visibilityPart) alter(c *client, a args) {
	q := p.named(a["queue"])
	if q == nil || q.altering > 0 || q.under > 0 || q.deleting && a.has("ensured") { // else it may be made again
		return
	}
	dead := p.named(a["dead"])
	if a.has("dead") && (dead == nil || dead.config.FIFO != q.config.FIFO || dead == q || dead.dead != nil || p.isDead(q) || q.isGrave()) {
		return
	}
	config := configOf(q.config, a)
	q.next = filled(config)
	end := q.use()
	q.altering++
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		if !a.has("ensured") {
			return queue.Alter(ctx, &config)
		}
		_, did, err := visibility.EnsureQueue(ctx, c.db, q.name, &config)
		if err == nil && (did.Created || did.Unchanged() != reflect.DeepEqual(q.config, q.next)) {
			return fmt.Errorf("EnsureQueue says that it did %+v", did)
		}
		return err
	})
	end()
	c.tellCall("alter %s: %v", q.name, o.err)
	c.expects(o, "alter "+q.name, q.deleted(), dead.deleted(), dead.unknown())
	switch {
	case o.other: // the next life looks which one it is
	case o.err == nil:
		q.altering = 0
		was := q.config
		p.adopt(q, q.next)
		switch {
		case reflect.DeepEqual(was, q.next): // nothing was written
		case c.syncs(true):
			p.w.synced(o.began)
		default:
			c.lose(func() { q.altering, q.next = 1, was })
		}
	case o.refused():
		q.altering = 0
	}
}

// filled returns a config with the defaults that matter.
func filled(c visibility.QueueConfig) visibility.QueueConfig {
	if c.VisibilityTimeout == 0 {
		c.VisibilityTimeout = visibility.DefaultVisibility
	}
	if c.Retention == 0 {
		c.Retention = visibility.DefaultRetention
	}
	return c
}

// adopt notes that a queue has another config. Messages may have left it because of the old one.
func (p *visibilityPart) adopt(q *vqueue, config visibility.QueueConfig) {
	now := wall()
	for _, m := range q.messages {
		if m.expires().maybe(now) {
			m.mayBeGone = true
		}
		if q.dead != nil && m.mayLeave(now) {
			m.others = append(m.others, q.dead)
		}
	}
	q.alteredAt = p.w.event()
	q.config, q.dead = config, p.byName(config.DeadLetterQueue)
}

// byName returns a queue, also one that is not open.
func (p *visibilityPart) byName(name string) *vqueue {
	for _, q := range p.queues {
		if q.name == name {
			return q
		}
	}
	return nil
}

// deleted is the error that a queue may return because it is deleted; nil if that is wrong.
func (q *vqueue) deleted() error {
	if q != nil && q.deleting {
		return visibility.ErrQueueDeleted
	}
	return nil
}

// unknown is the same for its name.
func (q *vqueue) unknown() error {
	if q != nil && q.deleting {
		return visibility.ErrUnknownQueue
	}
	return nil
}

func (p *visibilityPart) deleteQueue(c *client, a args) {
	q := p.named(a["queue"])
	if q == nil || q.deleting || slices.ContainsFunc(p.queues, func(o *vqueue) bool { return o.altering > 0 || o.q == nil || o.deleting && o.dead == q }) {
		return
	}
	c.sync = durabilities["sync"] // nothing knows of a queue that may come back
	needed, refusal := p.isNeeded(q), p.neededBy(q)
	q.deleting = true // also if it is needed: who needs it may be deleted before
	if !needed {
		for _, o := range p.queues {
			for _, m := range o.messages {
				if m.mayBeIn(q, someday) {
					m.mayBeGone, m.touched, m.changed = true, true, c.event()
				}
			}
		}
	}
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) error { return queue.DeleteQueue(ctx) })
	end()
	c.tellCall("delete %s: %v", q.name, o.err)
	switch {
	case o.refused() && refusal != nil:
		c.expects(o, "delete "+q.name, refusal)
		q.deleting = false
	case o.done() && needed && p.isNeeded(q):
		c.fail("%s was deleted, the dead-letter queue of another one", q.name)
	case o.done():
		p.remove(q)
		if c.syncs(true) {
			p.w.synced(o.began)
		}
	default:
		c.expects(o, "delete "+q.name, p.neededBy(q))
		q.mayBeLost = true
		if !o.unclear() {
			q.deleting = false
		}
	}
}

// neededBy is the error of deleting a queue that may be the dead-letter queue of one that nobody
// knows, or that is being deleted.
func (p *visibilityPart) neededBy(q *vqueue) error {
	if p.hidden || p.isDead(q) {
		return pebblemq.ErrInvalid
	}
	return nil
}

// remove notes that a queue is deleted.
func (p *visibilityPart) remove(q *vqueue) {
	p.queues = slices.DeleteFunc(p.queues, func(o *vqueue) bool { return o == q })
	again := p.graveAfter(q)
	for _, other := range p.queues {
		for _, m := range other.messages {
			if i := slices.Index(m.others, q); i >= 0 {
				m.others = slices.Delete(m.others, i, i+1)
				m.others = append(m.others, again...)
			}
		}
	}
	for _, m := range q.messages {
		if m.mayBeGone = true; q.dead != nil && m.mayLeave(wall()) {
			m.others = append(m.others, q.dead)
		}
		m.others = slices.DeleteFunc(m.others, func(o *vqueue) bool { return o == q })
		if len(m.others) == 0 {
			m.fate, m.wentAt = gone, p.w.event()
			continue
		}
		m.home = m.others[0]
		m.home.messages = append(m.home.messages, m)
		m.died = true
		m.blur(m.free.last)
	}
	q.held = nil
}
