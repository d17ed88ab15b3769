package visibility

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Send puts a message at the end of the queue and returns its ID. It is durable
// when Send returns, unless the store or the context says NoSync, and is not
// received by anyone before that. The message is copied. If it is a duplicate,
// see Message.DedupeID, nothing is sent, and the ID is that of the original;
// SendBatch tells one from the other.
func (q *Queue) Send(ctx context.Context, m Message) (id string, err error) {
	op, err := q.newSend(&m)
	if err != nil {
		return "", err
	}
	if err := q.s.Do(ctx, op, store.Default); err != nil {
		return "", err
	}
	return op.result().ID, nil
}

// newSend encodes a message, which takes time, before the baton is taken.
func (q *Queue) newSend(m *Message) (*sendOp, error) {
	if err := m.check(q.config()); err != nil {
		return nil, err
	}
	if err := q.config().checkGroup(m); err != nil {
		return nil, err
	}
	identity, err := q.identify(m)
	if err != nil {
		return nil, err
	}
	o := &sendOp{q: q, id: m.ID, delay: q.config().Delay, identity: identity}
	if o.id == "" {
		o.id = newID()
	}
	if m.Delay != nil {
		o.delay = *m.Delay
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
	put     *spool.Message
	delayed spool.Delayed

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
	stamp(o.data, t.Now())
	if o.delay > 0 {
		o.delayed = o.q.spool.PutDelayed(t, spool.Content{Data: o.data, Payload: o.payload}, t.Now().Add(o.delay))
	} else {
		o.put = o.q.spool.Put(t, spool.Content{Data: o.data, Payload: o.payload})
	}
	o.remember(t)
	return nil
}

func (o *sendOp) Undo() {
	switch {
	case o.first != nil:
	case o.delay > 0:
		o.q.spool.UndoDelayed(o.delayed)
	default:
		o.q.spool.UndoPut(o.put)
	}
}

func (o *sendOp) Visible(t *store.Turn) {
	switch {
	case o.first != nil:
	case o.delay > 0:
		o.q.spool.ShowDelayed(t)
	default:
		o.q.spool.Show(t, o.put)
	}
}
