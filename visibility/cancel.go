package visibility

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Cancel removes the delayed messages with that ID from the queue; unless the sender
// repeats its IDs that is one. It is durable when Cancel returns: the message is not
// received then. Once it is due it cannot be cancelled, as with a scheduled message of
// Azure Service Bus; then, and if there never was one, the error is ErrUnknownMessage.
// Another message with its DedupeID is a duplicate all the same.
//
// The message is found by an index, at a cost that does not depend on how many are
// delayed.
func (q *Queue) Cancel(ctx context.Context, id string) error {
	return queue.CancelAll(ctx, q.s, func() (*queue.CancelOp, error) { return q.cancel(ctx, id) })
}

// Cancel is Queue.Cancel. It refuses the transaction with ErrUnknownMessage if the message
// is due when it commits. It is about messages that were sent before the call, up to
// 1023 of them.
func (v QueueTx) Cancel(id string) error {
	op, err := v.q.cancel(v.x.Context(), id)
	if err == nil && op.More() {
		err = store.TooLarge(fmt.Sprintf("number of delayed messages of %s with ID %q", named(v.q.name), id), queue.MaxLater, queue.MaxLater-1)
	}
	if err != nil {
		return v.x.Fail(err)
	}
	return v.x.Add(op, entryOverhead)
}

// cancel finds what is to be cancelled.
func (q *Queue) cancel(ctx context.Context, id string) (*queue.CancelOp, error) {
	if id == "" {
		return nil, store.Invalid("cancel in %s without a message ID", named(q.name))
	}
	o := &queue.CancelOp{
		Queue: q.name, Which: fmt.Sprintf("ID %q", id), Alive: q.alive, Remove: q.core.Cancel, None: ErrUnknownMessage, ID: []byte(id),
	}
	var err error
	o.At, err = q.core.Later(ctx, o.ID)
	return o, err
}
