package visibility

import "errors"

// Errors of this package. Those of the store (a bad argument, a limit, a
// stored configuration that differs, a closed store) are in package pebblemq.
var (
	// ErrNoQueue is returned for a queue that does not exist, or was deleted
	// while the handle was open.
	ErrNoQueue = errors.New("visibility: no such queue")

	// ErrNoMessage is returned by Peek, Get and Cancel for a message that is not
	// there, or not any more.
	ErrNoMessage = errors.New("visibility: no such message")

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
	ErrStaleReceipt = errors.New("visibility: stale receipt, the message was received again")

	// ErrNotInFlight is returned by ChangeVisibility when the visibility
	// timeout has ended, or the message was released or deleted, and by Delete
	// when it has ended in a FIFO queue. Nothing happened.
	ErrNotInFlight = errors.New("visibility: message is not in flight")

	// ErrExpired is returned for a receipt whose message was kept for as long as
	// QueueConfig.Retention says: it is gone. Nothing happened.
	ErrExpired = errors.New("visibility: the retention of the message is over")

	// ErrNotAllowed is returned when DeadLetterSources or DeadLettersDenied of a
	// queue do not let it be another's dead-letter queue.
	ErrNotAllowed = errors.New("visibility: the dead-letter queue does not take messages of this queue")

	// ErrInFlightLimit is returned by a receive that does not wait while as many
	// messages are in flight as QueueConfig.MaxInFlight says.
	ErrInFlightLimit = errors.New("visibility: too many messages in flight")

	// ErrLeaseLost is the cause of the end of a handler's context in Run: the
	// message was taken from it, or its time could not be extended.
	ErrLeaseLost = errors.New("visibility: lease lost")
)
