package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func (p *visibilityPart) drawSend() args {
	w, a := p.w, p.drawQueue()
	if a == nil {
		return nil
	}
	q := p.named(a["queue"])
	a["n"] = fmt.Sprint(w.upTo(10))
	switch {
	case w.likes("thousands") && q.config.MaxInFlight == 0 && w.chance(100):
		a["n"] = "5000"
	case w.likes("hundreds") && w.chance(20):
		a["n"] = "300"
	}
	if q.config.FIFO || w.likes("tenants") {
		a["group"] = oneOf(w, "a", "a", "a", "b", "c")
		if w.likes("groups of one") && w.chance(3) {
			a["group"] = each
		}
	}
	if q.config.FIFO && w.hash("megabytes")%8 == 0 && w.chance(10) { // more than there is memory for those that wait
		a["n"], a["size"], a["group"] = "400", "100000", "a"
	}
	if q.config.MaxPriority > 0 && w.chance(2) {
		a["priority"] = fmt.Sprint(w.rng.IntN(int(q.config.MaxPriority) + 1))
	}
	if w.likes("delays") && w.chance(4) && !(q.config.FIFO && q.config.MaxPriority > 0) {
		a["delay"] = oneOf(w, "1ms", "1s", "5s", "1h")
	}
	if q.config.DedupeWindow > 0 && w.chance(2) {
		a["dedupe"], a["n"] = oneOf(w, "x", "y", "z"), "1"
	}
	if q.config.DedupeByBody && !a.has("dedupe") && w.chance(2) {
		a["body"], a["n"] = oneOf(w, "x", "y", "z"), "1"
	}
	if w.likes("kinds of sends") && w.chance(3) {
		p.drawClauses(a, oneOf(w, "async", "atomic", "bad"))
		if a.has("atomic") {
			p.drawClauses(a, "bad")
		}
	}
	if w.likes("sizes") && w.chance(8) {
		a["size"] = oneOf(w, "0", "100", "5000", "100000")
	}
	return a
}

// takes reports that a message fits the queue, which may have another config than the one that it
// was drawn for.
func (q *vqueue) takes(a args) bool {
	return (a.has("group") || !q.config.FIFO) && (!a.has("dedupe") || q.config.DedupeWindow > 0) &&
		(!a.has("body") || q.config.DedupeByBody) && a.int("priority") <= int(q.config.MaxPriority) && !(a.has("delay") && q.config.FIFO && q.config.MaxPriority > 0)
}

// batchSize is how many messages are sent at once at most.
const batchSize = 100

func (p *visibilityPart) send(c *client, a args) {
	q := p.named(a["queue"])
	if q == nil || !q.takes(a) {
		return
	}
	for n := a.int("n"); n > 0 && c.fault == ""; n -= batchSize {
		p.sendBatch(c, q, a, min(n, batchSize))
	}
}

func (p *visibilityPart) sendBatch(c *client, q *vqueue, a args, n int) {
	batch := make([]visibility.Message, n)
	models := make([]*vmessage, n)
	p.batch++
	for i := range batch {
		models[i], batch[i] = p.newMessage(c, q, a)
		models[i].place = i
	}
	if a.has("bad") {
		batch = append(batch, visibility.Message{ID: strings.Repeat("x", visibility.MaxNameBytes+1), Group: a["group"]})
	}
	results := make([]visibility.SendResult, len(batch))
	errs := make([]error, len(batch))
	end := q.use()
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		if a.has("async") {
			sendAsync(ctx, queue, batch, results, errs)
			return nil
		}
		results, err = queue.SendBatch(ctx, batch, &visibility.BatchOptions{Atomic: a.has("atomic")})
		return err
	})
	end()
	c.tellCall("%s: %d sent, error %v", q.name, n, o.err)
	if a.has("bad") && !o.other {
		if p.judgeBad(c, q, o, a, results, errs, n); a.has("atomic") && lost(o.err, pebblemq.ErrTooLarge) {
			p.withdraw(o, models)
			return
		}
	}
	for i, m := range models {
		o := o.entry(errs, i)
		c.expects(o, "send to "+q.name, q.deleted())
		m.sent.last = o.to
		m.due = m.dueAt(a.span("delay"))
		switch {
		case o.refused():
			m.fate = gone
		case o.done():
			p.acknowledge(c, o, m, results[i])
		}
	}
	if o.done() && !a.has("async") && slices.ContainsFunc(models, func(m *vmessage) bool { return m.fate == here }) {
		p.w.durable(c, o, true)
	}
}

// take notes the priority of a message. In a FIFO queue that may be the one of its group.
func (m *vmessage) take(own int) {
	m.priority.set(own)
	if !m.home.config.FIFO || m.home.config.MaxPriority == 0 {
		return
	}
	if m.home.isGrave() || m.home.part.isDead(m.home) { // nobody knows what else comes there
		m.priority = counted{0, int(m.home.config.MaxPriority)}
	}
	for _, o := range m.home.mayHold() {
		if o.group != m.group || !o.mayBeHere {
			continue
		}
		m.priority = counted{min(m.priority.least, o.priority.least), max(m.priority.most, o.priority.most)}
		if o.ended == 0 { // it may come after this one
			o.priority = counted{min(m.priority.least, o.priority.least), max(m.priority.most, o.priority.most)}
		}
	}
}

// each as a group gives each message one of its own.
const each = "each"

// newMessage returns a message and what is known of it while it is being sent.
func (p *visibilityPart) newMessage(c *client, q *vqueue, a args) (*vmessage, visibility.Message) {
	p.sent++
	m := &vmessage{
		fate: unknown, id: fmt.Sprintf("v%d", p.sent), home: q, first: q, group: a["group"], dedupe: a["dedupe"],
		touched: q.purging > 0 || q.deleting, delayed: a.has("delay") || q.config.DelayBlocksGroup, delay: a.span("delay"), batch: p.batch, begun: c.event(), sent: moment{wall(), someday},
	}
	if m.group == each {
		m.group = m.id
	}
	m.take(a.int("priority"))
	m.body = append([]byte(m.id), make([]byte, a.int("size"))...)
	if a.has("body") {
		m.body = []byte(a["body"])
	}
	if m.dedupe == "" && q.config.DedupeByBody {
		m.dedupe = "body " + string(m.body[:min(len(m.body), 20)])
	}
	if m.dedupe != "" && (a.has("dedupe") || a.has("body")) {
		q.deduped = append(q.deduped, m)
	}
	p.byID[m.id] = m
	q.messages = append(q.messages, m)
	q.tenants = q.tenants || m.group != "" && !q.config.FIFO
	m.due = moment{m.sent.first.Add(a.span("delay")), someday}
	m.free = at(time.Time{})
	return m, visibility.Message{ID: m.id, Group: m.group, Priority: uint8(a.int("priority")), DedupeID: a["dedupe"], Body: m.body, Attributes: p.w.attributesOf(m.id), Delay: a.span("delay")}
}

// dueAt is when a message that was sent can be received: after its delay, and perhaps after those of its group.
func (m *vmessage) dueAt(delay time.Duration) moment {
	due := m.sent.in(delay)
	if !m.home.config.DelayBlocksGroup {
		return due
	}
	for _, o := range m.home.messages {
		switch {
		case o == m || o.group != m.group:
		case o.due.last.Equal(someday): // it is being sent
			due.last = later(due.last, m.sent.last.Add(o.delay))
		default:
			due.last = later(due.last, o.due.last)
		}
	}
	return due
}

func sendAsync(ctx context.Context, q *visibility.Queue, batch []visibility.Message, results []visibility.SendResult, errs []error) {
	futures := make([]*pebblemq.Future[visibility.SendResult], len(batch))
	for n, m := range batch {
		futures[n] = q.SendAsync(ctx, m)
	}
	for n, f := range futures {
		results[n], errs[n] = f.Wait(ctx)
		select {
		case <-f.Done():
		default:
			if errs[n] != nil { // it was not waited for
				errs[n] = fmt.Errorf("%w: %w", pebblemq.ErrUnknownOutcome, errs[n])
			}
		}
	}
}

// judgeBad compares what became of the last message of a batch, which no queue takes.
func (p *visibilityPart) judgeBad(c *client, q *vqueue, o outcome, a args, results []visibility.SendResult, errs []error, n int) {
	bad := o.entry(errs, n).err
	if bad == nil {
		bad = results[n].Err
	}
	switch {
	case bad == nil:
		c.fail("%s takes a message whose ID is too long", q.name)
	case o.err == nil && a.has("atomic"):
		c.fail("%s takes an atomic batch with a message whose ID is too long", q.name)
	}
}

// withdraw notes that none of these was sent.
func (p *visibilityPart) withdraw(o outcome, models []*vmessage) {
	for _, m := range models {
		m.fate, m.sent.last = gone, o.to
	}
}

// durable notes that what was acknowledged before a call is durable, if the call was.
func (w *world) durable(c *client, o outcome, byDefault bool) {
	if !o.done() {
		return
	}
	if c.syncs(byDefault) {
		w.synced(o.began)
	}
}

// acknowledge notes that a message was sent.
func (p *visibilityPart) acknowledge(c *client, o outcome, m *vmessage, r visibility.SendResult) {
	q := m.first
	twins := q.twins(m)
	switch {
	case r.Err != nil:
		if m.fate = gone; q.deleted() == nil || !lost(r.Err, q.deleted()) {
			c.fail("send %s to %s: %v", m.id, q.name, r.Err)
		}
		return
	case r.Duplicate:
		m.fate = gone
		if !slices.ContainsFunc(twins, func(t *vmessage) bool { return t.mayBlock(c, o, q) && t.id == r.ID }) {
			c.fail("%s is said to be a duplicate of %s in %s, which was not sent within %s", m.id, r.ID, q.name, q.config.DedupeWindow)
		}
		return
	}
	for _, t := range twins {
		if t.blocks(o, q) {
			c.fail("%s was sent to %s although %s has the same DedupeID and was sent %s ago", m.id, q.name, t.id, o.from.Sub(t.sent.last))
		}
	}
	m.ended = c.event()
	if m.touched {
		return
	}
	m.mayBeGone = false
	if !c.syncs(true) {
		c.lose(func() { m.mayBeGone = true })
	}
}

// syncs reports whether a call is durable when it returns.
func (c *client) syncs(byDefault bool) bool {
	if c.sync == 0 {
		return byDefault
	}
	return c.sync == durabilities["sync"]
}

// twins returns the other messages that were sent with the DedupeID of this one, wherever they
// are now.
func (q *vqueue) twins(m *vmessage) (list []*vmessage) {
	for _, o := range q.deduped {
		if o != m && o.dedupe == m.dedupe && (!q.config.DedupePerGroup || o.group == m.group) {
			list = append(list, o)
		}
	}
	return list
}

// mayBlock reports that a message may make another one with its DedupeID a duplicate.
func (m *vmessage) mayBlock(c *client, o outcome, q *vqueue) bool {
	return c.windowsLag() || !o.from.Add(-q.config.DedupeWindow).After(m.sent.last)
}

// blocks reports that it must. Whether it was sent is certain only as long as it is here.
func (m *vmessage) blocks(o outcome, q *vqueue) bool {
	return !m.purged && m.fate == here && m.ended != 0 && m.ended < o.began && latest(o.to).Before(m.sent.first.Add(q.config.DedupeWindow))
}
