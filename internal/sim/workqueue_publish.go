package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func (p *workqueuePart) drawPublish() args {
	w := p.w
	a := args{"n": fmt.Sprint(w.upTo(8)), "exchange": "default"}
	switch q := p.drawQueue(); {
	case len(p.exchanges) > 0 && w.chance(2):
		a["exchange"], a["key"] = oneOf(w, p.exchanges...).name, oneOf(w, keyWords...)
	case q != nil:
		a["key"] = q["queue"]
	default:
		return nil
	}
	if w.likes("thousands of jobs") && w.chance(60) {
		a["n"] = "2000"
	}
	if w.likes("hundreds of jobs") && w.chance(20) {
		a["n"] = "200"
	}
	sometimes := func(feature string, n int, key string, values ...string) {
		if w.likes(feature) && w.chance(n) {
			a[key] = oneOf(w, values...)
		}
	}
	sometimes("work priorities", 2, "priority", "1", "2", "5", "9", "255")
	sometimes("work delays", 4, "delay", "1ms", "1s", "5s", "1h")
	sometimes("times to live", 4, "ttl", "1ms", "1s", "30s", "2h")
	sometimes("copies", 6, "cc", "a,b.a", "c", "a.b")
	sometimes("copies", 6, "bcc", "c", "a.b.c")
	if a["exchange"] == "default" {
		delete(a, "cc")
		delete(a, "bcc")
	}
	sometimes("headers", 2, "headers", headerPairs...)
	sometimes("work sizes", 8, "size", "100", "5000", "100000")
	sometimes("windows", 3, "id", "x", "y", "z")
	sometimes("unique keys", 4, "unique", "u", "v")
	sometimes("mandatory", 3, "mandatory", "yes")
	sometimes("async", 3, "async", "yes")
	sometimes("singly", 3, "singly", "yes")
	if a.has("id") || a.has("unique") {
		a["n"] = "1"
	}
	return a
}

// exchangeOf is the name of an exchange that a step has; ok is false if it is missing.
func (p *workqueuePart) exchangeOf(text string) (name string, ok bool) {
	if text == "default" {
		return "", true
	}
	return text, p.exchangeNamed(text) != nil
}

func (p *workqueuePart) publish(c *client, a args) {
	exchange, ok := p.exchangeOf(a["exchange"])
	if !ok || p.broker == nil || exchange == "" && (p.queueNamed(a["key"]) == nil || a.has("cc") || a.has("bcc")) {
		return
	}
	size := 200
	if a.has("async") || a.has("singly") {
		size = 1
	}
	for n := a.int("n"); n > 0 && c.fault == "" && p.broker != nil; n -= size {
		p.publishBatch(c, exchange, a, min(n, size))
	}
}

// sending is messages that are being published in one commit.
type sending struct {
	p        *workqueuePart
	messages []*wmessage
	exchange string
	version  int  // of the topology, when it was begun
	refusal  bool // it may be refused because a queue is full
	full     bool // it must be
	nowhere  bool // a mandatory message may lead nowhere
	lost     bool // or surely does
	twins    map[*wcopy][]*wcopy
}

func (p *workqueuePart) publishBatch(c *client, exchange string, a args, n int) {
	s := p.prepare(c, exchange, a, n)
	batch := make([]workqueue.Publishing, n)
	for i, m := range s.messages {
		batch[i] = workqueue.Publishing{Key: m.key, Message: m.message}
	}
	publishOne := p.publishOne(exchange, batch[0].Key, batch[0].Message)
	ends := s.use()
	var published workqueue.Published
	o := callWith(c, p.broker, func(ctx context.Context, broker *workqueue.Broker) (err error) {
		switch {
		case a.has("async"):
			published, err = broker.PublishAsync(ctx, exchange, batch[0].Key, batch[0].Message).Wait(ctx)
			return unclearWait(ctx, err)
		case n == 1:
			return publishOne(ctx, broker)
		}
		return broker.PublishBatch(ctx, exchange, batch)
	})
	quiet := ends(o)
	c.tellCall("%s to %s: %v", s.messages[0].name, exchange, o.err)
	s.judge(c, o, quiet)
	s.conclude(c, o, quiet)
	s.judgeDuplicates(c, published)
	if a.has("async") && o.done() && quiet && s.version == p.version && !s.special() { // else it may be the outcome of another one
		s.judgePublished(c, published)
	}
	if o.done() && s.arrived() {
		p.w.durable(c, o, true)
	}
}

// arrived reports that some message has surely come to a queue. Else there is nothing to sync.
func (s *sending) arrived() bool {
	return slices.ContainsFunc(s.messages, func(m *wmessage) bool {
		return slices.ContainsFunc(m.copies, func(x *wcopy) bool { return x.sure && x.fate == here })
	})
}

// unclearWait makes it known that the change goes on of which a Wait was given up.
func unclearWait(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", err, pebblemq.ErrUnknownOutcome)
	}
	return err
}

// prepare makes the models of messages, and of their copies wherever they may come.
func (p *workqueuePart) prepare(c *client, exchange string, a args, n int) *sending {
	s := &sending{p: p, exchange: exchange, version: p.version, twins: make(map[*wcopy][]*wcopy)}
	for range n {
		m := p.newMessage(c, exchange, a)
		if len(s.messages) > 0 {
			m.batch = s.messages[0].batch
		}
		s.messages = append(s.messages, m)
		s.spread(m)
	}
	for q, more := range s.targets() {
		s.measure(q, more)
	}
	return s
}

func (p *workqueuePart) newMessage(c *client, exchange string, a args) *wmessage {
	p.sent++
	m := &wmessage{name: fmt.Sprintf("w%d", p.sent), exchange: exchange, key: keyOf(a["key"]), begun: c.event(), version: p.version, sent: moment{wall(), someday}}
	m.batch = m.begun
	m.message = workqueue.Message{
		Body: append([]byte(m.name+"."), make([]byte, a.int("size"))...), MessageID: m.name, Priority: uint8(a.int("priority")),
		TTL: a.span("ttl"), Delay: a.span("delay"), Headers: parsePairs(a["headers"]), UniqueKey: a["unique"], Mandatory: a.has("mandatory"),
	}
	if a.has("id") {
		m.message.MessageID = a["id"]
	}
	if a.has("cc") {
		m.message.CC = strings.Split(a["cc"], ",")
	}
	if a.has("bcc") {
		m.message.BCC = strings.Split(a["bcc"], ",")
	}
	p.messages[m.name] = m
	return m
}

// spread makes a copy of a message in each queue that it may come to.
func (s *sending) spread(m *wmessage) {
	r := s.p.routeOf(m, s.exchange, slices.Concat([]string{m.key}, m.message.CC, m.message.BCC))
	s.nowhere = s.nowhere || m.message.Mandatory && r.maybeEmpty()
	s.lost = s.lost || m.message.Mandatory && r.surelyEmpty()
	for _, q := range s.p.queues { // in an order
		if sure, ok := r.queues[q]; ok {
			s.copy(m, q).sure = sure
		}
	}
	for _, list := range r.choices {
		choice := &wchoice{none: r.blurred}
		for _, q := range list {
			if _, ok := r.queues[q]; ok {
				choice.none = true
				continue
			}
			x := s.copy(m, q)
			x.choice = choice
			choice.copies = append(choice.copies, x)
		}
	}
	if len(r.choices) > 1 { // they may choose the same one
		for _, x := range m.copies {
			if x.choice != nil {
				x.choice.none = true
			}
		}
	}
}

func (s *sending) copy(m *wmessage, q *wqueue) *wcopy {
	x := q.newCopy(m, m.begun)
	if x.delayed = m.message.Delay > 0; x.delayed {
		x.due = m.sent.in(m.message.Delay)
	}
	x.setExpiry(m.message.TTL, x.from())
	if !x.delayed {
		x.batch = m.batch
	}
	s.twins[x] = q.twins(m)
	if m.message.MessageID != m.name || m.message.UniqueKey != "" {
		q.deduped = append(q.deduped, x)
	}
	return x
}

// from is when the time to live of a copy begins.
func (x *wcopy) from() moment {
	if x.delayed {
		return x.due
	}
	return x.m.sent
}

// targets counts the copies that may come to each queue.
func (s *sending) targets() map[*wqueue]int {
	count := make(map[*wqueue]int)
	for _, m := range s.messages {
		for _, x := range m.copies {
			count[x.q]++
		}
	}
	return count
}

// measure finds out whether a queue may be too full, and whether it surely is.
func (s *sending) measure(q *wqueue, more int) {
	limit := q.config.MaxLength
	if !q.mayRefuse() {
		return
	}
	now := wall()
	n := 0
	for _, x := range q.copies {
		if x.mayBeHere {
			n++
		}
	}
	s.refusal = s.refusal || n > limit || q.fed // these are among them already
	if n = 0; !q.refuses() {
		return
	}
	for _, x := range q.copies {
		if x.surelyReady(now) {
			n++
		}
	}
	s.full = s.full || n >= limit && len(q.open) == 0 && len(s.messages) == 1 && !s.special() && s.surelyMeets(q)
}

// surelyMeets reports that the first message surely comes to a queue, where it is ready at once.
func (s *sending) surelyMeets(q *wqueue) bool {
	return slices.ContainsFunc(s.messages[0].copies, func(x *wcopy) bool { return x.q == q && x.sure && !x.delayed })
}

// use notes the call in all queues that it may change.
func (s *sending) use() func(outcome) (quiet bool) {
	var ends []func(outcome) bool
	for q := range s.targets() {
		ends = append(ends, q.use())
	}
	return func(o outcome) bool {
		quiet := true
		for _, end := range ends {
			quiet = end(o) && quiet
		}
		return quiet
	}
}

// judge compares the outcome with what is known.
func (s *sending) judge(c *client, o outcome, quiet bool) {
	what := fmt.Sprintf("publish %s to %q", s.messages[0].name, s.exchange)
	moved := s.version != s.p.version
	switch {
	case lost(o.err, workqueue.ErrUnroutable) && (s.nowhere || moved || s.special()):
	case lost(o.err, workqueue.ErrQueueFull) && (s.refusal || moved || !quiet):
	case lost(o.err, workqueue.ErrUnknownQueue) && s.exchange == "" && (moved || s.maybeUnknown()):
	case lost(o.err, workqueue.ErrUnknownExchange) && (moved || s.p.exchangeNamed(s.exchange) == nil || s.p.exchangeNamed(s.exchange).unsure):
	case o.done() && s.lost && !moved && !s.special(): // another one may have been accepted before
		c.fail("%s: a mandatory message that leads nowhere is accepted", what)
	case o.done() && s.full && !moved && quiet:
		c.fail("%s: accepted by a queue that is full", what)
	default:
		c.expects(o, what)
	}
}

func (s *sending) maybeUnknown() bool {
	q := s.p.queueNamed(s.messages[0].key)
	return q == nil || q.mayBeGone
}

// conclude notes what has become of the messages.
func (s *sending) conclude(c *client, o outcome, quiet bool) {
	if o.other && !o.refused() {
		return
	}
	if s.special() && !quiet {
		s.blur()
	}
	if s.version != s.p.version && o.done() {
		s.blur()
	}
	for _, m := range s.messages {
		m.sent.last, m.moved = o.to, s.version != s.p.version
		for _, x := range m.copies {
			if x.born != nil {
				continue
			}
			if o.refused() {
				x.fate = gone
				continue
			}
			if x.delayed {
				x.due = m.sent.in(m.message.Delay)
			}
			x.setExpiry(m.message.TTL, x.from())
			if o.done() {
				s.acknowledge(c, o, x)
			}
		}
		if o.done() {
			m.ended = c.event()
		}
	}
}

// special reports that other messages may keep these out.
func (s *sending) special() bool {
	m := s.messages[0]
	return m.message.MessageID != m.name || m.message.UniqueKey != ""
}

// blur notes that the topology was another one when the messages were published, perhaps.
func (s *sending) blur() {
	for _, m := range s.messages {
		for _, x := range m.copies {
			x.sure = false
			if x.choice != nil {
				x.choice.none = true
			}
		}
	}
}

// acknowledge notes that a copy is in its queue, unless something there has kept it out.
func (s *sending) acknowledge(c *client, o outcome, x *wcopy) {
	x.place.ended, x.ready.ended = c.event(), c.event()
	if x.delayed {
		x.place.ended, x.ready.ended = 0, 0
	}
	if !c.syncs(true) {
		c.lose(x.forget)
	}
	if x.touched || x.fate != unknown {
		return
	}
	sure := x.sure
	for _, t := range s.twins[x] {
		switch {
		case t.excludes(x, o):
			x.fate = gone
			return
		case t.mayExclude(c, x, o):
			sure = false
		}
	}
	if s.exchange != "" && s.p.exchangeNamed(s.exchange) != nil && s.p.exchangeNamed(s.exchange).config.DedupeWindow > 0 && x.m.message.MessageID != x.m.name {
		sure = false
	}
	if x.q.refuses() && s.version != s.p.version {
		sure = false
	}
	if sure {
		x.mayBeGone = false
	}
}

// twins returns the copies that may keep a message out of a queue.
func (q *wqueue) twins(m *wmessage) (list []*wcopy) {
	for _, x := range q.deduped {
		if x.m.message.MessageID == m.message.MessageID && q.config.DedupeWindow > 0 || x.mayBeHere && x.m.message.UniqueKey != "" && x.m.message.UniqueKey == m.message.UniqueKey {
			list = append(list, x)
		}
	}
	return list
}

// mayExclude reports that a message may keep another one out that has its id or its unique key.
func (x *wcopy) mayExclude(c *client, o *wcopy, call outcome) bool {
	window := x.q.config.DedupeWindow
	if window > 0 && x.m.message.MessageID == o.m.message.MessageID && (c.windowsLag() || !call.from.Add(-window).After(x.m.sent.last)) {
		return true
	}
	return x.m.message.UniqueKey != "" && x.m.message.UniqueKey == o.m.message.UniqueKey
}

// excludes reports that it must.
func (x *wcopy) excludes(o *wcopy, call outcome) bool {
	if x.fate != here || x.m.ended == 0 || x.m.ended >= o.m.begun || x.mayDie(call.to) {
		return false
	}
	window := x.q.config.DedupeWindow
	if window > 0 && x.m.message.MessageID == o.m.message.MessageID && latest(call.to).Before(x.m.sent.first.Add(window)) {
		return true
	}
	return x.m.message.UniqueKey != "" && x.m.message.UniqueKey == o.m.message.UniqueKey
}

// judgeDuplicates complains about duplicates of nothing.
func (s *sending) judgeDuplicates(c *client, published workqueue.Published) {
	m := s.messages[0]
	for _, d := range published.Duplicates {
		if m.message.UniqueKey == "" || !slices.ContainsFunc(m.copies, func(x *wcopy) bool { return x.q.name == d.Queue }) {
			c.fail("%s is a duplicate in %s, which had none with its key", m.name, d.Queue)
		}
	}
}

// judgePublished compares what PublishAsync tells with what is known.
func (s *sending) judgePublished(c *client, published workqueue.Published) {
	m := s.messages[0]
	least, most := 0, 0
	for _, x := range m.copies {
		if x.born != nil {
			continue
		}
		if most++; x.sure {
			least++
		}
		if x.choice != nil && !x.choice.none && x == x.choice.copies[0] {
			least++
		}
	}
	if published.Routed < least || published.Routed > most {
		c.fail("%s leads to %d queues, not %d to %d", m.name, published.Routed, least, most)
	}
}
