package workqueue

import (
	"context"
	"fmt"
	"iter"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/payload"
	"github.com/pebblemq/pebblemq/internal/store"
)

// TypedQueue is a queue whose messages have values of type T as their bodies. It has the verbs
// of the Queue, and those that put, take and run are about values. It is safe for concurrent
// use. Several of them, also with other types, may share a queue.
//
// A body that cannot be decoded is a pebblemq.CodecError. Run and RunBatch make its message a
// dead letter with that error at once. The verbs that take deliver the message like any other, and the
// error comes from TypedDelivery.Decode: Reject makes it a dead letter.
type TypedQueue[T any] struct {
	*Queue
	codec pebblemq.Codec[T]
}

// Typed returns a queue with values of type T as bodies. With a nil Codec its verbs return
// ErrInvalid.
func Typed[T any](q *Queue, c pebblemq.Codec[T]) TypedQueue[T] { return TypedQueue[T]{q, c} }

// Message returns a message with the value as its body, for the verbs of the Broker:
// exchanges, batches, jobs and PublishAsync. The rest is as in with, whose Body must be nil; a
// nil with is the zero Message. The ContentType is that of the Codec, unless with has one.
func (q TypedQueue[T]) Message(value T, with *Message) (m Message, err error) {
	if with != nil {
		m = *with
	}
	if m.Body != nil {
		return Message{}, store.Invalid("message for queue %q has a Body of %d bytes beside its value", q.Name(), len(m.Body))
	}
	body, contentType, err := payload.Encode(q.codec, func() string { return fmt.Sprintf("value for queue %q", q.Name()) }, value)
	if err != nil {
		return Message{}, err
	}
	if m.Body = body; m.ContentType == "" {
		m.ContentType = contentType
	}
	return m, nil
}

// Publish publishes a value to the queue through the default exchange, as Broker.Publish does.
// With says what else the message has, see Message.
func (q TypedQueue[T]) Publish(ctx context.Context, value T, with *Message) error {
	m, err := q.Message(value, with)
	if err != nil {
		return err
	}
	return q.b.Publish(ctx, "", q.Name(), m)
}

// Decode returns the value of a delivery of the queue, or a pebblemq.CodecError. It is for what
// comes from the verbs of the Queue, such as Get.
func (q TypedQueue[T]) Decode(d *Delivery) (value T, err error) {
	if err := d.real(); err != nil {
		return value, err
	}
	return payload.Decode(q.codec, func() string {
		if d.MessageID == "" {
			return fmt.Sprintf("message #%d of queue %q", d.m.Seq, q.Name())
		}
		return fmt.Sprintf("message %q of queue %q", d.MessageID, q.Name())
	}, d.Body)
}

// TypedDelivery is a Delivery whose body is a value. It has all verbs of that.
type TypedDelivery[T any] struct {
	*Delivery
	q TypedQueue[T]
}

// Decode returns the value. If the body cannot be decoded, it returns a pebblemq.CodecError, and
// the delivery is still to be settled.
func (d TypedDelivery[T]) Decode() (T, error) { return d.q.Decode(d.Delivery) }

// Get is Queue.Get.
func (q TypedQueue[T]) Get(ctx context.Context) (d TypedDelivery[T], ok bool, err error) {
	got, ok, err := q.Queue.Get(ctx)
	return TypedDelivery[T]{got, q}, ok, err
}

// Consume is Queue.Consume.
func (q TypedQueue[T]) Consume(ctx context.Context, o *ConsumeOptions) (*TypedConsumer[T], error) {
	c, err := q.Queue.Consume(ctx, o)
	if err != nil {
		return nil, err
	}
	return &TypedConsumer[T]{c, q}, nil
}

// TypedConsumer is a Consumer of values. It has all verbs of that.
type TypedConsumer[T any] struct {
	*Consumer
	q TypedQueue[T]
}

// Next is Consumer.Next.
func (c *TypedConsumer[T]) Next(ctx context.Context) (TypedDelivery[T], error) {
	d, err := c.Consumer.Next(ctx)
	return TypedDelivery[T]{d, c.q}, err
}

// Fetch is Consumer.Fetch.
func (c *TypedConsumer[T]) Fetch(ctx context.Context, limit int) ([]TypedDelivery[T], error) {
	list, err := c.Consumer.Fetch(ctx, limit)
	typed := make([]TypedDelivery[T], len(list))
	for i, d := range list {
		typed[i] = TypedDelivery[T]{d, c.q}
	}
	return typed, err
}

// Deliveries is Consumer.Deliveries.
func (c *TypedConsumer[T]) Deliveries(ctx context.Context) iter.Seq2[TypedDelivery[T], error] {
	return func(yield func(TypedDelivery[T], error) bool) {
		for d, err := range c.Consumer.Deliveries(ctx) {
			if !yield(TypedDelivery[T]{d, c.q}, err) {
				return
			}
		}
	}
}

// Run is Queue.Run with a handler of values. Middleware and the other options see deliveries,
// also those whose body cannot be decoded. The handler does not.
func (q TypedQueue[T]) Run(ctx context.Context, h func(ctx context.Context, value T, d *Delivery) error, o *RunOptions) error {
	handler, err := payload.Handler(q.codec, q.Decode, h)
	if err != nil {
		return err
	}
	return q.Queue.Run(ctx, handler, o)
}

// RunBatch is Queue.RunBatch with a handler of values, of which values[i] is that of batch[i].
// A delivery whose body cannot be decoded is a dead letter and not in the batch. A BatchError has
// an entry for each value.
func (q TypedQueue[T]) RunBatch(ctx context.Context, h func(ctx context.Context, values []T, batch []*Delivery) error, o *RunOptions) error {
	handler, err := payload.BatchHandler(q.codec, q.Decode, h)
	if err != nil {
		return err
	}
	return q.Queue.RunBatch(ctx, handler, o)
}

// TypedQueueTx is a TypedQueue within a transaction. Deliveries are settled with BrokerTx.
type TypedQueueTx[T any] struct {
	QueueTx
	q TypedQueue[T]
}

// In binds the queue to a transaction, which must be of the same store.
func (q TypedQueue[T]) In(tx *pebblemq.Tx) TypedQueueTx[T] { return TypedQueueTx[T]{q.Queue.In(tx), q} }

// Publish is TypedQueue.Publish as a part of the transaction. A value that cannot be encoded
// refuses the transaction.
func (t TypedQueueTx[T]) Publish(value T, with *Message) error {
	m, err := t.q.Message(value, with)
	if err != nil {
		return t.x.Fail(err)
	}
	return BrokerTx{b: t.q.b, x: t.x}.Publish("", t.q.Name(), m)
}
