package pebblemq

import (
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Errors of the store. Match them with errors.Is. The returned error also names the object, the
// value and the limit.
var (
	// ErrClosed is returned by every call on a closed store, and by the calls
	// that were blocked in it when Close began. The call had no effect.
	ErrClosed error

	// ErrFailed is returned by every write after the disk has failed; it wraps the first error
	// of the disk. Reads go on. Close the store and open it again: all acknowledged changes are
	// there. A caller that was waiting for its fsync when the disk failed gets
	// ErrUnknownOutcome as well.
	ErrFailed error

	// ErrUnknownOutcome is returned when a change was made but its fsync was
	// not confirmed, because the disk failed, filled up or did not answer
	// within a second after the context had ended. It may or may not survive.
	// Calls that open an object also return it if they have created the object
	// and cannot open it.
	ErrUnknownOutcome error

	// ErrDiskFull refuses a change because the disk has too little space left.
	// It had no effect, unless the error is ErrUnknownOutcome too. The store
	// heals by itself when there is space again. Acknowledging and deleting
	// messages goes on for longer than sending them.
	//
	// The same error refuses a change while the system is short of something
	// else: open files (EMFILE, ENFILE), memory (ENOMEM, ENOBUFS) or whatever
	// EAGAIN stands for. The text names it and the limit to raise, and errors.Is
	// finds the errno. The store waits 30 s for such a shortage to end, then it
	// fails with ErrFailed.
	ErrDiskFull error

	// ErrCorrupt reports damage found in a file, at Open or when it was read.
	// The error names the file or the object. Calls that do not need the file succeed.
	// All writes return it once the damage has kept the engine from tidying its files for
	// so long that it could take no more; see Stats.Damaged.
	ErrCorrupt error

	// ErrUnreadable is returned by a read that the disk or the operating system
	// refused, because of an I/O error or a limit of open files for example. The error
	// names the file and the cause. The call had no effect and may be repeated.
	ErrUnreadable error

	// ErrFormat is returned by Open for a store written by a newer release. A store whose
	// file FORMAT is damaged may look like one.
	ErrFormat error

	// ErrLocked is returned by Open for a directory that is already open, in
	// this process or another. The error names the process if LOCK does. The
	// directory stays locked if it is renamed, copied or linked, and if LOCK
	// is deleted.
	ErrLocked error

	// ErrNotStore is returned by Open for a path that is a file, or a
	// directory with other things in it.
	ErrNotStore error

	// ErrTxDone is returned by a Tx, and by every view of one, after the
	// function it was passed to has returned.
	ErrTxDone error

	// ErrReadOnly is returned by a write in View.
	ErrReadOnly error

	// ErrNested is returned by an Update inside another one that would wait for the lock of the
	// outer one. An Update of another store is refused too.
	ErrNested error

	// ErrTooLarge refuses a name, payload, batch or transaction over its
	// limit; the error says which, its size and the limit.
	ErrTooLarge error

	// ErrInvalid refuses an argument that makes no sense; the error says why.
	ErrInvalid error

	// ErrConfigMismatch is returned when an object is opened or declared with a configuration
	// other than the stored one. The error names every field that differs.
	ErrConfigMismatch error

	// ErrNotFound is matched by the errors of all packages for an unknown object or message,
	// such as log.ErrUnknownTopic and workqueue.ErrUnknownQueue.
	ErrNotFound error

	// ErrDeleted is matched by the errors of a handle whose object was deleted, such as
	// log.ErrTopicDeleted and workqueue.ErrQueueDeleted.
	ErrDeleted error

	// ErrLost is matched by the errors for a delivery, receipt, claim or assignment that the
	// caller has lost, such as workqueue.ErrDeliveryLost and log.ErrFenced. Another consumer
	// may have it.
	ErrLost error

	// ErrFull is matched by the errors of a queue at a limit: workqueue.ErrQueueFull and
	// visibility.ErrInFlightLimit.
	ErrFull error
)

// The kernel makes the errors. They are assigned here, so that go doc shows no internal name.
func init() {
	ErrClosed = store.ErrClosed
	ErrFailed = store.ErrFailed
	ErrUnknownOutcome = store.ErrUnknownOutcome
	ErrDiskFull = store.ErrDiskFull
	ErrCorrupt = store.ErrCorrupt
	ErrUnreadable = store.ErrUnreadable
	ErrFormat = store.ErrFormat
	ErrLocked = store.ErrLocked
	ErrNotStore = store.ErrNotStore
	ErrTxDone = store.ErrTxDone
	ErrReadOnly = store.ErrReadOnly
	ErrNested = store.ErrNested
	ErrTooLarge = store.ErrTooLarge
	ErrInvalid = store.ErrInvalid
	ErrConfigMismatch = store.ErrConfigMismatch
	ErrNotFound = store.ErrNotFound
	ErrDeleted = store.ErrDeleted
	ErrLost = store.ErrLost
	ErrFull = store.ErrFull
	ErrHandlerTimeout = worker.ErrTimeout
	ErrDrainTimeout = worker.ErrDrainTimeout
	ErrAbandoned = worker.ErrAbandoned
}
