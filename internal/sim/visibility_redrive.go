package main

import (
	"context"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
)

func (p *visibilityPart) drawRedrive() args {
	w, a := p.w, p.drawQueue()
	if a == nil {
		return nil
	}
	q := p.named(a["queue"])
	if !p.isDead(q) && !w.chance(4) {
		return nil
	}
	if w.chance(3) {
		a["to"] = oneOf(w, p.queues...).name
	}
	if w.chance(3) {
		a["rate"] = oneOf(w, "1", "10", "1000")
	}
	if w.chance(5) {
		a["cancel"] = oneOf(w, "0s", "1s", "10s")
	}
	w.drawFilter(a)
	return a
}

// redrive moves the messages that are visible in a queue, and waits until that has ended.
func (p *visibilityPart) redrive(c *client, a args) {
	q, to := p.named(a["queue"]), p.named(a["to"])
	if q == nil || a.has("to") && (to == nil || to == q || to.config.FIFO != q.config.FIFO) {
		return
	}
	ready := len(p.ready(q, wall()))
	end, filter := p.useAll(q), p.w.filterOf(a)
	var r *visibility.Redrive
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		options := &visibility.RedriveOptions{To: a["to"], Rate: float64(a.int("rate"))}
		if filter != nil {
			options.Filter = func(b *visibility.Browsed) bool { return filter(b.ID) }
		}
		r, err = queue.Redrive(ctx, options)
		return err
	})
	c.expects(o, "redrive "+q.name, q.deleted(), to.deleted(), to.unknown(), visibility.ErrRedriveRunning)
	if o.done() {
		if p.watch(c, q, r, a); r.Info().State == visibility.RedriveRunning && c.born == c.life { // the client does not wait any longer
			p.follow(p.w.client(nil), q)
		}
		if info := r.Info(); end() && !q.config.FIFO && info.State == visibility.RedriveCompleted && int(info.Moved+info.Skipped+info.Failed) < ready {
			const text = "a redrive of %s passed %d messages, and %d were visible: %+v"
			c.fail(text, q.name, info.Moved+info.Skipped+info.Failed, ready, info)
		}
		return
	}
	if end(); o.unclear() && c.born == c.life { // it may begin later
		q.moving++
	}
}

// watch waits for the end of a redrive.
func (p *visibilityPart) watch(c *client, q *vqueue, r *visibility.Redrive, a args) {
	if a.has("cancel") {
		c.mu.Unlock()
		time.Sleep(a.span("cancel"))
		c.mu.Lock()
		o := c.call(r.Cancel)
		c.expects(o, "cancel the redrive of "+q.name, q.deleted())
	}
	o := c.call(func(ctx context.Context) error {
		_, err := r.Wait(ctx)
		return err
	})
	c.tellCall("redrive of %s: %+v, error %v", q.name, r.Info(), o.err)
	c.expects(o, "wait for the redrive of "+q.name, q.deleted())
}

// useAll notes that the messages of a queue may go to any other one of its kind.
func (p *visibilityPart) useAll(q *vqueue) (end func() bool) {
	q.moving++
	life := p.w.life
	p.scatter(q)
	var ends []func() bool
	for _, other := range p.queues {
		if other.config.FIFO == q.config.FIFO {
			ends = append(ends, other.use())
		}
	}
	return func() bool {
		if life == p.w.life {
			q.moving--
		}
		p.scatter(q)
		quiet := true
		for _, end := range ends {
			quiet = end() && quiet
		}
		return quiet
	}
}

// scatter notes that the messages that may be in a queue may be in any other one of its kind.
func (p *visibilityPart) scatter(q *vqueue) {
	for _, from := range p.queues {
		for _, m := range from.messages {
			if !m.mayBeHere || !m.mayBeIn(q, someday) {
				continue
			}
			p.mayGoAnywhere(m, q)
			m.died, m.changed = true, p.w.event()
			m.blur(m.free.last)
		}
	}
}

// mayGoAnywhere notes that a message may be in any queue of a kind.
func (p *visibilityPart) mayGoAnywhere(m *vmessage, q *vqueue) {
	for _, to := range p.queues {
		if to.config.FIFO == q.config.FIFO && !slices.Contains(m.others, to) {
			m.others = append(m.others, to)
		}
	}
}

// follow waits for the redrive that goes on in a new life.
func (p *visibilityPart) follow(c *client, q *vqueue) {
	var list []*visibility.Redrive
	o := callWith(c, q.q, func(ctx context.Context, queue *visibility.Queue) (err error) {
		list, err = queue.Redrives(ctx)
		return err
	})
	if c.expects(o, "list the redrives of "+q.name); len(list) == 0 || list[0].Info().State != visibility.RedriveRunning {
		return
	}
	w := p.w
	w.busy++
	end := p.useAll(q)
	go func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		defer func() { w.busy-- }()
		defer end()
		p.watch(w.client(nil), q, list[0], nil)
	}()
}
