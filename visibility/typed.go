package visibility

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/payload"
	"github.com/pebblemq/pebblemq/internal/store"
)

// TypedQueue is a queue whose messages have values of type T as their bodies. It has the verbs
// of the Queue, and those that put, take and run are about values. It is safe for concurrent
// use. Several of them, also with other types, may share a queue.
//
// A body that cannot be decoded is a pebblemq.CodecError. Run and RunBatch make its message a
// dead letter with that error at once. Receive returns the message like any other, and the error comes from
// TypedReceived.Decode: if the message is not deleted, it is received again and becomes a dead
// letter after MaxReceives.
type TypedQueue[T any] struct {
	*Queue
	codec pebblemq.Codec[T]
}

// Typed returns a queue with values of type T as bodies. With a nil Codec its verbs return
// ErrInvalid.
func Typed[T any](q *Queue, c pebblemq.Codec[T]) TypedQueue[T] { return TypedQueue[T]{q, c} }

// Message returns a message with the value as its body, for SendBatch and SendAsync. The rest
// is as in with, whose Body must be nil; a nil with is the zero Message.
func (q TypedQueue[T]) Message(value T, with *Message) (m Message, err error) {
	if with != nil {
		m = *with
	}
	if m.Body != nil {
		return Message{}, q.about(&m, store.Invalid("there is a Body of %d bytes beside the value", len(m.Body)))
	}
	m.Body, _, err = payload.Encode(q.codec, func() string { return "value for " + named(q.name) }, value)
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// Send is Queue.Send of a value. With says what else the message has, see Message.
func (q TypedQueue[T]) Send(ctx context.Context, value T, with *Message) (id string, err error) {
	m, err := q.Message(value, with)
	if err != nil {
		return "", err
	}
	return q.Queue.Send(ctx, m)
}

// Decode returns the value of a message of the queue, or a pebblemq.CodecError. It is for what
// comes from the verbs of the Queue, such as Receive.
func (q TypedQueue[T]) Decode(m *Received) (value T, err error) {
	if m == nil {
		return value, store.Invalid("the message is nil")
	}
	return payload.Decode(q.codec, func() string { return fmt.Sprintf("message %q of %s", m.ID, named(q.name)) }, m.Body)
}

// TypedReceived is a message that was received, whose body is a value.
type TypedReceived[T any] struct {
	*Received
	q TypedQueue[T]
}

// Decode returns the value. If the body cannot be decoded, it returns a pebblemq.CodecError, and
// the message is still in flight.
func (m TypedReceived[T]) Decode() (T, error) { return m.q.Decode(m.Received) }

// Receive is Queue.Receive.
func (q TypedQueue[T]) Receive(ctx context.Context, o *ReceiveOptions) ([]TypedReceived[T], error) {
	list, err := q.Queue.Receive(ctx, o)
	typed := make([]TypedReceived[T], len(list))
	for i, m := range list {
		typed[i] = TypedReceived[T]{m, q}
	}
	return typed, err
}

// Run is Queue.Run with a handler of values. Middleware and the other options see messages,
// also those whose body cannot be decoded. The handler does not.
func (q TypedQueue[T]) Run(ctx context.Context, h func(ctx context.Context, value T, m *Received) error, o *RunOptions) error {
	handler, err := payload.Handler(q.codec, q.Decode, h)
	if err != nil {
		return err
	}
	return q.Queue.Run(ctx, handler, o)
}

// RunBatch is Queue.RunBatch with a handler of values, of which values[i] is that of batch[i].
// A message whose body cannot be decoded is a dead letter and not in the batch. A BatchError has
// an entry for each value.
func (q TypedQueue[T]) RunBatch(ctx context.Context, h func(ctx context.Context, values []T, batch []*Received) error, o *RunOptions) error {
	handler, err := payload.BatchHandler(q.codec, q.Decode, h)
	if err != nil {
		return err
	}
	return q.Queue.RunBatch(ctx, handler, o)
}

// TypedQueueTx is a TypedQueue within a transaction. It has all verbs of QueueTx.
type TypedQueueTx[T any] struct {
	QueueTx
	q TypedQueue[T]
}

// In returns the queue within a transaction.
func (q TypedQueue[T]) In(tx *pebblemq.Tx) TypedQueueTx[T] { return TypedQueueTx[T]{q.Queue.In(tx), q} }

// Send is TypedQueue.Send as a part of the transaction. A value that cannot be encoded refuses
// the transaction.
func (v TypedQueueTx[T]) Send(value T, with *Message) (id string, err error) {
	m, err := v.q.Message(value, with)
	if err != nil {
		return "", v.x.Fail(err)
	}
	return v.QueueTx.Send(m)
}
