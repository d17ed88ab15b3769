package visibility

import (
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Errors of this package. Those of the store (a bad argument, a limit, a
// stored configuration that differs, a closed store) are in package pebblemq.
var (
	// ErrUnknownQueue is returned for a queue that does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownQueue error

	// ErrQueueDeleted is returned by every use of a queue that has been deleted.
	// It is pebblemq.ErrDeleted too.
	ErrQueueDeleted error

	// ErrUnknownMessage is returned by Peek, Find and Cancel for a message that is not
	// there, or not any more.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownMessage error

	// ErrRedriveRunning is returned by Redrive while another one of the same queue
	// is running.
	ErrRedriveRunning = errors.New("visibility: a redrive is running")

	// ErrInvalidReceipt is returned for a receipt that this queue has not
	// given out: garbage, one of another queue, or one of an earlier queue of
	// that name. Nothing happened.
	ErrInvalidReceipt = errors.New("visibility: invalid receipt")

	// ErrStaleReceipt is returned for a receipt whose message has been received again since.
	// The newer receipt is the valid one; nothing happened. It is pebblemq.ErrLost too.
	ErrStaleReceipt error

	// ErrNotInFlight is returned by ChangeVisibility when the visibility
	// timeout has ended, or the message was released or deleted, and by Delete
	// when it has ended in a FIFO queue. Nothing happened.
	// It is pebblemq.ErrLost too.
	ErrNotInFlight error

	// ErrExpired is returned for a receipt whose message was kept for as long as
	// QueueConfig.Retention says: it is gone. Nothing happened.
	// It is pebblemq.ErrLost too.
	ErrExpired error

	// ErrNotAllowed is returned when DeadLetterSources or DeadLettersDenied of a
	// queue do not let it be another's dead-letter queue.
	ErrNotAllowed = errors.New("visibility: the dead-letter queue does not take messages of this queue")

	// ErrInFlightLimit is returned by a receive that does not wait while as many
	// messages are in flight as QueueConfig.MaxInFlight says.
	// It is pebblemq.ErrFull too.
	ErrInFlightLimit error

	// ErrLeaseLost is the cause of the end of a handler's context in Run: the
	// message was taken from it, or its time could not be extended.
	// It is pebblemq.ErrLost too.
	ErrLeaseLost error

	// ErrKeep is returned by a handler of Run to neither delete nor release its message. The
	// message stays hidden until its visibility timeout ends.
	ErrKeep error
)

// These errors are assigned here, so that go doc shows no internal name.
func init() {
	ErrUnknownQueue = store.CaseOf(store.ErrNotFound, "visibility: unknown queue")
	ErrQueueDeleted = store.CaseOf(store.ErrDeleted, "visibility: queue was deleted")
	ErrUnknownMessage = store.CaseOf(store.ErrNotFound, "visibility: unknown message")
	ErrStaleReceipt = store.CaseOf(store.ErrLost, "visibility: stale receipt, the message was received again")
	ErrNotInFlight = store.CaseOf(store.ErrLost, "visibility: message is not in flight")
	ErrExpired = store.CaseOf(store.ErrLost, "visibility: the retention of the message is over")
	ErrInFlightLimit = store.CaseOf(store.ErrFull, "visibility: too many messages in flight")
	ErrLeaseLost = store.CaseOf(store.ErrLost, "visibility: lease lost")
	ErrKeep = store.CaseOf(worker.ErrLeave, "visibility: keep the message in flight")
}
