package store

import "context"

// Tracer follows messages. See the type of the same name in the root package.
type Tracer interface {
	Trace(ctx context.Context, s Step) (context.Context, func(error))
}

// Step is what a call does with messages.
type Step struct {
	Kind   StepKind
	Verb   string
	Object Described // without its Info
	Group  string
	Traced []Traced
}

// StepKind is what a step means for its messages.
type StepKind string

// The kinds of steps.
const (
	StepCreate  StepKind = "create"
	StepSend    StepKind = "send"
	StepReceive StepKind = "receive"
	StepProcess StepKind = "process"
	StepSettle  StepKind = "settle"
)

// Traced is a message as a Tracer sees it.
type Traced interface {
	ID() string
	Header(name string) string
	SetHeader(name, value string)
}

// Untraced ends a step of a store without a Tracer.
func Untraced(error) {}
