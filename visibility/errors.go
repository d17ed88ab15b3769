package visibility

import (
	"errors"
	"fmt"
)

// Errors of this package. Those of the store (a bad argument, a limit, a
// stored configuration that differs, a closed store) are in package pebblemq.
var (
	// ErrNoQueue is returned for a queue that does not exist, or was deleted
	// while the handle was open.
	ErrNoQueue = errors.New("visibility: no such queue")

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

	// ErrExpired is returned for a receipt whose message is gone because the
	// retention of the queue was over, also if it was deleted before that. It is
	// an ErrNotInFlight. Nothing happened.
	ErrExpired = fmt.Errorf("%w: its retention is over", ErrNotInFlight)

	// ErrInFlightLimit is returned by a receive that does not wait while as many
	// messages are in flight as QueueConfig.MaxInFlight says.
	ErrInFlightLimit = errors.New("visibility: too many messages in flight")

	// ErrLeaseLost is the cause of the end of a handler's context in Run: the
	// message was taken from it, or its time could not be extended.
	ErrLeaseLost = errors.New("visibility: lease lost")
)
