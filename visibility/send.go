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
// received by anyone before that. The message is copied.
func (q *Queue) Send(ctx context.Context, m Message) (id string, err error) {
	op, err := q.newSend(&m)
	if err != nil {
		return "", err
	}
	if err := q.s.Do(ctx, op, store.Default); err != nil {
		return "", err
	}
	return op.id, nil
}

// newSend encodes a message, which takes time, before the baton is taken.
func (q *Queue) newSend(m *Message) (*sendOp, error) {
	if err := m.check(q.config.MaxBodyBytes); err != nil {
		return nil, err
	}
	if err := q.config.checkGroup(m); err != nil {
		return nil, err
	}
	o := &sendOp{q: q, id: m.ID, delay: q.config.Delay}
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
}

func (o *sendOp) String() string { return fmt.Sprintf("send to queue %q", o.q.name) }

func (o *sendOp) Run(t *store.Turn) error {
	if o.q.dropped {
		return o.q.gone()
	}
	if o.delay > 0 {
		o.delayed = o.q.spool.PutDelayed(t, spool.Content{Data: o.data, Payload: o.payload}, t.Now().Add(o.delay))
	} else {
		o.put = o.q.spool.Put(t, spool.Content{Data: o.data, Payload: o.payload})
	}
	return nil
}

func (o *sendOp) Undo() {
	if o.delay > 0 {
		o.q.spool.UndoDelayed(o.delayed)
	} else {
		o.q.spool.UndoPut(o.put)
	}
}

func (o *sendOp) Visible(t *store.Turn) {
	if o.delay > 0 {
		o.q.spool.ShowDelayed(t)
	} else {
		o.q.spool.Show(t, o.put)
	}
}
