package main

import (
	"context"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// descriptionPart compares what Describe lists with the lists of the packages.
type descriptionPart struct{ w *world }

func (p *descriptionPart) verbs() []*verb {
	return []*verb{
		form("describe the store", 3, func() args { return args{} }, p.describe),
	}
}

func (p *descriptionPart) opened(*client) {}
func (p *descriptionPart) check(*client)  {}
func (p *descriptionPart) settle(*client) {}

// listed counts the objects of each kind by the lists of their packages.
func (p *descriptionPart) listed(ctx context.Context, c *client) (count map[string]int, err error) {
	count = make(map[string]int)
	topics, err := log.Topics(ctx, c.db)
	if err != nil {
		return nil, err
	}
	count["topic"] = len(topics)
	queues, err := visibility.Queues(ctx, c.db)
	if err != nil {
		return nil, err
	}
	count["visibility queue"] = len(queues)
	spaces, err := idempotency.Namespaces(ctx, c.db)
	if err != nil {
		return nil, err
	}
	count["namespace"] = len(spaces)
	brokers, err := workqueue.Brokers(ctx, c.db)
	count["broker"] = len(brokers)
	return count, err
}

func (p *descriptionPart) describe(c *client, _ args) {
	var d pebblemq.Description
	var before, after map[string]int
	o := c.call(func(ctx context.Context) (err error) {
		if before, err = p.listed(ctx, c); err != nil {
			return err
		}
		if d, err = c.db.Describe(ctx); err != nil {
			return err
		}
		after, err = p.listed(ctx, c)
		return err
	})
	if c.expects(o, "describe the store"); !o.done() {
		return
	}
	shown := make(map[string]int)
	for _, x := range d.Objects {
		shown[x.Kind]++
		seen := make(map[string]bool)
		for _, n := range x.Numbers() {
			if n.Name == "" || seen[n.Name] {
				c.fail("%s %s has the number %q twice, or without a name", x.Kind, x.Name, n.Name)
			}
			seen[n.Name] = true
		}
	}
	for kind, n := range before {
		if n == after[kind] && shown[kind] != n && c.busy == 1 {
			c.fail("%d objects of kind %s are described, and %d listed", shown[kind], kind, n)
		}
	}
	if health := c.db.Health(); health.OK() && health.String() == "" {
		c.fail("a store that is well has nothing to say")
	}
}
