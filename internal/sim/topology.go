package main

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/pebblemq/pebblemq/workqueue"
)

// topologyVerbs are about all objects of the broker together.
func (p *workqueuePart) topologyVerbs() []*verb {
	return []*verb{
		form("glance at work queue {queue}", 3, p.drawQueue, p.glance),
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
		applied, err = b.Apply(ctx, read, &workqueue.ApplyOptions{DryRun: a.has("dry")})
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

// certain reports that no call is under way that may change the topology.
func (p *workqueuePart) certain() bool {
	for _, b := range p.bindings {
		if b.under > 0 {
			return false
		}
	}
	for _, q := range p.queues {
		if q.fate != here && !q.implicit {
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
		case q.q != nil && !reflect.DeepEqual(d.QueueConfig, q.config):
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
