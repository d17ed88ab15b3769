package workqueue

import (
	"context"
	"maps"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// traced is a message as a store.Tracer sees it. Open, it is one that is being published.
type traced struct {
	id      string
	headers map[string]string
	open    bool
}

func (m *traced) ID() string                { return m.id }
func (m *traced) Header(name string) string { return m.headers[name] }

func (m *traced) SetHeader(name, value string) {
	if !m.open {
		return
	}
	if m.headers == nil {
		m.headers = make(map[string]string)
	}
	m.headers[name] = value
}

// tracePublish follows the publishing of a message. It returns the headers with which the message
// goes.
func tracePublish(ctx context.Context, b *Broker, kind store.StepKind, exchange, key string, m *Message) (headers map[string]string, end func(error)) {
	if b.s.Tracer() == nil {
		return m.Headers, store.Untraced
	}
	is := &traced{m.MessageID, maps.Clone(m.Headers), true}
	end = traceRouted(ctx, b, kind, "publish", exchange, key, is)
	return is.sent(m.Headers), end
}

// tracePublishBatch follows the publishing of several messages. It returns what is published.
func tracePublishBatch(ctx context.Context, b *Broker, exchange string, batch []Publishing) (sent []Publishing, end func(error)) {
	if b.s.Tracer() == nil || len(batch) == 0 {
		return batch, store.Untraced
	}
	sent = make([]Publishing, len(batch))
	list := make([]store.Traced, len(batch))
	for i, p := range batch {
		sent[i] = p
		list[i] = &traced{p.Message.MessageID, maps.Clone(p.Message.Headers), true}
	}
	end = traceRouted(ctx, b, store.StepSend, "publish", exchange, batch[0].Key, list...)
	for i := range sent {
		sent[i].Message.Headers = list[i].(*traced).sent(sent[i].Message.Headers)
	}
	return sent, end
}

// traceRouted begins a step of a publishing. The default exchange stands for the queue.
func traceRouted(ctx context.Context, b *Broker, kind store.StepKind, verb, exchange, key string, list ...store.Traced) (end func(error)) {
	to := store.Described{Kind: "exchange", Parent: b.t.name, Name: exchange}
	if exchange == "" {
		to.Kind, to.Name = "work queue", key
	}
	_, end = b.s.Tracer().Trace(ctx, store.Step{Kind: kind, Verb: verb, Object: to, Traced: list})
	return end
}

// sent returns the headers of the tracer, or those of before if they are too many.
func (m *traced) sent(before map[string]string) map[string]string {
	if (&Message{Headers: m.headers}).checkHeaders() != nil {
		return before
	}
	return m.headers
}

// traceTaken follows what happens to deliveries of the queue.
func traceTaken(ctx context.Context, q *declaredQueue, kind store.StepKind, verb string, list ...*Delivery) (context.Context, func(error)) {
	tracer := q.topology.s.Tracer()
	if tracer == nil {
		return ctx, store.Untraced
	}
	step := store.Step{Kind: kind, Verb: verb, Object: store.Described{Kind: "work queue", Parent: q.topology.name, Name: q.name}}
	for _, d := range list {
		step.Traced = append(step.Traced, &traced{id: d.MessageID, headers: d.Headers})
	}
	return tracer.Trace(ctx, step)
}

// traceReceive notes that deliveries were handed out.
func traceReceive(ctx context.Context, q *declaredQueue, verb string, list ...*Delivery) {
	_, end := traceTaken(ctx, q, store.StepReceive, verb, list...)
	end(nil)
}

// traceWork is the Trace of a Run.
func traceWork(q *declaredQueue) func(context.Context, worker.Step[*Delivery]) (context.Context, func(error)) {
	if q.topology.s.Tracer() == nil {
		return nil
	}
	return func(ctx context.Context, s worker.Step[*Delivery]) (context.Context, func(error)) {
		return traceTaken(ctx, q, s.Kind, s.Verb, s.Batch...)
	}
}
