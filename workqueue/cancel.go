package workqueue

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Cancel removes the delayed messages with that MessageID from a queue; most often that
// is one. It is durable when Cancel returns: the message is not delivered then. Once it
// has become due it cannot be cancelled: then, and if there never was one, the error is
// ErrUnknownMessage. What was published to several queues is cancelled in each.
//
// The message is found by an index, at a cost that does not depend on how many are
// delayed. RabbitMQ's plugin for delays has no such thing.
func (b *Broker) Cancel(ctx context.Context, queue, messageID string) error {
	return spool.CancelAll(ctx, b.s, func() (*spool.CancelOp, error) { return b.cancel(ctx, queue, messageID) })
}

// CancelAt is Cancel of the delayed message at a position, which Browse has told.
func (b *Broker) CancelAt(ctx context.Context, queue string, at Position) error {
	op, err := b.cancelAt(ctx, queue, at)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, op, store.Default)
}

// Cancel is Broker.Cancel as a part of the transaction, which is refused with
// ErrUnknownMessage if the message has become due when it commits. It is about messages
// that were published before the call, up to 1023 of them.
func (t BrokerTx) Cancel(queue, messageID string) error {
	op, err := t.b.cancel(t.x.Context(), queue, messageID)
	if err == nil && op.More() {
		err = store.TooLarge("number of delayed messages with one MessageID", spool.MaxLater, spool.MaxLater-1)
	}
	if err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(op, 0)
}

// CancelAt is Broker.CancelAt as a part of the transaction.
func (t BrokerTx) CancelAt(queue string, at Position) error {
	op, err := t.b.cancelAt(t.x.Context(), queue, at)
	if err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(op, 0)
}

// cancel finds what is to be cancelled.
func (b *Broker) cancel(ctx context.Context, queue, messageID string) (*spool.CancelOp, error) {
	if messageID == "" {
		return nil, store.Invalid("cancel of a message without a MessageID: use CancelAt")
	}
	o, q, err := b.newCancel(ctx, queue, fmt.Sprintf("message id %q", messageID))
	if err != nil {
		return nil, err
	}
	o.ID = []byte(messageID)
	o.At, err = q.spool.Later(ctx, o.ID)
	return o, err
}

func (b *Broker) cancelAt(ctx context.Context, queue string, at Position) (*spool.CancelOp, error) {
	p, err := at.parse()
	if err != nil {
		return nil, err
	}
	o, _, err := b.newCancel(ctx, queue, "position "+string(at))
	if err != nil {
		return nil, err
	}
	o.At = []spool.Position{p}
	return o, nil
}

func (b *Broker) newCancel(ctx context.Context, name, which string) (*spool.CancelOp, *queue, error) {
	q, err := b.find(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	return &spool.CancelOp{Queue: name, Which: which, Alive: q.alive, Remove: q.spool.Cancel, None: ErrUnknownMessage}, q, nil
}
