package visibility

import (
	"context"
	"maps"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// traced is a message as a store.Tracer sees it. Open, it is one that is being sent.
type traced struct {
	id         string
	attributes map[string]Attribute
	open       bool
}

func (m *traced) ID() string { return m.id }

func (m *traced) Header(name string) string {
	if a := m.attributes[name]; a.Type == String {
		return string(a.Value)
	}
	return ""
}

func (m *traced) SetHeader(name, value string) {
	if !m.open {
		return
	}
	if m.attributes == nil {
		m.attributes = make(map[string]Attribute)
	}
	m.attributes[name] = StringAttribute(value)
}

func stepOf(q *Queue, kind store.StepKind, verb string) store.Step {
	return store.Step{Kind: kind, Verb: verb, Object: store.Described{Kind: "visibility queue", Name: q.name}}
}

// traceSend follows the sending of a message. It returns the attributes with which the message goes.
func traceSend(ctx context.Context, q *Queue, kind store.StepKind, m *Message) (attributes map[string]Attribute, end func(error)) {
	tracer := q.s.Tracer()
	if tracer == nil {
		return m.Attributes, store.Untraced
	}
	is := &traced{m.ID, maps.Clone(m.Attributes), true}
	step := stepOf(q, kind, "send")
	step.Traced = []store.Traced{is}
	_, end = tracer.Trace(ctx, step)
	return is.sent(q, *m), end
}

// traceSendBatch follows the sending of several messages. It returns what is sent.
func traceSendBatch(ctx context.Context, q *Queue, messages []Message) (sent []Message, end func(error)) {
	tracer := q.s.Tracer()
	if tracer == nil {
		return messages, store.Untraced
	}
	step := stepOf(q, store.StepSend, "send")
	for _, m := range messages {
		step.Traced = append(step.Traced, &traced{m.ID, maps.Clone(m.Attributes), true})
	}
	_, end = tracer.Trace(ctx, step)
	sent = make([]Message, len(messages))
	for i, m := range messages {
		sent[i] = m
		sent[i].Attributes = step.Traced[i].(*traced).sent(q, m)
	}
	return sent, end
}

// sent returns the attributes of the tracer, or those of the message if they are too many.
func (m *traced) sent(q *Queue, of Message) map[string]Attribute {
	before := of.Attributes
	of.Attributes = m.attributes
	if of.check(q.config()) != nil {
		return before
	}
	return m.attributes
}

// traceTaken follows what happens to messages of the queue.
func traceTaken(ctx context.Context, q *Queue, kind store.StepKind, verb string, list ...*Received) (context.Context, func(error)) {
	tracer := q.s.Tracer()
	if tracer == nil {
		return ctx, store.Untraced
	}
	step := stepOf(q, kind, verb)
	for _, m := range list {
		step.Traced = append(step.Traced, &traced{id: m.ID, attributes: m.Attributes})
	}
	return tracer.Trace(ctx, step)
}

// settle runs an Op that settles the message of a receipt, which does not tell its trace.
func settle(ctx context.Context, q *Queue, verb string, op store.Op) error {
	_, end := traceTaken(ctx, q, store.StepSettle, verb)
	err := q.s.Do(ctx, op, store.NoSync)
	end(err)
	return err
}

// traceWork is the Trace of a Run.
func traceWork(q *Queue) func(context.Context, worker.Step[*Received]) (context.Context, func(error)) {
	if q.s.Tracer() == nil {
		return nil
	}
	return func(ctx context.Context, s worker.Step[*Received]) (context.Context, func(error)) {
		return traceTaken(ctx, q, s.Kind, s.Verb, s.Batch...)
	}
}
