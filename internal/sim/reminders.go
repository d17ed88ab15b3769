package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// remindersPart sees that what falls due is there at that moment for whoever waits: a client sends
// a message that is delayed and waits for it.
type remindersPart struct {
	w    *world
	sent int
	busy bool // one waits at a time
}

func newRemindersPart(w *world) *remindersPart { return &remindersPart{w: w} }

func (p *remindersPart) verbs() []*verb {
	return []*verb{{
		phrase: parsePhrase("be reminded in {span}"), weight: 4, do: p.remind,
		draw: func() args { return args{"span": oneOf(p.w, "1ms", "250ms", "1s700ms", "10s300ms", "1m1s")} },
	}}
}

func (p *remindersPart) opened(*client) {}
func (p *remindersPart) check(*client)  {}
func (p *remindersPart) settle(*client) {}

// slack is how late a message that is due may come on a disk that is well, if its fsync takes no time. Else it may
// wait for some of them.
const (
	slack      = 500 * time.Millisecond
	slackSyncs = 30
)

func (p *remindersPart) remind(c *client, a args) {
	if p.busy || !c.disk.isWell() {
		return
	}
	p.busy = true
	defer func() { p.busy = false }()
	p.sent++
	id := fmt.Sprintf("r%d", p.sent)
	var q *visibility.Queue
	o := c.call(func(ctx context.Context) (err error) {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		if q, err = visibility.OpenQueue(ctx, c.db, "reminders", nil); err == nil {
			_, err = q.Send(ctx, visibility.Message{ID: id, Delay: a.span("span")})
		}
		return err
	})
	if c.expects(o, "send a reminder"); !o.done() {
		return
	}
	due := o.to.Add(a.span("span"))
	for {
		var found []*visibility.Received
		o = c.call(func(ctx context.Context) (err error) {
			found, err = q.Receive(ctx, &visibility.ReceiveOptions{Wait: 10 * time.Minute})
			for _, r := range found {
				_ = q.Delete(ctx, r.Receipt) // or it comes again
			}
			return err
		})
		c.expects(o, "wait for a reminder")
		switch {
		case !o.done() || !c.disk.isWell() || c.disk.wellSince.After(due):
			return
		case o.to.Sub(due) > slack+slackSyncs*c.disk.slowSince(due):
			c.fail("%s is %s late", id, o.to.Sub(due))
			return
		case len(found) == 1 && found[0].ID == id:
			return
		}
	}
}
