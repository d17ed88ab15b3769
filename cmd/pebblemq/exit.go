package main

import (
	"errors"
	"os"

	"github.com/pebblemq/pebblemq"
)

// The exit codes.
const (
	exitOK       = 0
	exitFailed   = 1 // anything else
	exitUsage    = 2 // a wrong argument or flag, or a change that was not confirmed
	exitNotFound = 3 // no such store, object or message
	exitDamaged  = 4 // files of the store are damaged or cannot be read
	exitInUse    = 5 // another process has the store open
)

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), errors.Is(err, pebblemq.ErrInvalid):
		return exitUsage
	case errors.Is(err, pebblemq.ErrLocked):
		return exitInUse
	case errors.Is(err, pebblemq.ErrCorrupt), errors.Is(err, pebblemq.ErrUnreadable):
		return exitDamaged
	case errors.Is(err, pebblemq.ErrNotFound), errors.Is(err, pebblemq.ErrNotStore), errors.Is(err, os.ErrNotExist):
		return exitNotFound
	}
	return exitFailed
}
