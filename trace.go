package pebblemq

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Tracer follows messages from their producer to the handler, over every queue, redelivery, dead
// letter and redrive between them. It is Options.Tracer. The module contrib/otel has one that
// makes spans of OpenTelemetry.
//
// The context of a trace travels with the message: in the headers of a log record or a work
// queue message, and in the attributes of a visibility queue message. Routing, dead letters and
// redrives keep them.
type Tracer interface {
	// Trace is called when a step begins. It returns the context of the step and a function that
	// is called once when the step ends, with its error. In a step of kind Create or Send it may
	// set headers of the messages, for those who receive them. A handler gets the context of its
	// Process step. The contexts of other steps are not used.
	//
	// Trace is called concurrently. Neither it nor the function may panic, block or call the
	// store.
	Trace(ctx context.Context, s Step) (context.Context, func(err error))
}

// Step is what one call does with messages.
type Step struct {
	Kind     StepKind
	Verb     string          // of the layer, such as "publish" or "ack"; of a Run also "retry" and "dead"
	Object   Object          // the exchange, queue or topic; its Info is nil
	Group    string          // of the log that receives, processes or settles
	Messages []TracedMessage // may be empty in a settlement
}

// StepKind is what a step means for its messages.
type StepKind string

// The kinds of steps. The names are those of the messaging conventions of OpenTelemetry.
const (
	StepCreate  StepKind = "create"  // made in a transaction, and sent by its commit
	StepSend    StepKind = "send"    // appended, published or sent
	StepReceive StepKind = "receive" // handed to the application
	StepProcess StepKind = "process" // in a handler of Run
	StepSettle  StepKind = "settle"  // acknowledged, given back or made a dead letter
)

// The literals are those of the kernel. If two differ, a key comes twice.
var _ = map[bool]struct{}{
	false: {}, StepCreate == StepKind(store.StepCreate) && StepSend == StepKind(store.StepSend) && StepReceive == StepKind(store.StepReceive) &&
		StepProcess == StepKind(store.StepProcess) && StepSettle == StepKind(store.StepSettle): {},
}

// TracedMessage is a message of a Step. It is valid until Trace returns.
type TracedMessage interface {
	// ID is the MessageID of a work queue, the ID of a visibility queue or the place of a record
	// as PARTITION/OFFSET. It is empty if there is none, or not yet.
	ID() string
	// Header returns a header or a String attribute, or "".
	Header(name string) string
	// SetHeader sets one. The message goes without the new ones if it has no room for them. They
	// count towards the limits of every place that the message is routed to. In a step that sends
	// nothing SetHeader does nothing.
	SetHeader(name, value string)
}

// tracing gives the kernel a Tracer of the application.
type tracing struct{ Tracer }

func (t tracing) Trace(ctx context.Context, s store.Step) (context.Context, func(error)) {
	step := Step{Kind: StepKind(s.Kind), Verb: s.Verb, Object: Object(s.Object), Group: s.Group}
	for _, m := range s.Traced {
		step.Messages = append(step.Messages, m)
	}
	return t.Tracer.Trace(ctx, step)
}
