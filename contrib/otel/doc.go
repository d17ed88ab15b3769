// Package otel makes spans and metrics of OpenTelemetry from a store. Its name is that of the
// OpenTelemetry API, so import it under another one:
//
//	import mq "github.com/pebblemq/pebblemq/contrib/otel"
//
//	db, err := pebblemq.Open("data", &pebblemq.Options{Tracer: mq.NewTracer(nil)})
//	...
//	metrics, err := mq.RegisterMetrics(db, nil)
//
// # Spans
//
// The names, kinds and attributes follow the messaging conventions of OpenTelemetry:
//
//	step      name              kind       parent                        links
//	create    publish events    PRODUCER   the span of the caller
//	send      publish events    PRODUCER   the span of the caller
//	receive   poll orders       CLIENT     the span of the caller        each message
//	process   process emails    CONSUMER   the message, or none if       each message of a batch
//	                                       there are several
//	settle    ack emails        CLIENT     the span of the handler or
//	                                       caller, else the message
//
// The propagator puts the context of the span that creates or sends a message into its headers. A
// redelivered message, a dead letter and one that was redriven keep it, so all their spans are in
// the trace of their producer. What takes messages without Run continues the trace with
//
//	ctx = propagator.Extract(ctx, propagation.MapCarrier(delivery.Headers))
//
// # Metrics
//
// The metrics are those of DB.Describe, DB.OldestAge and DB.Stats. See RegisterMetrics.
package otel
