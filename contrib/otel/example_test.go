package otel_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/pebblemq/pebblemq"
	mq "github.com/pebblemq/pebblemq/contrib/otel"
	"github.com/pebblemq/pebblemq/workqueue"
)

func Example() {
	spans := tracetest.NewInMemoryExporter() // or one that sends them to a collector
	tracer := mq.NewTracer(&mq.TracerOptions{
		Provider:   sdk.NewTracerProvider(sdk.WithSyncer(spans)),
		Propagator: propagation.TraceContext{},
	})
	db, err := pebblemq.OpenMemory(&pebblemq.Options{Tracer: tracer})
	if err != nil {
		panic(err)
	}
	defer db.Close()

	ctx, stop := context.WithCancel(context.Background())
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	if err != nil {
		panic(err)
	}
	emails, err := broker.DeclareQueue(ctx, "emails", nil)
	if err != nil {
		panic(err)
	}
	if err := broker.Publish(ctx, "", "emails", workqueue.Message{Body: []byte("hello")}); err != nil {
		panic(err)
	}
	err = emails.Run(ctx, func(context.Context, *workqueue.Delivery) error {
		stop()
		return nil
	}, nil)
	if err != nil {
		panic(err)
	}
	trace := spans.GetSpans()[0].SpanContext.TraceID()
	for _, s := range spans.GetSpans() {
		fmt.Println(s.Name, s.SpanKind, s.SpanContext.TraceID() == trace)
	}
	// Output:
	// publish emails producer true
	// process emails consumer true
	// ack emails client true
}
