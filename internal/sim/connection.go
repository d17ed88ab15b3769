package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// connectionsPart is clients that come as over AMQP: each makes a queue of its own without a name, binds it,
// reads what it has published there, and takes the queue along when it goes.
type connectionsPart struct {
	w   *world
	met int
}

func newConnectionsPart(w *world) *connectionsPart { return &connectionsPart{w: w} }

func (p *connectionsPart) verbs() []*verb {
	return []*verb{
		form("connect, read {n} messages by {how} and go", 3, p.draw, p.connect),
	}
}

func (p *connectionsPart) draw() args {
	if !p.w.likes("connections") {
		return nil
	}
	return args{"n": fmt.Sprint(p.w.upTo(20)), "how": oneOf(p.w, "one", "many", "walking")}
}

// hall is the name of the broker and its exchange.
const hall = "hall"

// connect does all that one client does. Nobody else knows its queue, so it gets what it has published, in order.
func (p *connectionsPart) connect(c *client, a args) {
	p.met++
	key := fmt.Sprintf("guest %d", p.met)
	var name string
	var got []string
	o := c.call(func(ctx context.Context) error {
		ctx = pebblemq.WithDurability(ctx, pebblemq.Sync)
		b, err := workqueue.OpenBroker(ctx, c.db, hall)
		if err != nil {
			return err
		}
		if err := b.DeclareExchange(ctx, hall, workqueue.Direct, nil); err != nil {
			return err
		}
		q, err := b.DeclareNewQueue(ctx, &workqueue.QueueConfig{Exclusive: true})
		if err != nil {
			return err
		}
		name = q.Name()
		if err := b.Bind(ctx, workqueue.Binding{Exchange: hall, Key: key, Queue: name}); err != nil {
			return err
		}
		if err := publishNumbers(ctx, b, key, a.int("n")); err != nil {
			return err
		}
		if got, err = readNumbers(ctx, workqueue.Typed(q, plain{}), a); err != nil {
			return err
		}
		return b.DeleteExclusive(ctx)
	})
	c.tellCall("%s with %s: %v, %v", key, name, got, o.err)
	if c.expects(o, key+" connects"); !o.done() {
		return
	}
	for i, number := range got {
		if number != fmt.Sprint(i) {
			c.fail("%s has read %v", key, got)
			return
		}
	}
	p.judgeGone(c, key, name)
}

// judgeGone sees that the queue has gone with its connection.
func (p *connectionsPart) judgeGone(c *client, key, name string) {
	o := c.call(func(ctx context.Context) error {
		b, err := workqueue.LookupBroker(ctx, c.db, hall)
		if err == nil {
			_, err = b.Queue(ctx, name)
		}
		return err
	})
	if o.done() {
		c.fail("%s has gone, and its queue is still there", key)
	}
	c.expects(o, "look for the queue of "+key, workqueue.ErrUnknownQueue)
}

// publishNumbers publishes the numbers from 0 on, in a batch.
func publishNumbers(ctx context.Context, b *workqueue.Broker, key string, n int) error {
	batch := make([]workqueue.Publishing, n)
	for i := range batch {
		batch[i] = workqueue.Publishing{Key: key, Message: workqueue.Message{Body: []byte(fmt.Sprint(i))}}
	}
	return b.PublishBatch(ctx, hall, batch)
}

// readNumbers takes and acknowledges as many messages as there are.
func readNumbers(ctx context.Context, q workqueue.TypedQueue[[]byte], a args) (got []string, err error) {
	k, err := q.Consume(ctx, &workqueue.ConsumeOptions{Prefetch: 3})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.Close()) }()
	take := func(d workqueue.TypedDelivery[[]byte]) error {
		value, err := d.Decode()
		if err != nil {
			return err
		}
		got = append(got, string(value))
		return d.Ack(ctx)
	}
	n := a.int("n")
	if a["how"] == "walking" {
		for d, err := range k.Deliveries(ctx) {
			if err == nil {
				err = take(d)
			}
			if err != nil || len(got) == n {
				return got, err
			}
		}
	}
	for len(got) < n {
		list := make([]workqueue.TypedDelivery[[]byte], 1)
		if a["how"] == "many" {
			list, err = k.Fetch(ctx, n)
		} else {
			list[0], err = k.Next(ctx)
		}
		if err != nil {
			return got, err
		}
		for _, d := range list {
			if err := take(d); err != nil {
				return got, err
			}
		}
	}
	return got, nil
}

func (p *connectionsPart) opened(*client) {}
func (p *connectionsPart) check(*client)  {}
func (p *connectionsPart) settle(*client) {}
