package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// plain is a codec that leaves payloads as they are, so that typed handles may take the place of
// others anywhere.
type plain struct{}

func (plain) Encode(value []byte) ([]byte, error)   { return value, nil }
func (plain) Decode(payload []byte) ([]byte, error) { return bytes.Clone(payload), nil }

// isTyped reports that a step uses typed handles. The seed and the name of its object tell.
func (w *world) isTyped(name string) bool {
	return w.likes("typed handles") && w.hash("typed "+name)%2 == 0
}

// middleware is what is put around the handlers of a Run: it changes nothing that anybody can see.
func middleware[M any](w *world, name string, a args) []func(func(context.Context, M) error) func(context.Context, M) error {
	if a.has("batches") || !w.likes("middleware") || w.hash("middleware "+name)%2 == 0 {
		return nil
	}
	return []func(func(context.Context, M) error) func(context.Context, M) error{
		pebblemq.Logging[M](slog.New(slog.DiscardHandler)), pebblemq.Recover[M], pebblemq.TimeLimit[M](100 * time.Hour),
	}
}

// judgeValue complains about a value that is not what the message holds.
func (w *world) judgeValue(value, payload []byte) {
	if !bytes.Equal(value, payload) {
		w.fail("a value is %q, its payload %q", value, payload)
	}
}

// publishOne returns how one message is published: by a typed handle of its queue perhaps.
func (p *workqueuePart) publishOne(exchange, key string, m workqueue.Message) func(context.Context, *workqueue.Broker) error {
	q := p.usableFor(exchange, key)
	if q == nil {
		return func(ctx context.Context, broker *workqueue.Broker) error {
			return broker.Publish(ctx, exchange, key, m)
		}
	}
	with := m
	with.Body = nil
	return func(ctx context.Context, _ *workqueue.Broker) error {
		return workqueue.Typed(q, plain{}).Publish(ctx, m.Body, &with)
	}
}

// usableFor returns the queue that a typed handle publishes to, nil if none does.
func (p *workqueuePart) usableFor(exchange, key string) *workqueue.Queue {
	q := p.usable(key)
	if exchange != "" || q == nil || !p.w.isTyped(key) {
		return nil
	}
	return q.q
}

// runQueue runs handlers, by a typed handle of the queue perhaps.
func (r *wrun) runQueue(ctx context.Context, q *workqueue.Queue) error {
	switch w := r.p.w; {
	case !w.isTyped(q.Name()) && r.a.has("batch"):
		return q.RunBatch(ctx, r.handleBatch, r.options())
	case !w.isTyped(q.Name()):
		return q.Run(ctx, r.handle, r.options())
	case r.a.has("batch"):
		return workqueue.Typed(q, plain{}).RunBatch(ctx, func(ctx context.Context, values [][]byte, batch []*workqueue.Delivery) error {
			w.mu.Lock()
			for i, d := range batch {
				w.judgeValue(values[i], d.Body)
			}
			w.mu.Unlock()
			return r.handleBatch(ctx, batch)
		}, r.options())
	default:
		return workqueue.Typed(q, plain{}).Run(ctx, func(ctx context.Context, value []byte, d *workqueue.Delivery) error {
			w.mu.Lock()
			w.judgeValue(value, d.Body)
			w.mu.Unlock()
			return r.handle(ctx, d)
		}, r.options())
	}
}

// getOf takes a delivery, by a typed handle of the queue perhaps.
func (p *workqueuePart) getOf(ctx context.Context, q *workqueue.Queue) (*workqueue.Delivery, error) {
	if !p.w.isTyped(q.Name()) {
		d, _, err := q.Get(ctx)
		return d, err
	}
	d, ok, err := workqueue.Typed(q, plain{}).Get(ctx)
	if !ok || err != nil {
		return nil, err
	}
	value, err := d.Decode()
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.judgeValue(value, d.Body)
	return d.Delivery, err
}

// receiveFrom receives, by a typed handle of the queue perhaps.
func (p *visibilityPart) receiveFrom(ctx context.Context, q *visibility.Queue, o *visibility.ReceiveOptions) (found []*visibility.Received, err error) {
	if !p.w.isTyped(q.Name()) {
		return q.Receive(ctx, o)
	}
	list, err := visibility.Typed(q, plain{}).Receive(ctx, o)
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, r := range list {
		value, err := r.Decode()
		if err != nil {
			p.w.fail("decode %s: %v", r.ID, err)
		}
		p.w.judgeValue(value, r.Body)
		found = append(found, r.Received)
	}
	return found, err
}

// attributesOf are the attributes of a message, which its name determines.
func (w *world) attributesOf(id string) map[string]visibility.Attribute {
	if !w.likes("attributes") {
		return nil
	}
	switch n := w.hash("attributes of " + id); n % 4 {
	case 0:
		return map[string]visibility.Attribute{
			"number": visibility.NumberAttribute(fmt.Sprintf("-%d.5e3", n%100)),
			"text":   visibility.StringAttribute(id).Labeled("name"),
			"bytes":  visibility.BinaryAttribute([]byte{0, 1, byte(n)}),
		}
	case 1:
		return map[string]visibility.Attribute{"text": visibility.StringAttribute("t")}
	}
	return nil
}
