package visibility

import (
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// QueueTx is a queue within a transaction. What its methods do happens when the
// transaction commits, together with everything else in it, or not at all: a
// receipt that is stale by then refuses all of it. It is for the goroutine of
// the transaction.
type QueueTx struct {
	q *Queue
	x *store.Tx
}

// In returns the queue within a transaction.
func (q *Queue) In(tx *pebblemq.Tx) QueueTx {
	return QueueTx{q: q, x: bridge.Tx(tx).For(q.s, "queue", q.name)}
}

// Send is Queue.Send. The ID is valid if the transaction commits and the message is
// not a duplicate.
func (v QueueTx) Send(m Message) (id string, err error) {
	attributes, end := traceSend(v.x.Context(), v.q, store.StepCreate, &m)
	m.Attributes = attributes
	op, err := v.q.newSend(&m)
	if err == nil {
		err = v.x.Add(op, len(op.data)+entryOverhead)
	} else {
		err = v.x.Fail(err)
	}
	if end(err); err != nil {
		return "", err
	}
	return op.id, nil
}

// Delete is Queue.Delete, but a receipt whose message is gone refuses the transaction with
// ErrNotInFlight: what the transaction does has been done.
func (v QueueTx) Delete(r Receipt) error {
	d, err := v.q.open(r)
	if err != nil {
		return v.x.Fail(err)
	}
	return v.x.Add(&deleteOp{q: v.q, delivery: d, strict: true}, entryOverhead)
}

// ChangeVisibility is Queue.ChangeVisibility.
func (v QueueTx) ChangeVisibility(r Receipt, d time.Duration) error {
	op, err := v.q.newChange(r, d)
	if err != nil {
		return v.x.Fail(err)
	}
	return v.x.Add(op, entryOverhead)
}

// entryOverhead is about what an operation writes beside the message.
const entryOverhead = 64
