package store

import (
	"errors"
	"fmt"
)

// The root package exports these; their documentation for users is there.
var (
	ErrClosed         = errors.New("pebblemq: store is closed")
	ErrFailed         = errors.New("pebblemq: store has failed and takes no more writes")
	ErrUnknownOutcome = errors.New("pebblemq: outcome unknown")
	ErrDiskFull       = errors.New("pebblemq: disk is full")
	ErrCorrupt        = errors.New("pebblemq: store is damaged")
	ErrUnreadable     = errors.New("pebblemq: file cannot be read")
	ErrFormat         = errors.New("pebblemq: unsupported store format")
	ErrLocked         = errors.New("pebblemq: store is in use")
	ErrNotStore       = errors.New("pebblemq: not a store directory")
	ErrTxDone         = errors.New("pebblemq: transaction has ended")
	ErrReadOnly       = errors.New("pebblemq: write in a read-only view")
	ErrNested         = errors.New("pebblemq: Update inside an Update")
	ErrTooLarge       = errors.New("pebblemq: limit exceeded")
	ErrInvalid        = errors.New("pebblemq: invalid argument")
	ErrConfigMismatch = errors.New("pebblemq: object exists with another configuration")
	ErrNotFound       = errors.New("pebblemq: not found")
	ErrDeleted        = errors.New("pebblemq: deleted")
	ErrLost           = errors.New("pebblemq: lost")
	ErrFull           = errors.New("pebblemq: full")
)

// special is an error of a layer that is a case of one of the above.
type special struct {
	text string
	of   error
}

func (e *special) Error() string { return e.text }
func (e *special) Unwrap() error { return e.of }

// CaseOf makes an error of a layer, with a text of its own, that errors.Is takes for
// another one as well.
func CaseOf(of error, text string) error { return &special{text, of} }

// Invalid reports a bad argument. The text says what is wrong, and with which object.
func Invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// TooLarge reports a size over its limit.
func TooLarge(what string, size, limit int64) error {
	return fmt.Errorf("%w: %s is %d, limit %d", ErrTooLarge, what, size, limit)
}
