package pebblemq

import "github.com/pebblemq/pebblemq/internal/store"

// Errors of the store. Match them with errors.Is: what is returned says, in
// addition, which object and which limit.
var (
	// ErrClosed is returned by every call on a closed store, and by the calls
	// that were blocked in it when Close began. The call had no effect.
	ErrClosed = store.ErrClosed

	// ErrFailed is returned by every write after the disk has failed; it wraps
	// the first error of the disk. Reads go on. Close the store and open it
	// again: what was acknowledged is there. A caller that was waiting for its
	// fsync when the disk failed gets ErrUnknownOutcome as well.
	ErrFailed = store.ErrFailed

	// ErrUnknownOutcome is returned when a change was made but its fsync was
	// not confirmed, because the disk failed, filled up or did not answer
	// within a second after the context had ended. It may or may not survive.
	ErrUnknownOutcome = store.ErrUnknownOutcome

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
	ErrDiskFull = store.ErrDiskFull

	// ErrCorrupt reports damage found in a file, at Open or when it was read.
	// The error names the file or the object. Calls that do not need the file succeed.
	// All writes return it once the damage has kept the engine from tidying its files for
	// so long that it could take no more; see Stats.Damaged.
	ErrCorrupt = store.ErrCorrupt

	// ErrUnreadable is returned by a read that the disk or the operating system
	// refused, because of an I/O error or a limit of open files for example. The error
	// names the file and the cause. The call had no effect and may be repeated.
	ErrUnreadable = store.ErrUnreadable

	// ErrFormat is returned by Open for a store written by a newer release.
	ErrFormat = store.ErrFormat

	// ErrLocked is returned by Open for a directory that is already open, in
	// this process or another. The error names the process if LOCK does. The
	// directory stays locked if it is renamed, copied or linked, and if LOCK
	// is deleted.
	ErrLocked = store.ErrLocked

	// ErrNotStore is returned by Open for a path that is a file, or a
	// directory with other things in it.
	ErrNotStore = store.ErrNotStore

	// ErrTxDone is returned by a Tx, and by every view of one, after the
	// function it was passed to has returned.
	ErrTxDone = store.ErrTxDone

	// ErrReadOnly is returned by a write in View.
	ErrReadOnly = store.ErrReadOnly

	// ErrNested is returned by an Update that is called inside another and
	// would have to wait for its lock. That includes one of another store,
	// which might not have to wait for ever: it is refused all the same.
	ErrNested = store.ErrNested

	// ErrTooLarge refuses a name, payload, batch or transaction over its
	// limit; the error says which, its size and the limit.
	ErrTooLarge = store.ErrTooLarge

	// ErrInvalid refuses an argument that makes no sense; the error says why.
	ErrInvalid = store.ErrInvalid

	// ErrConfigMismatch is returned when an object is opened or declared with
	// a configuration other than the stored one; the error names the field.
	ErrConfigMismatch = store.ErrConfigMismatch

	// ErrNotFound is what the packages return, under names of their own, for an object
	// or a message that does not exist: log.ErrUnknownTopic, workqueue.ErrUnknownQueue
	// and so on.
	ErrNotFound = store.ErrNotFound

	// ErrDeleted is what they return from a handle whose object has been deleted:
	// log.ErrTopicDeleted, workqueue.ErrQueueDeleted and so on.
	ErrDeleted = store.ErrDeleted

	// ErrLost is what they return for a delivery, a receipt, a claim or an assignment
	// that is not the caller's any more: workqueue.ErrDeliveryLost, log.ErrFenced and so
	// on. Somebody else may have it.
	ErrLost = store.ErrLost

	// ErrFull is what they return for a queue at one of its limits:
	// workqueue.ErrQueueFull and visibility.ErrInFlightLimit.
	ErrFull = store.ErrFull
)
