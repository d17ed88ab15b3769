package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func (p *workqueuePart) drawDeclare() args {
	w := p.w
	if len(p.queues) > 12 {
		return nil
	}
	p.drawn++
	a := args{"queue": fmt.Sprintf("q%d", p.drawn)}
	sometimes := func(feature, key string, values ...string) {
		if w.likes(feature) && w.chance(2) {
			a[key] = oneOf(w, values...)
		}
	}
	sometimes("delivery limits", "limit", "1", "2", "3", "-1")
	sometimes("times to live", "ttl", "1s", "1m", "1h")
	sometimes("limits of length", "length", "1", "4", "20", "200")
	if a.has("length") {
		sometimes("overflows", "overflow", "drop-lowest", "reject-publish", "reject-dead-letter")
		sometimes("totals", "total", "yes")
	}
	sometimes("work priorities", "priorities", "1", "5", "255")
	sometimes("ack timeouts", "patience", "10s", "1m")
	sometimes("retries", "retry", "1s", "1m")
	sometimes("windows", "window", "10s", "5m")
	sometimes("single", "single", "yes")
	p.drawDead(a)
	return a
}

// drawDead draws a place for dead letters.
func (p *workqueuePart) drawDead(a args) {
	w := p.w
	switch q := p.drawQueue(); {
	case !w.likes("dead letters") || w.chance(2):
	case q != nil && w.chance(2):
		a["dead"] = q["queue"]
	case len(p.exchanges) > 0 && w.chance(2):
		a["deadto"] = oneOf(w, p.exchanges...).name
	case w.chance(3):
		a["dropping"] = "yes"
	}
}

// configOf is the config of a step; ok is false if something that it names is missing.
func (p *workqueuePart) configOf(a args) (c workqueue.QueueConfig, ok bool) {
	c = workqueue.QueueConfig{
		DeliveryLimit: a.int("limit"), MessageTTL: a.span("ttl"), MaxLength: a.int("length"), LimitTotal: a.has("total"),
		Overflow: workqueue.Overflow(a["overflow"]), MaxPriority: uint8(a.int("priorities")), AckTimeout: a.span("patience"),
		DedupeWindow: a.span("window"), SingleActive: a.has("single"), DropDead: a.has("dropping"),
	}
	if a.has("retry") {
		c.Retry = &pebblemq.Backoff{Min: a.span("retry"), Max: 5 * a.span("retry"), Jitter: pebblemq.NoJitter}
	}
	switch {
	case a.has("dead"):
		q := p.usable(a["dead"])
		if q == nil || q.fate != here {
			return c, false
		}
		c.DeadLetter = &workqueue.DeadLetter{Key: a["dead"]}
	case a.has("deadto"):
		if p.exchangeNamed(a["deadto"]) == nil {
			return c, false
		}
		c.DeadLetter = &workqueue.DeadLetter{Exchange: a["deadto"]}
	}
	return c, true
}

// surely makes a change of the topology durable whatever the step says.
func (c *client) surely() *client {
	c.sync = pebblemq.Default
	return c
}

func (p *workqueuePart) declare(c *client, a args) {
	config, ok := p.configOf(a)
	if !ok || p.queueNamed(a["queue"]) != nil || !p.openBroker(c.surely()) {
		return
	}
	q := &wqueue{name: a["queue"], fate: unknown, paused: gone, config: config}
	p.queues = append(p.queues, q)
	p.changes()
	var handle *workqueue.Queue
	o := callWith(c, p.broker, func(ctx context.Context, broker *workqueue.Broker) (err error) {
		handle, err = broker.DeclareQueue(ctx, q.name, &config)
		return err
	})
	c.expects(o, "declare "+q.name, workqueue.ErrUnknownQueue, workqueue.ErrUnknownExchange)
	p.changes()
	if !o.done() { // whether it is there is not known: the world goes on without it
		q.doubtful = true
		p.forgetQueue(q)
		return
	}
	q.q, q.fate = handle, here
	p.w.synced(o.began)
	p.learnConfig(c, q)
	if p.feed(q.config.DeadLetter); config.DeadLetter == nil && !config.DropDead {
		p.queues = append(p.queues, &wqueue{
			name: q.name + ".dead", fate: unknown, paused: gone, implicit: true, fed: true,
			config: workqueue.QueueConfig{MessageTTL: workqueue.DeadRetention},
		})
	}
}

// learnConfig reads the config of a queue with its defaults.
func (p *workqueuePart) learnConfig(c *client, q *wqueue) {
	if q.config.DeliveryLimit == 0 {
		q.config.DeliveryLimit = workqueue.DefaultDeliveryLimit
	}
	if q.config.AckTimeout == 0 {
		q.config.AckTimeout = workqueue.DefaultAckTimeout
	}
	p.lookUp(c, q)
}

// feed notes that a place gets dead letters at any time.
func (p *workqueuePart) feed(place *workqueue.DeadLetter) {
	if place == nil {
		return
	}
	for _, q := range p.queues {
		q.fed = q.fed || place.Exchange != "" || q.name == place.Key
	}
}

func (p *workqueuePart) drawExchange() args {
	w := p.w
	if len(p.exchanges) == 6 {
		return nil
	}
	p.drawn++
	a := args{
		"kind":     oneOf(w, "direct", "topic", "topic", "fanout", "headers", "hash", "random"),
		"exchange": fmt.Sprintf("x%d", p.drawn),
	}
	if w.likes("alternates") && w.chance(2) && len(p.exchanges) > 0 {
		a["alternate"] = oneOf(w, p.exchanges...).name
	}
	if w.likes("windows") && w.chance(3) {
		a["window"] = oneOf(w, "10s", "5m")
	}
	if a["kind"] == "hash" && w.chance(2) {
		a["header"] = "a"
	}
	return a
}

func (p *workqueuePart) declareExchange(c *client, a args) {
	if p.exchangeNamed(a["exchange"]) != nil || a.has("alternate") && p.exchangeNamed(a["alternate"]) == nil || !p.openBroker(c.surely()) {
		return
	}
	config := workqueue.ExchangeConfig{Alternate: a["alternate"], DedupeWindow: a.span("window"), HashHeader: a["header"]}
	x := &wexchange{name: a["exchange"], kind: workqueue.ExchangeKind(a["kind"]), config: config}
	o := callWith(c, p.broker, func(ctx context.Context, broker *workqueue.Broker) error {
		return broker.DeclareExchange(ctx, x.name, x.kind, &config)
	})
	c.expects(o, "declare "+x.name, workqueue.ErrUnknownExchange)
	if o.done() {
		p.exchanges = append(p.exchanges, x)
		p.changes()
		p.w.synced(o.began)
	}
}

// Words of routing keys and of patterns.
var (
	keyWords     = []string{"a", "a.b", "b.a", "a.b.c", "c", "a..b", "nothing"}
	patternWords = []string{"a", "a.b", "%", "*.b", "a.%", "%.c", "*.*", "a.%.c", "%.*.%", "nothing"}
	headerPairs  = []string{"a=1", "a=2", "b=1", "a=1,b=2", "x-c=1", "a=1,x-c=2"}
	argumentSets = []string{"x-match=all,a=1", "x-match=any,a=1,b=2", "a=*", "x-match=any-with-x,x-c=1,b=2", "x-match=all-with-x,a=1,x-c=2", "x-match=any", "b=1"}
)

// keyOf reads a key. The empty one is called nothing, because a step is made of words, and a % is
// a #, because that begins a comment.
func keyOf(text string) string {
	if text == "nothing" {
		return ""
	}
	return strings.ReplaceAll(text, "%", "#")
}

// textOf is the text of a key.
func textOf(key string) string {
	if key == "" {
		return "nothing"
	}
	return strings.ReplaceAll(key, "#", "%")
}

func (p *workqueuePart) drawBind() args {
	w := p.w
	q := p.drawQueueThat(func(q *wqueue) bool { return !q.implicit })
	if q == nil || len(p.exchanges) == 0 {
		return nil
	}
	x := oneOf(w, p.exchanges...)
	a := args{"target": q["queue"], "exchange": x.name}
	chooses := x.kind == workqueue.Hash || x.kind == workqueue.Random
	if w.likes("chains") && w.chance(4) && !chooses {
		a["target"] = oneOf(w, p.exchanges...).name
	}
	switch x.kind {
	case workqueue.Direct:
		a["key"] = oneOf(w, keyWords...)
	case workqueue.Topic:
		a["key"] = oneOf(w, patternWords...)
	case workqueue.Hash:
		a["key"] = oneOf(w, "1", "3", "100")
	case workqueue.Headers:
		a["arguments"] = oneOf(w, argumentSets...)
	}
	return a
}

// bindingOf is the binding of a step, nil if an end of it is missing.
func (p *workqueuePart) bindingOf(a args) *wbinding {
	x := p.exchangeNamed(a["exchange"])
	if x == nil || p.usable(a["target"]) == nil && p.exchangeNamed(a["target"]) == nil {
		return nil
	}
	if strings.HasPrefix(a["target"], "x") && (x.kind == workqueue.Hash || x.kind == workqueue.Random) || x.kind == workqueue.Hash && a.int("key") == 0 {
		return nil
	}
	return &wbinding{fate: unknown, exchange: x.name, target: a["target"], key: keyOf(a["key"]), arguments: parsePairs(a["arguments"])}
}

// bound returns a binding like another one, nil if there is none.
func (p *workqueuePart) bound(b *wbinding) *wbinding {
	for _, o := range p.bindings {
		if o.same(b) {
			return o
		}
	}
	return nil
}

// change makes a change of the topology, after which a binding is here or gone.
func (p *workqueuePart) change(c *client, b *wbinding, then fate, what string, f func(ctx context.Context, broker *workqueue.Broker, b workqueue.Binding) error, allowed ...error) {
	was := b.fate
	b.fate = unknown
	b.calls++
	b.under++
	mine, alone := b.calls, b.under == 1
	p.changes()
	binding := b.toLibrary(p)
	o := callWith(c.surely(), p.broker, func(ctx context.Context, broker *workqueue.Broker) error { return f(ctx, broker, binding) })
	p.changes()
	b.under--
	if !alone || b.calls != mine {
		allowed = append(allowed, workqueue.ErrUnknownBinding)
	}
	c.expects(o, what, append(allowed, workqueue.ErrUnknownQueue, workqueue.ErrUnknownExchange)...)
	switch {
	case !alone || b.calls != mine:
	case o.done():
		if b.fate = then; was != then && was != unknown { // else there may be nothing to write
			p.w.synced(o.began)
		}
	case o.refused():
		b.fate = was
	}
}

func (p *workqueuePart) bind(c *client, a args) {
	b := p.bindingOf(a)
	if b == nil || p.broker == nil {
		return
	}
	if o := p.bound(b); o != nil {
		b = o
	} else {
		b.fate = gone
		p.bindings = append(p.bindings, b)
	}
	p.change(c, b, here, "bind "+b.target, func(ctx context.Context, broker *workqueue.Broker, binding workqueue.Binding) error {
		return broker.Bind(ctx, binding)
	})
}

func (p *workqueuePart) drawUnbind() args {
	if len(p.bindings) == 0 {
		return nil
	}
	b := oneOf(p.w, p.bindings...)
	if len(b.arguments) > 0 { // a map has no order to print it in
		return nil
	}
	return args{"target": b.target, "exchange": b.exchange, "key": textOf(b.key)}
}

// mayBeDeleted reports that what a binding leads to may be gone, and the binding with it.
func (p *workqueuePart) mayBeDeleted(target string) bool {
	q, x := p.queueNamed(target), p.exchangeNamed(target)
	return q == nil && x == nil || q != nil && q.mayBeGone || x != nil && x.unsure
}

// mayBeDeletedNow is mayBeDeleted during a call, in which the world is not held.
func (p *workqueuePart) mayBeDeletedNow(target string) bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.mayBeDeleted(target)
}

func (p *workqueuePart) unbind(c *client, a args) {
	like := p.bindingOf(a)
	if like == nil || p.broker == nil || p.applying > 0 {
		return
	}
	b := p.bound(like)
	if b == nil {
		return
	}
	was := b.fate
	p.change(c, b, gone, "unbind "+b.target, func(ctx context.Context, broker *workqueue.Broker, binding workqueue.Binding) error {
		err := broker.Unbind(ctx, binding)
		if lost(err, workqueue.ErrUnknownBinding) && (was != here || p.mayBeDeletedNow(b.target)) {
			return nil
		}
		return err
	})
}

// dueAt is the moment at which a delay is over that begins within a call.
func dueAt(from, to time.Time, delay time.Duration) moment {
	return moment{from, to}.in(delay)
}
