package visibility

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Send puts a message at the end of the queue and returns its ID. It is durable
// when Send returns, unless the store or the context says NoSync, and is not
// received by anyone before that. The message is copied. If it is a duplicate,
// see Message.DedupeID, nothing is sent, and the ID is that of the original;
// SendBatch tells one from the other.
func (q *Queue) Send(ctx context.Context, m Message) (id string, err error) {
	attributes, end := traceSend(ctx, q, store.StepSend, &m)
	m.Attributes = attributes
	op, err := q.newSend(&m)
	if err == nil {
		err = q.s.Do(ctx, op, store.Default)
	}
	if end(err); err != nil {
		return "", err
	}
	return op.result().ID, nil
}

// SendAsync is Send without waiting for the disk: messages of one caller keep their
// order. It waits only while the store cannot take more. The Future has the outcome, a
// refusal of the message included; the Err of its SendResult is always nil.
func (q *Queue) SendAsync(ctx context.Context, m Message) *pebblemq.Future[SendResult] {
	f := new(pebblemq.Future[SendResult])
	attributes, end := traceSend(ctx, q, store.StepSend, &m)
	m.Attributes = attributes
	op, err := q.newSend(&m)
	if err == nil {
		err = q.s.Go(ctx, op, store.Default, func(err error) {
			end(err)
			var is SendResult
			if err == nil {
				is = op.result()
			}
			bridge.Settle(f, is, err)
		})
	}
	if err != nil {
		end(err)
		bridge.Settle(f, SendResult{}, err)
	}
	return f
}

// newSend encodes a message, which takes time, before the baton is taken.
func (q *Queue) newSend(m *Message) (*sendOp, error) {
	c := q.config()
	if err := m.check(c); err != nil {
		return nil, q.about(m, err)
	}
	identity, err := q.identify(m)
	if err != nil {
		return nil, q.about(m, err)
	}
	o := &sendOp{q: q, id: m.ID, delay: c.Delay, lane: m.Priority, identity: identity}
	if o.id == "" {
		o.id = newID()
	}
	if m.Delay != 0 {
		o.delay = max(m.Delay, 0) // of NoDelay
	}
	o.data = encodeMessage(o.id, m, q.s.Now())
	return o, nil
}

// sendOp puts one message.
type sendOp struct {
	q       *Queue
	id      string
	data    []byte
	payload store.Payload // that follows data, if it is shared
	delay   time.Duration
	lane    byte
	put     *queue.Message
	delayed queue.Delayed
	later   bool // it is delayed

	identity *identity // nil if it is not deduplicated
	first    *original // that this one repeats
}

func (o *sendOp) String() string { return fmt.Sprintf("send to queue %q", o.q.name) }

func (o *sendOp) Run(t *store.Turn) error {
	if o.q.dropped {
		return o.q.gone()
	}
	var err error
	if o.first, err = o.before(t); o.first != nil || err != nil {
		return err
	}
	if o.lane, err = o.q.core.Pin(t, o.lane, o.data); err != nil {
		return err
	}
	stamp(o.data, t.Now())
	var due time.Time
	if due, o.later, err = o.due(t); err != nil {
		return err
	}
	if o.later {
		o.delayed = o.q.core.PutDelayed(t, o.lane, queue.Content{Data: o.data, Payload: o.payload}, due)
		o.q.holdUp(t, o.data, o.delayed)
	} else {
		o.put = o.q.core.Put(t, o.lane, queue.Content{Data: o.data, Payload: o.payload})
	}
	o.remember(t)
	return nil
}

func (o *sendOp) Undo() {
	switch {
	case o.first != nil:
	case o.later:
		o.q.core.UndoDelayed(o.delayed)
	default:
		o.q.core.UndoPut(o.put)
	}
}

func (o *sendOp) Visible(t *store.Turn) {
	switch {
	case o.first != nil:
	case o.later:
		o.q.core.ShowDelayed(t, o.delayed)
	default:
		o.q.core.Show(t, o.put)
	}
}
