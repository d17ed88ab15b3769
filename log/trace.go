package log

import (
	"context"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// traced is a record as a store.Tracer sees it. Open, it is one that is being appended.
type traced struct {
	r    Record
	open bool
}

func (m *traced) ID() string {
	if m.open {
		return ""
	}
	return fmt.Sprintf("%d/%d", m.r.Partition, m.r.Offset)
}

func (m *traced) Header(name string) string { return value(&m.r, name, "") }

// SetHeader replaces what another trace has left: the bytes of the caller stay as they are.
func (m *traced) SetHeader(name, v string) {
	if !m.open {
		return
	}
	m.r.Headers = slices.DeleteFunc(slices.Clone(m.r.Headers), func(h Header) bool { return h.Name == name })
	m.r.Headers = append(m.r.Headers, text(name, v))
}

// traceAppend follows an append. It returns the records as they are stored.
func traceAppend(ctx context.Context, t *Topic, kind store.StepKind, records []Record) (sent []Record, end func(error)) {
	tracer := t.s.Tracer()
	if tracer == nil {
		return records, store.Untraced
	}
	list := make([]store.Traced, len(records))
	for i, r := range records {
		list[i] = &traced{r, true}
	}
	_, end = tracer.Trace(ctx, store.Step{Kind: kind, Verb: "append", Object: describedTopic(t), Traced: list})
	sent, limit := slices.Clone(records), t.config.Load().MaxRecordBytes
	for i := range sent {
		with := list[i].(*traced).r
		if _, err := with.check(limit); err == nil {
			sent[i] = with
		}
	}
	return sent, end
}

func describedTopic(t *Topic) store.Described { return store.Described{Kind: "topic", Name: t.name} }

// traceTaken follows what happens to records of the group.
func traceTaken(ctx context.Context, g *Group, kind store.StepKind, verb string, records ...Record) (context.Context, func(error)) {
	tracer := g.topic.s.Tracer()
	if tracer == nil {
		return ctx, store.Untraced
	}
	step := store.Step{Kind: kind, Verb: verb, Object: describedTopic(g.topic), Group: g.name}
	for _, r := range records {
		step.Traced = append(step.Traced, &traced{r: r})
	}
	return tracer.Trace(ctx, step)
}

// traceReceive notes that records were handed out.
func traceReceive(ctx context.Context, g *Group, records ...Record) {
	_, end := traceTaken(ctx, g, store.StepReceive, "poll", records...)
	end(nil)
}

// settle runs an Op that settles records.
func settle(ctx context.Context, g *Group, verb string, op store.Op, records ...Record) error {
	_, end := traceTaken(ctx, g, store.StepSettle, verb, records...)
	err := g.topic.s.Do(ctx, op, store.NoSync)
	end(err)
	return err
}

// traceWork is the Trace of a Run. Its records may be of several topics.
func traceWork(g *Group) func(context.Context, worker.Step[Record]) (context.Context, func(error)) {
	if g.topic.s.Tracer() == nil {
		return nil
	}
	return func(ctx context.Context, s worker.Step[Record]) (context.Context, func(error)) {
		return traceTaken(ctx, s.Batch[0].tenure.claim.g, s.Kind, s.Verb, s.Batch...)
	}
}
