package worker

import (
	"context"
	"time"
)

// Source is where messages come from. Its methods are called concurrently, but each
// message is in one of them at a time.
type Source[M any] interface {
	// Fetch takes up to n messages, and waits for the first one until ctx ends. What it
	// returns beside an error counts. An error ends Run unless it passes: see passes.
	Fetch(ctx context.Context, n int) ([]Item[M], error)

	// Hold keeps a message from others until stop is called, which may be nil. It returns
	// the context for the calls with the message: one that derives from calls, and that ends
	// with the reason if the message is not Run's any more.
	Hold(calls context.Context, m M) (held context.Context, stop func())

	// Begin is called before each call of the handler. ErrLost ends the task. End is called
	// if Begin has returned nil: when the outcome of the call is settled, or when the message
	// waits for another call in place.
	Begin(ctx context.Context, m M) error
	End(m M)

	// Settle carries an outcome out. ErrLost says that there is nothing to settle any
	// more, because somebody else has the message, or the handler has settled it. Other
	// errors that pass make Run settle it again after a pause.
	Settle(ctx context.Context, m M, o Outcome) error

	// Attrs names a message in the log: queue and id first, as key and value in turn.
	Attrs(m M) []any
}

// Item is a message as a Source fetches it.
type Item[M any] struct {
	Message     M
	Attempts    int       // how often it has failed before, or may have
	MaxAttempts int       // a limit of its queue beside that of Options; 0 is none
	NotBefore   time.Time // when it may be handled; zero is at once
}
