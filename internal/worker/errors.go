package worker

import (
	"context"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Errors of Run, which package pebblemq exports.
var (
	// ErrTimeout is the cause of the end of a handler's context after Options.Timeout.
	ErrTimeout = errors.New("pebblemq: the handler took longer than its Timeout")

	// ErrDrainTimeout is the cause of the end of a handler's context after
	// Options.DrainTimeout.
	ErrDrainTimeout = errors.New("pebblemq: Run has ended and its DrainTimeout is over")

	// ErrAbandoned is returned by a Run that has left calls behind.
	ErrAbandoned = errors.New("pebblemq: handlers are still running")
)

// final reports an error that Run cannot go on after.
func final(err error) bool {
	return errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrFailed) ||
		errors.Is(err, store.ErrDeleted) || errors.Is(err, store.ErrUnknownOutcome)
}

// passes reports an error of Fetch after which Run goes on. What cannot be read is left
// aside and was logged.
func passes(err error) bool {
	return !final(err) && (store.IsUnread(err) || errors.Is(err, store.ErrDiskFull) || errors.Is(err, store.ErrFull))
}

// ended drops the error of a context that has ended, unless the outcome of something is
// unknown.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, store.ErrUnknownOutcome) {
		return err
	}
	if errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)) {
		return nil
	}
	return err
}
