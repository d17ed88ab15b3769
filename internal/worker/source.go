package worker

import (
	"context"
	"time"
)

// Source is where messages come from. Its methods are called concurrently, but each
// message is in one of them at a time.
type Source[M any] interface {
	// Fetch takes up to n messages, and waits for the first one until ctx ends. Messages that it
	// returns beside an error count. An error ends Run unless it passes: see passes.
	Fetch(ctx context.Context, n int) ([]Item[M], error)

	// Hold keeps a message from others until its Holding is stopped, which may be nil. It
	// returns the context for the calls with the message: one that derives from calls, and that
	// ends with the reason if the message is not Run's any more.
	Hold(calls context.Context, m M) (held context.Context, h Holding)

	// Begin is called before each call of the handler. An error ends the task without Settle,
	// and Run too unless it is ErrLost or that of Run's ended context. End is called
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

// Holding is a message that is kept from others. It is an interface because a message may be
// its own Holding, which costs no memory.
type Holding interface{ Stop() }

// HoldingFunc is a Holding that a function stops.
type HoldingFunc func()

// Stop calls the function.
func (f HoldingFunc) Stop() { f() }

// BatchSource is a Source that can settle many messages in one change.
type BatchSource[M any] interface {
	Source[M]

	// SettleDone is Settle of messages that the handler has processed. It returns the error
	// of each, or one of all.
	SettleDone(ctx context.Context, batch []M) (each []error, err error)
}

// Item is a message as a Source fetches it.
type Item[M any] struct {
	Message     M
	Attempts    int       // how often it has failed before, or may have
	MaxAttempts int       // a limit of its queue beside that of Options; 0 is none
	NotBefore   time.Time // when it may be handled; zero is at once
}
