package workqueue

import (
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Errors of this package. An error belongs to the call that returned it and
// leaves everything else as it is; nothing closes a channel, as in AMQP.
var (
	// ErrUnknownQueue is returned for a queue that does not exist.
	ErrUnknownQueue = store.CaseOf(store.ErrNotFound, "workqueue: unknown queue")

	// ErrUnknownExchange is returned for an exchange that does not exist.
	ErrUnknownExchange = store.CaseOf(store.ErrNotFound, "workqueue: unknown exchange")

	// ErrUnknownBinding is returned by Unbind for a binding that does not exist.
	ErrUnknownBinding = store.CaseOf(store.ErrNotFound, "workqueue: unknown binding")

	// ErrUnknownBroker is returned by LookupBroker for a broker that does not exist.
	ErrUnknownBroker = store.CaseOf(store.ErrNotFound, "workqueue: unknown broker")

	// ErrUnknownJob is returned by DeleteJob for a job that does not exist.
	ErrUnknownJob = store.CaseOf(store.ErrNotFound, "workqueue: unknown job")

	// ErrUnknownDestination is returned for a topic or a visibility queue that
	// is to be bound and does not exist.
	ErrUnknownDestination = store.CaseOf(store.ErrNotFound, "workqueue: unknown destination")

	// ErrUnknownMessage is returned by Peek and Cancel for a message that is not
	// where it was said to be, or not any more.
	ErrUnknownMessage = store.CaseOf(store.ErrNotFound, "workqueue: unknown message")

	// ErrUnroutable refuses a Mandatory message that no binding matches.
	ErrUnroutable = errors.New("workqueue: message is unroutable")

	// ErrSettled refuses to acknowledge a delivery twice.
	ErrSettled = errors.New("workqueue: delivery is settled already")

	// ErrDeliveryLost refuses to acknowledge a delivery that went back to its
	// queue, because its consumer was closed or its AckTimeout was over.
	ErrDeliveryLost = store.CaseOf(store.ErrLost, "workqueue: delivery was lost")

	// ErrConsumerClosed is returned by a consumer after Close.
	ErrConsumerClosed = errors.New("workqueue: consumer is closed")

	// ErrQueueDeleted ends the consumers of a queue that was deleted, and
	// refuses what they still hold.
	ErrQueueDeleted = store.CaseOf(store.ErrDeleted, "workqueue: queue was deleted")

	// ErrNotEmpty refuses to delete a queue that is to be deleted if it is empty.
	ErrNotEmpty = errors.New("workqueue: queue is not empty")

	// ErrQueueFull refuses a message that a queue has no room for: see Overflow.
	ErrQueueFull = store.CaseOf(store.ErrFull, "workqueue: queue is full")

	// ErrInUse refuses to declare or delete what is reserved or in use.
	ErrInUse = errors.New("workqueue: in use")
)
