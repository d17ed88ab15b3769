package workqueue

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Cancel removes the delayed messages with that MessageID from the queue; most often that is
// one. It is durable when Cancel returns: the message is not delivered then. A message that is
// due cannot be cancelled. If the message is due or unknown, the error is ErrUnknownMessage. A
// message that was published to several queues is cancelled in each.
//
// The message is found by an index, at a cost that does not depend on how many are
// delayed. RabbitMQ's plugin for delays has no such thing.
func (q *Queue) Cancel(ctx context.Context, messageID string) error {
	return queue.CancelAll(ctx, q.b.s, func() (*queue.CancelOp, error) { return q.cancel(ctx, messageID) })
}

// CancelAt is Cancel of the delayed message at a position, which Browse has told.
func (q *Queue) CancelAt(ctx context.Context, at Position) error {
	op, err := q.cancelAt(ctx, at)
	if err != nil {
		return err
	}
	return q.b.s.Do(ctx, op, store.Default)
}

// QueueTx is a queue within a transaction. Its verbs are carried out when the transaction
// commits; one that is refused refuses the transaction.
type QueueTx struct {
	q *Queue
	x *store.Tx
}

// In binds the queue to a transaction, which must be of the same store.
func (q *Queue) In(tx *pebblemq.Tx) QueueTx {
	return QueueTx{q: q, x: bridge.Tx(tx).For(q.b.s, "queue", q.Name())}
}

// Cancel is Queue.Cancel as a part of the transaction, which is refused with
// ErrUnknownMessage if the message has become due when it commits. It is about messages
// that were published before the call, up to 1023 of them.
func (t QueueTx) Cancel(messageID string) error {
	op, err := t.q.cancel(t.x.Context(), messageID)
	if err == nil && op.More() {
		err = store.TooLarge("number of delayed messages with one MessageID", queue.MaxLater, queue.MaxLater-1)
	}
	if err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(op, 0)
}

// CancelAt is Queue.CancelAt as a part of the transaction.
func (t QueueTx) CancelAt(at Position) error {
	op, err := t.q.cancelAt(t.x.Context(), at)
	if err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(op, 0)
}

// cancel finds what is to be cancelled.
func (q *Queue) cancel(ctx context.Context, messageID string) (*queue.CancelOp, error) {
	if messageID == "" {
		return nil, store.Invalid("cancel of a message without a MessageID: use CancelAt")
	}
	o, err := q.newCancel(ctx, fmt.Sprintf("message id %q", messageID))
	if err != nil {
		return nil, err
	}
	o.ID = []byte(messageID)
	o.At, err = q.queue.core.Later(ctx, o.ID)
	return o, err
}

func (q *Queue) cancelAt(ctx context.Context, at Position) (*queue.CancelOp, error) {
	p, err := at.parse()
	if err != nil {
		return nil, err
	}
	o, err := q.newCancel(ctx, "position "+string(at))
	if err != nil {
		return nil, err
	}
	o.At = []queue.Position{p}
	return o, nil
}

func (q *Queue) newCancel(ctx context.Context, which string) (*queue.CancelOp, error) {
	if err := q.look(ctx); err != nil {
		return nil, err
	}
	return &queue.CancelOp{Queue: q.Name(), Which: which, Alive: q.queue.alive, Remove: q.queue.core.Cancel, None: ErrUnknownMessage}, nil
}
