package object

import (
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Unopened is the error of a call that has created an object and then failed to open it: the
// object is there. An error which says that the call had no effect is not wrapped.
func Unopened(what string, err error) error {
	if errors.Is(err, store.ErrClosed) {
		return fmt.Errorf("%w: %s was created and not opened: %v", store.ErrUnknownOutcome, what, err)
	}
	return fmt.Errorf("%w: %s was created and not opened: %w", store.ErrUnknownOutcome, what, err)
}
