package store

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// shortages are the errors of a system that refuses a call for now and has done
// nothing. The call may be repeated, and the store need not fail.
var shortages = []struct {
	errno        syscall.Errno
	what, advice string
}{
	{syscall.EMFILE, "open files of the process", "raise its limit of open files (ulimit -n)"},
	{syscall.ENFILE, "open files of the system", "raise its limit of open files (fs.file-max, kern.maxfiles)"},
	{syscall.ENOMEM, "memory of the system", "free memory, or raise the limit of the container"},
	{syscall.ENOBUFS, "buffers of the system", "free memory, or raise the limit of the container"},
	{syscall.EAGAIN, "a resource of the system", "look at the limits of the process and the system"},
	{syscall.EINTR, "calls that are not interrupted", "look for signals, or at a file system in user space"},
}

// How long a shortage may last before the store fails.
const (
	MaxShortage     = 30 * time.Second
	maxOpenShortage = 3 * time.Second // in Open and Close, which make their callers wait
)

// passes reports whether err is a shortage. ETIMEDOUT is none: a server that did
// not answer may have carried out the call.
func passes(err error) bool { return newLack(err) != nil }

func isInterrupted(err error) bool { return errors.Is(err, syscall.EINTR) }

func isFull(err error) bool {
	return vfs.IsNoSpaceError(err) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// heals reports whether err may go away if the call is repeated.
func heals(err error) bool { return isFull(err) || passes(err) }

// lack is the error of a change that is refused because of a shortage. It is an
// ErrDiskFull for callers: the store heals by itself, and the change had no effect.
type lack struct {
	what, advice string
	cause        error
}

// newLack returns nil if cause is not a shortage.
func newLack(cause error) *lack {
	for _, s := range shortages {
		if errors.Is(cause, s.errno) {
			return &lack{what: s.what, advice: s.advice, cause: cause}
		}
	}
	return nil
}

func (l *lack) Error() string {
	return fmt.Sprintf("pebblemq: short of %s: %v; %s", l.what, l.cause, l.advice)
}

func (l *lack) Unwrap() []error { return []error{ErrDiskFull, l.cause} }
