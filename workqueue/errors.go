package workqueue

import "errors"

// Errors of this package. An error belongs to the call that returned it and
// leaves everything else as it is; nothing closes a channel, as in AMQP.
var (
	// ErrUnknownQueue is returned for a queue that was not declared.
	ErrUnknownQueue = errors.New("workqueue: unknown queue")

	// ErrUnknownExchange is returned for an exchange that was not declared.
	ErrUnknownExchange = errors.New("workqueue: unknown exchange")

	// ErrUnknownDestination is returned for a topic or a visibility queue that
	// is to be bound and does not exist.
	ErrUnknownDestination = errors.New("workqueue: unknown destination")

	// ErrUnknownMessage is returned by Peek and Cancel for a message that is not
	// where it was said to be, or not any more.
	ErrUnknownMessage = errors.New("workqueue: unknown message")

	// ErrUnroutable refuses a Mandatory message that no binding matches.
	ErrUnroutable = errors.New("workqueue: message is unroutable")

	// ErrSettled refuses to acknowledge a delivery twice.
	ErrSettled = errors.New("workqueue: delivery is settled already")

	// ErrDeliveryLost refuses to acknowledge a delivery that went back to its
	// queue, because its consumer was closed or its AckTimeout was over.
	ErrDeliveryLost = errors.New("workqueue: delivery was lost")

	// ErrConsumerClosed is returned by a consumer after Close.
	ErrConsumerClosed = errors.New("workqueue: consumer is closed")

	// ErrQueueDeleted ends the consumers of a queue that was deleted, and
	// refuses what they still hold.
	ErrQueueDeleted = errors.New("workqueue: queue was deleted")

	// ErrNotEmpty refuses to delete a queue that is to be deleted if it is empty.
	ErrNotEmpty = errors.New("workqueue: queue is not empty")

	// ErrQueueFull refuses a message that a queue has no room for: see Overflow.
	ErrQueueFull = errors.New("workqueue: queue is full")

	// ErrInUse refuses to declare or delete what is reserved or in use.
	ErrInUse = errors.New("workqueue: in use")
)
