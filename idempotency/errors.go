package idempotency

import (
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

var (
	// ErrUnknownNamespace is returned by LookupNamespace for a namespace that does not
	// exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownNamespace error

	// ErrNamespaceDeleted is returned by every use of a namespace that has been deleted.
	// It is pebblemq.ErrDeleted too.
	ErrNamespaceDeleted error

	// ErrInProgress refuses a key that another call is working on: from Do with
	// NoWait or inside its own handler, and from Complete in a transaction. It
	// had no effect.
	ErrInProgress = errors.New("idempotency: in progress")

	// ErrDuplicate refuses a transaction whose key is completed already. The
	// error is a *DuplicateError, which carries the stored result.
	ErrDuplicate = errors.New("idempotency: duplicate")

	// ErrNoKey says that there is nothing to make a key of, or refuses a message
	// that has none. It had no effect.
	ErrNoKey = errors.New("idempotency: no key")

	// ErrMismatch refuses a key that was used with another payload. The
	// handler is not run.
	ErrMismatch = errors.New("idempotency: key was used with another payload")

	// ErrLeaseLost says that the key was forgotten while its handler ran: its
	// effect may have happened, and nothing was stored.
	// It is pebblemq.ErrLost too.
	ErrLeaseLost error

	// ErrNotStored says that the handler ran, so that its effect may have
	// happened, and that its result could not be stored: a later call runs it
	// again. It wraps the reason.
	ErrNotStored = errors.New("idempotency: handler ran but its result was not stored")
)

// These errors are assigned here, so that go doc shows no internal name.
func init() {
	ErrUnknownNamespace = store.CaseOf(store.ErrNotFound, "idempotency: unknown namespace")
	ErrNamespaceDeleted = store.CaseOf(store.ErrDeleted, "idempotency: namespace was deleted")
	ErrLeaseLost = store.CaseOf(store.ErrLost, "idempotency: claim was lost while the handler ran")
}

// DuplicateError is the ErrDuplicate of a key.
type DuplicateError struct {
	Namespace string
	Key       []byte
	Result    Result // as it was stored; Replayed is true
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("%v: key %.40q of %s is completed", ErrDuplicate, e.Key, e.Namespace)
}

// Is makes errors.Is(err, ErrDuplicate) hold.
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// FinalError is a handler's error that was marked with Final: it is stored, and
// replayed as the outcome of the key.
type FinalError struct {
	Message string
	err     error // the original, in the call that ran the handler
}

func (e *FinalError) Error() string { return e.Message }

// Unwrap returns the handler's error, or nil when it is replayed: only its
// text is stored.
func (e *FinalError) Unwrap() error { return e.err }

// Final marks an error of a handler as the final outcome of its key: trying
// again would give the same. Final(nil) is nil.
func Final(err error) error {
	if err == nil {
		return nil
	}
	return &FinalError{Message: err.Error(), err: err}
}
