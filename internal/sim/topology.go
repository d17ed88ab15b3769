package main

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// topologyVerbs are about all objects of the broker together.
func (p *workqueuePart) topologyVerbs() []*verb {
	return []*verb{
		form("glance at work queue {queue}", 3, p.drawQueue, p.glance),
		form("let work queue {queue} expire after {span} [ensured]", 2, p.drawExpire, p.expireAfter),
		form("ensure exchange {exchange}", 1, p.drawEnsure, p.ensureExchange),
		form("export the topology and apply it [dry]", 3, p.drawTopology, p.applyTopology),
		form("list the objects of the broker", 3, p.drawTopology, p.listTopology),
	}
}

func (p *workqueuePart) drawTopology() args {
	if p.broker == nil {
		return nil
	}
	a := args{}
	if p.w.chance(2) {
		a["dry"] = "yes"
	}
	return a
}

// applyTopology exports what there is, writes it as JSON, reads that and applies it: nothing is to be
// done.
func (p *workqueuePart) applyTopology(c *client, a args) {
	if p.broker == nil {
		return
	}
	b, version := p.broker, p.version
	var read, exported *workqueue.Topology
	var applied *workqueue.Applied
	dry := a.has("dry") || !p.certain()
	defer p.apply(dry)()
	o := c.surely().call(func(ctx context.Context) (err error) {
		if exported, err = b.Export(ctx); err != nil {
			return err
		}
		text, err := json.Marshal(exported)
		if err != nil {
			return err
		}
		if read, err = workqueue.ParseTopology(text); err != nil {
			return err
		}
		applied, err = b.Apply(ctx, read, &workqueue.ApplyOptions{DryRun: dry})
		return err
	})
	quiet := p.version == version && p.certain()
	if !quiet { // what was deleted meanwhile is made again, or cannot be
		p.changes()
		c.expects(o, "apply the topology", workqueue.ErrUnknownQueue, workqueue.ErrUnknownExchange)
		p.rediscover(exported)
		return
	}
	if c.expects(o, "apply the topology"); !o.done() {
		return
	}
	if !reflect.DeepEqual(read, exported) {
		c.fail("the topology is another one after JSON: %+v, not %+v", read, exported)
	}
	for name, is := range applied.Queues {
		if !is.Unchanged() {
			c.fail("%s is changed by its own export: %+v", name, is)
		}
	}
	for name, is := range applied.Exchanges {
		if !is.Unchanged() {
			c.fail("%s is changed by its own export: %+v", name, is)
		}
	}
	if len(applied.Bindings) > 0 {
		c.fail("bindings are made that were exported: %v", applied.Bindings)
	}
	p.judgeTopology(c, exported)
}

// apply notes that a topology is being applied; the function that it returns ends that.
func (p *workqueuePart) apply(dry bool) (end func()) {
	life := p.w.life
	if dry {
		return func() {}
	}
	p.applying++
	return func() {
		if life == p.w.life {
			p.applying--
		}
	}
}

// certain reports that no call is under way that may change the topology.
func (p *workqueuePart) certain() bool {
	for _, b := range p.bindings {
		if b.under > 0 {
			return false
		}
	}
	for _, q := range p.queues {
		if q.fate != here && !q.implicit || q.altering {
			return false
		}
	}
	return !slices.ContainsFunc(p.exchanges, func(x *wexchange) bool { return x.unsure })
}

// rediscover notes that what was exported may be there again.
func (p *workqueuePart) rediscover(exported *workqueue.Topology) {
	if exported == nil {
		return
	}
	for _, b := range p.bindings {
		if b.fate == gone {
			b.fate = unknown
		}
	}
}

// withoutExpires leaves out what a call whose outcome nobody knows may have changed.
func withoutExpires(config workqueue.QueueConfig) workqueue.QueueConfig {
	config.Expires = 0
	return config
}

// judgeTopology compares what was exported with what is known.
func (p *workqueuePart) judgeTopology(c *client, exported *workqueue.Topology) {
	names := make(map[string]bool)
	for _, d := range exported.Queues {
		names[d.Name] = true
		q := p.queueNamed(d.Name)
		switch {
		case q == nil:
			if !p.mayBeBack(d.Name) {
				c.fail("the topology has the queue %s, which is not there", d.Name)
			}
		case q.q != nil && !reflect.DeepEqual(withoutExpires(d.QueueConfig), withoutExpires(q.config)):
			c.fail("the topology has %s as %+v, not %+v", d.Name, d.QueueConfig, q.config)
		}
	}
	for _, d := range exported.Exchanges {
		names[d.Name] = true
		if x := p.exchangeNamed(d.Name); x != nil && x.kind != d.Kind { // one whose outcome nobody knows was given up
			c.fail("the topology has the exchange %s as %s", d.Name, d.Kind)
		}
	}
	for _, q := range p.queues {
		if q.fate == here && !names[q.name] {
			c.fail("the topology lacks %s", q.name)
		}
	}
	for _, x := range p.exchanges {
		if !names[x.name] {
			c.fail("the topology lacks %s", x.name)
		}
	}
	p.judgeBindings(c, exported.Bindings)
}

// mayBeBack reports that a queue was given up that may be there.
func (p *workqueuePart) mayBeBack(name string) bool {
	return slices.ContainsFunc(p.ghosts, func(q *wqueue) bool { return q.name == name && q.doubtful })
}

// judgeBindings compares the bindings that are shown with those that are known.
func (p *workqueuePart) judgeBindings(c *client, shown []workqueue.Binding) {
	for _, b := range p.bindings {
		is := slices.ContainsFunc(shown, func(s workqueue.Binding) bool { return sameBinding(s, b.toLibrary(p)) })
		switch {
		case is && b.fate == gone:
			c.fail("%s is bound to %s with %q, and was unbound", b.target, b.exchange, b.key)
		case !is && b.fate == here && !p.mayBeDeleted(b.target):
			c.fail("%s is not bound to %s with %q", b.target, b.exchange, b.key)
		}
	}
}

func sameBinding(a, b workqueue.Binding) bool {
	return a.Exchange == b.Exchange && a.Queue == b.Queue && a.ToExchange == b.ToExchange && a.Key == b.Key &&
		(len(a.Arguments) == 0 && len(b.Arguments) == 0 || reflect.DeepEqual(a.Arguments, b.Arguments))
}

// listTopology lists all objects one by one.
func (p *workqueuePart) listTopology(c *client, _ args) {
	if p.broker == nil {
		return
	}
	b, version := p.broker, p.version
	var info workqueue.BrokerInfo
	var bindings []workqueue.Binding
	var queues []workqueue.QueueInfo
	var exchanges []workqueue.ExchangeInfo
	o := c.call(func(ctx context.Context) (err error) {
		if info, err = b.Info(ctx); err != nil {
			return err
		}
		if bindings, err = b.Bindings(ctx); err != nil {
			return err
		}
		if queues, err = b.Queues(ctx); err != nil {
			return err
		}
		exchanges, err = b.Exchanges(ctx)
		return err
	})
	if c.expects(o, "list the objects of the broker"); !o.done() || p.version != version || !p.certain() {
		return
	}
	if info.Queues != len(queues) && !slices.ContainsFunc(p.queues, func(q *wqueue) bool { return q.implicit }) {
		c.fail("the broker counts %d queues, and lists %d", info.Queues, len(queues))
	}
	if info.Exchanges > len(exchanges) || len(exchanges) < len(p.exchanges) {
		c.fail("the broker counts %d exchanges, and lists %d: there are %d", info.Exchanges, len(exchanges), len(p.exchanges))
	}
	p.judgeBindings(c, bindings)
	for _, i := range queues {
		if q := p.queueNamed(i.Name); q == nil && !p.mayBeBack(i.Name) {
			c.fail("the queue %s is listed and not there", i.Name)
		} else if i.Err != nil {
			c.fail("%s: %v", i.Name, i.Err)
		}
	}
}

// drawExpire draws a time that no world lasts.
func (p *workqueuePart) drawExpire() args {
	a := p.drawQueueThat(func(q *wqueue) bool { return !q.implicit })
	if a == nil {
		return nil
	}
	if a["span"] = oneOf(p.w, "50000h", "80000h"); p.w.chance(2) {
		a["ensured"] = "yes"
	}
	return a
}

// expireAfter alters a queue in a way that changes nothing else.
func (p *workqueuePart) expireAfter(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil || q.altering || p.applying > 0 || a.has("ensured") && !p.certain() {
		return
	}
	q.altering = true
	defer func() { q.altering = false }()
	defer p.apply(!a.has("ensured"))()
	p.changes()
	next := q.config
	next.Expires = a.span("span")
	b, handle := p.broker, q.q
	var is pebblemq.Ensured
	o := c.surely().call(func(ctx context.Context) (err error) {
		if a.has("ensured") {
			_, is, err = b.EnsureQueue(ctx, q.name, &next)
			return err
		}
		return handle.Alter(ctx, &next)
	})
	p.changes()
	if q.mayBeGone || q.fate == gone {
		c.expects(o, "alter "+q.name, workqueue.ErrQueueDeleted, workqueue.ErrUnknownQueue, workqueue.ErrUnknownExchange)
		return
	}
	var lacking []error
	if next.DeadLetter != nil { // it must lead to what is there
		lacking = []error{workqueue.ErrUnknownQueue, workqueue.ErrUnknownExchange}
	}
	if c.expects(o, "alter "+q.name, append(lacking, workqueue.ErrQueueDeleted)...); !o.done() {
		return // nobody knows which of the two it has, now and after a while
	}
	if q.config = next; a.has("ensured") && is.Created {
		c.fail("%s is altered, and EnsureQueue says: %+v", q.name, is)
	}
	var info workqueue.QueueInfo
	o = c.call(func(ctx context.Context) (err error) {
		info, err = handle.Info(ctx)
		return err
	})
	if c.expects(o, "info of "+q.name, workqueue.ErrQueueDeleted); o.done() && !reflect.DeepEqual(info.Config, next) {
		c.fail("%s has config %+v, not %+v", q.name, info.Config, next)
	}
}

func (p *workqueuePart) drawEnsure() args {
	if len(p.exchanges) == 0 {
		return nil
	}
	return args{"exchange": oneOf(p.w, p.exchanges...).name}
}

// ensureExchange alters an exchange to what it is.
func (p *workqueuePart) ensureExchange(c *client, a args) {
	x := p.exchangeNamed(a["exchange"])
	if x == nil || x.unsure || p.broker == nil || !p.certain() {
		return
	}
	defer p.apply(false)()
	b, version := p.broker, p.version
	var is pebblemq.Ensured
	o := c.surely().call(func(ctx context.Context) (err error) {
		if err = b.AlterExchange(ctx, x.name, &x.config); err == nil {
			is, err = b.EnsureExchange(ctx, x.name, x.kind, &x.config)
		}
		return err
	})
	quiet := p.version == version && !x.unsure
	if !quiet { // it may have been deleted, and be there again
		p.changes()
		c.expects(o, "ensure "+x.name, workqueue.ErrUnknownExchange)
		if x.unsure = true; o.done() && p.exchangeNamed(x.name) == x {
			x.unsure = false
		}
		return
	}
	var lacking []error
	if x.config.Alternate != "" {
		lacking = append(lacking, workqueue.ErrUnknownExchange)
	}
	if c.expects(o, "ensure "+x.name, lacking...); o.done() && !is.Unchanged() {
		c.fail("%s is altered to what it is: %+v", x.name, is)
	}
}
