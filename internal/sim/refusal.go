package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// refusalsPart asks for what must be refused. Nothing is ever stored by that, neither by the call itself nor by a
// transaction that it is in.
type refusalsPart struct {
	w    *world
	made bool
}

// office is the objects that refuse, of one life.
type office struct {
	db     *pebblemq.DB
	topic  *log.Topic
	lines  *visibility.Queue // with order in groups
	mail   *visibility.Queue
	broker *workqueue.Broker
	jobs   *workqueue.Queue
	keys   *idempotency.Namespace
}

// refusal is a call that is refused with an error.
type refusal struct {
	what string
	want error
	call func(ctx context.Context, x *office) error
}

// step is a part of a transaction.
type txStep struct {
	what string
	want error // nil if nothing is wrong with it
	add  func(tx *pebblemq.Tx, x *office) error
}

// officeName is that of all its objects.
const officeName = "office"

// nobody is the name of what there is not.
const nobody = "nobody"

func newRefusalsPart(w *world) *refusalsPart { return &refusalsPart{w: w} }

func (p *refusalsPart) verbs() []*verb {
	return []*verb{
		form("ask for what is refused", 2, p.draw, p.ask),
		form("do in a transaction what is refused", 2, p.draw, p.askTogether),
	}
}

func (p *refusalsPart) draw() args {
	if !p.w.likes("refusals") {
		return nil
	}
	return args{}
}

// open makes the objects, durably.
func (p *refusalsPart) open(c *client) (x *office) {
	x = &office{db: c.db}
	o := c.call(func(ctx context.Context) (err error) {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		if x.topic, err = log.OpenTopic(ctx, c.db, officeName, &log.TopicConfig{Partitions: 2, DedupeWindow: time.Minute, IndexKeys: true}); err != nil {
			return err
		}
		if x.lines, err = visibility.OpenQueue(ctx, c.db, officeName+".lines", &visibility.QueueConfig{FIFO: true, MaxPriority: 3}); err != nil {
			return err
		}
		if x.mail, err = visibility.OpenQueue(ctx, c.db, officeName, &visibility.QueueConfig{RequireBody: true, MaxAttributes: 1}); err != nil {
			return err
		}
		if x.broker, err = workqueue.OpenBroker(ctx, c.db, officeName); err != nil {
			return err
		}
		if x.jobs, err = x.broker.DeclareQueue(ctx, officeName, nil); err != nil {
			return err
		}
		x.keys, err = idempotency.OpenNamespace(ctx, c.db, officeName, nil)
		return err
	})
	if c.expects(o, "open the office"); !o.done() {
		return nil
	}
	p.made = true
	return x
}

// ask makes all calls that are refused, one after the other.
func (p *refusalsPart) ask(c *client, _ args) {
	x := p.open(c)
	if x == nil {
		return
	}
	for _, r := range refusals {
		o := c.call(func(ctx context.Context) error { return r.call(ctx, x) })
		if o.done() {
			c.fail("%s is accepted", r.what)
		}
		if c.expects(o, r.what, r.want); o.other || c.fault != "" {
			return
		}
	}
}

// askTogether makes a transaction of each operation that is refused, with others before it. It goes on as if it
// had not been, which does not help.
func (p *refusalsPart) askTogether(c *client, _ args) {
	x := p.open(c)
	if x == nil {
		return
	}
	for _, r := range refusedSteps {
		o := c.call(func(ctx context.Context) error {
			return c.db.Update(ctx, func(tx *pebblemq.Tx) error {
				for _, s := range soundSteps {
					if err := s.add(tx, x); err != nil {
						return fmt.Errorf("%s: %w", s.what, err)
					}
				}
				_ = r.add(tx, x)
				return nil
			})
		})
		if o.done() {
			c.fail("a transaction with %s is accepted", r.what)
		}
		if c.expects(o, r.what+" in a transaction", r.want); o.other || c.fault != "" {
			return
		}
	}
}

func (p *refusalsPart) opened(*client) {}
func (p *refusalsPart) check(*client)  {}

// settle sees that nothing was stored.
func (p *refusalsPart) settle(c *client) {
	if !p.made {
		return
	}
	x := p.open(c)
	if x == nil {
		return
	}
	var is []any
	o := c.call(func(ctx context.Context) error {
		end, err := p.stored(ctx, x)
		is = end
		return err
	})
	c.expects(o, "look into the office")
	for _, n := range is {
		if n != uint64(0) {
			c.fail("what was refused has left something: %v", is)
		}
	}
}

// stored counts what there is: records, messages, jobs, outcomes, keys.
func (p *refusalsPart) stored(ctx context.Context, x *office) ([]any, error) {
	var records, keys uint64
	for n := range 2 {
		_, end, err := x.topic.Offsets(ctx, n)
		if err != nil {
			return nil, err
		}
		records += uint64(end)
	}
	mail, errMail := x.mail.Stats(ctx)
	lines, errLines := x.lines.Stats(ctx)
	jobs, errJobs := x.jobs.Stats(ctx)
	list, errList := x.broker.Jobs(ctx)
	space, errSpace := x.keys.Info(ctx)
	errView := x.db.View(ctx, func(tx *pebblemq.Tx) error {
		v, err := tx.Get([]byte(officeName))
		keys = uint64(len(v))
		return err
	})
	err := errors.Join(errMail, errLines, errJobs, errList, errSpace, errView)
	return []any{
		records, mail.Visible + mail.InFlight + mail.Delayed, lines.Visible + lines.InFlight + lines.Delayed,
		jobs.Ready + jobs.Unacked + jobs.Delayed, uint64(len(list)), space.Completed, keys,
	}, err
}
