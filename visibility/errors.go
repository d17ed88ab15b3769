package visibility

import (
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Errors of this package. Those of the store (a bad argument, a limit, a
// stored configuration that differs, a closed store) are in package pebblemq.
var (
	// ErrUnknownQueue is returned for a queue that does not exist.
	ErrUnknownQueue = store.CaseOf(store.ErrNotFound, "visibility: unknown queue")

	// ErrQueueDeleted is returned by every use of a queue that has been deleted.
	ErrQueueDeleted = store.CaseOf(store.ErrDeleted, "visibility: queue was deleted")

	// ErrUnknownMessage is returned by Peek, Get and Cancel for a message that is not
	// there, or not any more.
	ErrUnknownMessage = store.CaseOf(store.ErrNotFound, "visibility: unknown message")

	// ErrRedriveRunning is returned by Redrive while another one of the same queue
	// is running.
	ErrRedriveRunning = errors.New("visibility: a redrive is running")

	// ErrInvalidReceipt is returned for a receipt that this queue has not
	// given out: garbage, one of another queue, or one of an earlier queue of
	// that name. Nothing happened.
	ErrInvalidReceipt = errors.New("visibility: invalid receipt")

	// ErrStaleReceipt is returned for a receipt whose message has been
	// received again since. Whoever has the newer receipt has the message;
	// nothing happened.
	ErrStaleReceipt = store.CaseOf(store.ErrLost, "visibility: stale receipt, the message was received again")

	// ErrNotInFlight is returned by ChangeVisibility when the visibility
	// timeout has ended, or the message was released or deleted, and by Delete
	// when it has ended in a FIFO queue. Nothing happened.
	ErrNotInFlight = store.CaseOf(store.ErrLost, "visibility: message is not in flight")

	// ErrExpired is returned for a receipt whose message was kept for as long as
	// QueueConfig.Retention says: it is gone. Nothing happened.
	ErrExpired = store.CaseOf(store.ErrLost, "visibility: the retention of the message is over")

	// ErrNotAllowed is returned when DeadLetterSources or DeadLettersDenied of a
	// queue do not let it be another's dead-letter queue.
	ErrNotAllowed = errors.New("visibility: the dead-letter queue does not take messages of this queue")

	// ErrInFlightLimit is returned by a receive that does not wait while as many
	// messages are in flight as QueueConfig.MaxInFlight says.
	ErrInFlightLimit = store.CaseOf(store.ErrFull, "visibility: too many messages in flight")

	// ErrLeaseLost is the cause of the end of a handler's context in Run: the
	// message was taken from it, or its time could not be extended.
	ErrLeaseLost = store.CaseOf(store.ErrLost, "visibility: lease lost")
)
