package workqueue

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// Publish sends a message to every queue that the exchange routes its key to, all of them or
// none. It returns when all of them hold it durably. The key is UTF-8, up to MaxPropertyBytes.
// The default exchange, "", routes to the queue that is named by the key, and a name that no
// queue has is ErrUnknownQueue, also one of CC and BCC. A message that matches nothing of
// another exchange is accepted and counted, unless it is Mandatory. One with a MessageID that
// the exchange or a queue knows has no effect there; see their DedupeWindow. Nor has one with
// the UniqueKey of another in a queue; to be told so use PublishAsync.
func (b *Broker) Publish(ctx context.Context, exchange, key string, m Message) error {
	headers, end := tracePublish(ctx, b, store.StepSend, exchange, key, &m)
	m.Headers = headers
	op, err := b.publishing(exchange, key, m)
	if err == nil {
		err = b.s.Do(ctx, op, store.Default)
	}
	end(err)
	return err
}

// PublishBatch publishes several messages through one exchange, in their order,
// as one commit: all of them or none.
func (b *Broker) PublishBatch(ctx context.Context, exchange string, batch []Publishing) error {
	if len(batch) == 0 {
		return store.Invalid("publish of an empty batch")
	}
	if len(batch) > MaxBatch {
		return store.TooLarge("number of messages in a batch", int64(len(batch)), MaxBatch)
	}
	batch, end := tracePublishBatch(ctx, b, exchange, batch)
	ops, err := b.publishingAll(exchange, batch)
	if err == nil {
		err = b.s.Do(ctx, ops, store.Default)
	}
	end(err)
	return err
}

// publishingAll is publishing for a batch.
func (b *Broker) publishingAll(exchange string, batch []Publishing) (ops batchOp, err error) {
	ops = make(batchOp, len(batch))
	for i, p := range batch {
		if ops[i], err = b.publishing(exchange, p.Key, p.Message); err != nil {
			return nil, fmt.Errorf("message %d of the batch: %w", i, err)
		}
	}
	return ops, nil
}

// Published says what became of a message that PublishAsync has published.
type Published struct {
	// Routed is how many queues, topics and visibility queues the message led to, whether
	// or not they had it already. It is 0 if the message was accepted but led nowhere.
	Routed int
	// Duplicates has each queue that holds another message with the same UniqueKey.
	Duplicates []Duplicate
}

// PublishAsync is Publish without waiting for the disk: messages of one caller
// keep their order. It waits only while the store cannot take more. The Future has the
// outcome, a refusal of the arguments included.
func (b *Broker) PublishAsync(ctx context.Context, exchange, key string, m Message) *pebblemq.Future[Published] {
	f := new(pebblemq.Future[Published])
	headers, end := tracePublish(ctx, b, store.StepSend, exchange, key, &m)
	m.Headers = headers
	op, err := b.publishing(exchange, key, m)
	if err == nil {
		err = b.s.Go(ctx, op, store.Default, func(err error) {
			end(err)
			var is Published
			if err == nil {
				is = Published{op.routed, op.duplicates}
			}
			bridge.Settle(f, is, err)
		})
	}
	if err != nil {
		end(err)
		bridge.Settle(f, Published{}, err)
	}
	return f
}

// BrokerTx is a broker within a transaction. Its verbs are carried out when the
// transaction commits; one that is refused refuses the transaction.
type BrokerTx struct {
	b *Broker
	x *store.Tx
}

// In binds the broker to a transaction, which must be of the same store.
func (b *Broker) In(tx *pebblemq.Tx) BrokerTx {
	return BrokerTx{b: b, x: bridge.Tx(tx).For(b.s, "broker", b.t.name)}
}

// Publish is Broker.Publish as a part of the transaction.
func (t BrokerTx) Publish(exchange, key string, m Message) error {
	headers, end := tracePublish(t.x.Context(), t.b, store.StepCreate, exchange, key, &m)
	m.Headers = maps.Clone(headers) // routed by at the commit
	err := t.add(t.b.publishing(exchange, key, m))
	end(err)
	return err
}

// add makes the publish a part of the transaction, or fails the transaction if the message was
// refused.
func (t BrokerTx) add(op *publishOp, err error) error {
	if err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(op, len(op.parcel.data))
}

// publishing checks and encodes a message, outside the baton.
func (b *Broker) publishing(exchange, key string, m Message) (*publishOp, error) {
	if exchange != "" {
		if err := store.CheckName("exchange", exchange); err != nil {
			return nil, err
		}
	}
	if err := checkShort("routing key", key); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	if m.Timestamp.IsZero() {
		m.Timestamp = b.s.Now()
	}
	m.TTL = storedTTL(m.TTL)
	op := &publishOp{t: b.t, message: m, parcel: newParcel(&envelope{Message: m, exchange: exchange, key: key})}
	op.parcel.unique = uniqueKey(m.UniqueKey)
	op.message.Body = nil // which is the caller's
	op.address = address{exchange: exchange, key: key, more: slices.Concat(m.CC, m.BCC), m: &op.message}
	return op, nil
}

// publishOp puts one message where it is routed to.
type publishOp struct {
	t       *topology
	address address
	message Message // but for its body
	parcel  parcel
	hashed  window.ID
	routed  int // places, once it has run
	counted bool
	answer  bool // to a request, whose sender may be gone
	copies  copies
	one     [1]placed // most messages go to one queue

	duplicates []Duplicate
}

func (o *publishOp) String() string {
	return fmt.Sprintf("publish to exchange %q with key %q", o.address.exchange, o.address.key)
}

func (o *publishOp) Run(t *store.Turn) error {
	e := o.t.exchanges[o.address.exchange]
	if e == nil {
		return o.route(t)
	}
	if e.config.Internal {
		return fmt.Errorf("%w: exchange %q is internal", ErrInUse, o.address.exchange)
	}
	routed, repeated, err := o.seen(t, e.window)
	if err != nil {
		return err
	}
	if repeated {
		o.routed = routed
		return o.refuse()
	}
	if err := o.route(t); err != nil {
		return err
	}
	o.remember(t, e.window)
	return nil
}

// route puts the message where it leads to.
func (o *publishOp) route(t *store.Turn) error {
	to, err := o.t.route(&o.address)
	if err != nil {
		return err
	}
	o.routed = len(to)
	if err := o.refuse(); err != nil {
		return err
	}
	if to, err = o.lacking(t, to); err != nil {
		return err
	}
	if o.counted = o.routed == 0; o.counted {
		o.t.unrouted++
	}
	if len(to) > 0 {
		o.copies, err = o.t.spread(t, o.one[:0], to, &o.parcel)
	}
	return err
}

// refuse refuses a mandatory message that leads nowhere, and any one to a queue that is
// not there.
func (o *publishOp) refuse() error {
	if o.address.exchange == "" && !o.answer && o.routed <= len(o.address.more) { // else each name has its queue
		err := o.t.checkNames(&o.address)
		if err != nil && o.message.Mandatory && o.routed == 0 {
			err = fmt.Errorf("%w: %w", ErrUnroutable, err)
		}
		if err != nil {
			return err
		}
	}
	if o.message.Mandatory && o.routed == 0 {
		return fmt.Errorf("%w: exchange %q, key %q", ErrUnroutable, o.address.exchange, o.address.key)
	}
	return nil
}

func (o *publishOp) Undo() {
	if o.counted {
		o.t.unrouted--
	}
	o.duplicates = nil
	o.copies.undo()
}

func (o *publishOp) Visible(t *store.Turn) { o.copies.show(t) }

// batchOp is several publishings that stand or fall together.
type batchOp []*publishOp

func (o batchOp) Run(t *store.Turn) error {
	written := int64(0)
	for i, op := range o {
		if err := op.Run(t); err != nil {
			o[:i].Undo()
			return fmt.Errorf("message %d of the batch: %w", i, err)
		}
		if written += op.parcel.written; written > store.MaxTx {
			o[:i+1].Undo()
			return store.TooLarge("batch for all its queues in bytes", written, store.MaxTx)
		}
	}
	return nil
}

func (o batchOp) Undo() {
	for i := len(o) - 1; i >= 0; i-- {
		o[i].Undo()
	}
}

func (o batchOp) Visible(t *store.Turn) {
	for _, op := range o {
		op.Visible(t)
	}
}
