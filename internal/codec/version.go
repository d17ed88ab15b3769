package codec

import (
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// CheckVersion checks the first byte of a binary value, which is its version, and that it
// has the bytes that are always there, the version included.
func CheckVersion(what string, v []byte, version byte, size int) error {
	if len(v) == 0 {
		return Damaged(what, v)
	}
	if v[0] != version {
		return fmt.Errorf("%w: %s has version %d", store.ErrFormat, what, v[0])
	}
	if len(v) < size {
		return Damaged(what, v)
	}
	return nil
}

// shownBytes is how much of a damaged value its error shows.
const shownBytes = 32

// Damaged is the error of a value that is not what was written.
func Damaged(what string, v []byte) error {
	return fmt.Errorf("%w: %s %x", store.ErrCorrupt, what, v[:min(len(v), shownBytes)])
}
