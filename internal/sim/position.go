package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// pageSize is how many messages a page of Browse has here.
const pageSize = 3

// glance is what two ways of looking at one queue have shown.
type glance struct {
	whole, paged []string // messages, in order
	faults       []string
}

// judge complains about looks that differ, although nothing happened between them.
func (g *glance) judge(c *client, queue string) {
	for _, text := range g.faults {
		c.fail("%s: %s", queue, text)
	}
	if a, b := fmt.Sprint(g.whole), fmt.Sprint(g.paged); a != b {
		c.fail("%s shows %s, and by pages %s", queue, a, b)
	}
}

func (g *glance) note(format string, values ...any) {
	g.faults = append(g.faults, fmt.Sprintf(format, values...))
}

// glance looks at a visibility queue by pages, by positions and by names.
func (p *visibilityPart) glance(c *client, a args) {
	q := p.named(a["queue"])
	if q == nil {
		return
	}
	calls, busy, began, handle := q.calls, c.busy, wall(), q.q
	g := new(glance)
	o := c.call(func(ctx context.Context) error {
		var all []*visibility.Browsed
		for b, err := range handle.Browse(ctx, nil) {
			if err != nil {
				return err
			}
			all = append(all, b)
			g.whole = append(g.whole, b.ID+" "+string(b.State))
		}
		for after := visibility.Position(""); ; {
			n := 0
			for b, err := range handle.Browse(ctx, &visibility.BrowseOptions{After: after}) {
				if err != nil {
					return err
				}
				g.paged = append(g.paged, b.ID+" "+string(b.State))
				if after, n = b.Position, n+1; n == pageSize {
					break
				}
			}
			if n < pageSize {
				break
			}
		}
		for _, b := range all[:min(len(all), 10)] {
			is, err := handle.Peek(ctx, b.Position)
			if err != nil && !errors.Is(err, visibility.ErrUnknownMessage) {
				return err
			}
			if err != nil || is.ID != b.ID || is.State != b.State || is.ReceiveCount != b.ReceiveCount {
				g.note("%s is not at its position: %v", b.ID, err)
			}
			if is, err = handle.Find(ctx, b.ID); err != nil && !errors.Is(err, visibility.ErrUnknownMessage) {
				return err
			}
			if err != nil || is.ID != b.ID {
				g.note("%s is not found: %v", b.ID, err)
			}
		}
		if _, err := handle.Find(ctx, "nobody"); !errors.Is(err, visibility.ErrUnknownMessage) {
			return err
		}
		info, err := handle.Info(ctx)
		if err == nil && info.Name != q.name {
			g.note("its name is %s", info.Name)
		}
		return err
	})
	if c.expects(o, "glance at "+q.name, q.deleted()); o.done() && q.calls == calls && q.under == 0 && busy == 1 && wall().Equal(began) && c.disk.isWell() && !q.fallsDue(began) {
		g.judge(c, q.name)
	}
}

// glance looks at a work queue by pages and by positions.
func (p *workqueuePart) glance(c *client, a args) {
	q := p.usable(a["queue"])
	if q == nil {
		return
	}
	calls, busy, began, handle := q.calls, c.busy, wall(), q.q
	g := new(glance)
	o := c.call(func(ctx context.Context) error {
		var all []*workqueue.Browsed
		for b, err := range handle.Browse(ctx, nil) {
			if err != nil {
				return err
			}
			all = append(all, b)
			g.whole = append(g.whole, b.MessageID+" "+string(b.State))
		}
		for after := workqueue.Position(""); ; {
			n := 0
			for b, err := range handle.Browse(ctx, &workqueue.BrowseOptions{After: after}) {
				if err != nil {
					return err
				}
				g.paged = append(g.paged, b.MessageID+" "+string(b.State))
				if after, n = b.Position, n+1; n == pageSize {
					break
				}
			}
			if n < pageSize {
				break
			}
		}
		for _, b := range all[:min(len(all), 10)] {
			is, err := handle.Peek(ctx, b.Position)
			if err != nil && !errors.Is(err, workqueue.ErrUnknownMessage) {
				return err
			}
			if err != nil || is.MessageID != b.MessageID || is.State != b.State || is.DeliveryCount != b.DeliveryCount {
				g.note("%s is not at its position: %v", b.MessageID, err)
			}
		}
		return nil
	})
	if c.expects(o, "glance at "+q.name, workqueue.ErrQueueDeleted); o.done() && q.calls == calls && q.under == 0 && busy == 1 && len(q.open) == 0 && !q.fed && wall().Equal(began) && c.disk.isWell() {
		g.judge(c, q.name)
	}
}
