package workqueue

import (
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Errors of this package. An error belongs to the call that returned it and
// leaves everything else as it is; nothing closes a channel, as in AMQP.
var (
	// ErrUnknownQueue is returned for a queue that does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownQueue error

	// ErrUnknownExchange is returned for an exchange that does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownExchange error

	// ErrUnknownBinding is returned by Unbind for a binding that does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownBinding error

	// ErrUnknownBroker is returned by LookupBroker for a broker that does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownBroker error

	// ErrUnknownJob is returned by DeleteJob for a job that does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownJob error

	// ErrUnknownDestination is returned for a topic or a visibility queue that
	// is to be bound and does not exist.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownDestination error

	// ErrUnknownMessage is returned by Peek, Find and Cancel for a message that is not
	// where it was said to be, or not any more.
	// It is pebblemq.ErrNotFound too.
	ErrUnknownMessage error

	// ErrUnroutable refuses a Mandatory message that no binding matches.
	ErrUnroutable = errors.New("workqueue: message is unroutable")

	// ErrSettled refuses to acknowledge a delivery twice.
	ErrSettled = errors.New("workqueue: delivery is settled already")

	// ErrDeliveryLost refuses to acknowledge a delivery that went back to its
	// queue, because its consumer was closed or its AckTimeout was over.
	// It is pebblemq.ErrLost too.
	ErrDeliveryLost error

	// ErrConsumerClosed is returned by a consumer after Close.
	ErrConsumerClosed = errors.New("workqueue: consumer is closed")

	// ErrQueueDeleted ends the consumers of a queue that was deleted, and
	// refuses what they still hold.
	// It is pebblemq.ErrDeleted too.
	ErrQueueDeleted error

	// ErrNotEmpty refuses to delete a queue that is to be deleted if it is empty.
	ErrNotEmpty = errors.New("workqueue: queue is not empty")

	// ErrQueueFull refuses a message that a queue has no room for: see Overflow.
	// It is pebblemq.ErrFull too.
	ErrQueueFull error

	// ErrRedriveRunning is returned by Redrive while another one of the same queue
	// is running.
	ErrRedriveRunning = errors.New("workqueue: a redrive is running")

	// ErrInUse refuses to declare or delete what is reserved or in use.
	ErrInUse = errors.New("workqueue: in use")
)

// These errors are assigned here, so that go doc shows no internal name.
func init() {
	ErrUnknownQueue = store.CaseOf(store.ErrNotFound, "workqueue: unknown queue")
	ErrUnknownExchange = store.CaseOf(store.ErrNotFound, "workqueue: unknown exchange")
	ErrUnknownBinding = store.CaseOf(store.ErrNotFound, "workqueue: unknown binding")
	ErrUnknownBroker = store.CaseOf(store.ErrNotFound, "workqueue: unknown broker")
	ErrUnknownJob = store.CaseOf(store.ErrNotFound, "workqueue: unknown job")
	ErrUnknownDestination = store.CaseOf(store.ErrNotFound, "workqueue: unknown destination")
	ErrUnknownMessage = store.CaseOf(store.ErrNotFound, "workqueue: unknown message")
	ErrDeliveryLost = store.CaseOf(store.ErrLost, "workqueue: delivery was lost")
	ErrQueueDeleted = store.CaseOf(store.ErrDeleted, "workqueue: queue was deleted")
	ErrQueueFull = store.CaseOf(store.ErrFull, "workqueue: queue is full")
}
