package otel

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/pebblemq/pebblemq"
)

const scope = "github.com/pebblemq/pebblemq/contrib/otel"

// Attributes beside those of the conventions.
const (
	KindKey   = attribute.Key("pebblemq.destination.kind")   // "exchange", "work queue", "topic" or "visibility queue"
	ParentKey = attribute.Key("pebblemq.destination.parent") // the broker of an exchange or work queue
)

// TracerOptions configure a Tracer. The zero value and nil are the defaults.
type TracerOptions struct {
	// Provider makes the spans. Default: the global one.
	Provider trace.TracerProvider

	// Propagator writes the context of a span into the headers of a message, and reads it.
	// Default: the global one. Until the program has set one, nothing is written.
	Propagator propagation.TextMapPropagator
}

// Tracer is a pebblemq.Tracer that makes spans. It is safe for concurrent use and may be shared by
// stores.
type Tracer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
}

var _ pebblemq.Tracer = (*Tracer)(nil)

// NewTracer returns a Tracer for pebblemq.Options.
func NewTracer(o *TracerOptions) *Tracer {
	if o == nil {
		o = &TracerOptions{}
	}
	provider, propagator := o.Provider, o.Propagator
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	if propagator == nil {
		propagator = otel.GetTextMapPropagator()
	}
	return &Tracer{tracer: provider.Tracer(scope), propagator: propagator}
}

var spanKinds = map[pebblemq.StepKind]trace.SpanKind{
	pebblemq.StepCreate:  trace.SpanKindProducer,
	pebblemq.StepSend:    trace.SpanKindProducer,
	pebblemq.StepReceive: trace.SpanKindClient,
	pebblemq.StepProcess: trace.SpanKindConsumer,
	pebblemq.StepSettle:  trace.SpanKindClient,
}

// Trace begins a span.
func (t *Tracer) Trace(ctx context.Context, s pebblemq.Step) (context.Context, func(error)) {
	var links []trace.Link
	if sends := s.Kind == pebblemq.StepCreate || s.Kind == pebblemq.StepSend; !sends {
		ctx, links = t.origin(ctx, s)
	}
	ctx, span := t.tracer.Start(ctx, s.Verb+" "+s.Object.Name, trace.WithSpanKind(spanKinds[s.Kind]), trace.WithLinks(links...))
	if span.IsRecording() {
		span.SetAttributes(attributes(s)...)
	}
	for _, m := range s.Messages { // SetHeader does nothing in a step that sends nothing
		t.propagator.Inject(ctx, carrier{m})
	}
	return ctx, func(err error) { end(span, err) }
}

// origin returns the context that has the parent of the span, and the links to messages.
func (t *Tracer) origin(ctx context.Context, s pebblemq.Step) (context.Context, []trace.Link) {
	running := trace.SpanContextFromContext(ctx).IsValid()
	if adopts := s.Kind == pebblemq.StepProcess || s.Kind == pebblemq.StepSettle && !running; adopts && len(s.Messages) == 1 {
		return t.propagator.Extract(ctx, carrier{s.Messages[0]}), nil
	}
	if s.Kind == pebblemq.StepSettle { // the span of the handler has the links
		return ctx, nil
	}
	var links []trace.Link
	for _, m := range s.Messages {
		from := t.propagator.Extract(context.Background(), carrier{m})
		if is := trace.SpanContextFromContext(from); is.IsValid() {
			links = append(links, trace.Link{SpanContext: is})
		}
	}
	return ctx, links
}

func attributes(s pebblemq.Step) []attribute.KeyValue {
	list := []attribute.KeyValue{
		semconv.MessagingSystemKey.String("pebblemq"),
		semconv.MessagingOperationTypeKey.String(string(s.Kind)),
		semconv.MessagingOperationName(s.Verb),
		semconv.MessagingDestinationName(s.Object.Name),
		KindKey.String(s.Object.Kind),
	}
	if s.Object.Parent != "" {
		list = append(list, ParentKey.String(s.Object.Parent))
	}
	if s.Group != "" {
		list = append(list, semconv.MessagingConsumerGroupName(s.Group))
	}
	switch {
	case len(s.Messages) > 1:
		list = append(list, semconv.MessagingBatchMessageCount(len(s.Messages)))
	case len(s.Messages) == 1 && s.Messages[0].ID() != "":
		list = append(list, semconv.MessagingMessageID(s.Messages[0].ID()))
	}
	return list
}

func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(semconv.ErrorType(err))
	}
	span.End()
}

// carrier is a message as a propagator sees it.
type carrier struct{ m pebblemq.TracedMessage }

func (c carrier) Get(key string) string { return c.m.Header(key) }
func (c carrier) Set(key, value string) { c.m.SetHeader(key, value) }

// Keys returns none: the messages do not list them, and the propagators of the SDK do not ask.
func (c carrier) Keys() []string { return nil }
