package visibility

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Release gives a message back that could not be processed for reasons of its receiver. It
// is received again after the delay, at its old place, and this receive is not counted. The
// receipt is used up. ErrNotInFlight, ErrExpired and ErrStaleReceipt are as for
// ChangeVisibility. The delay is not limited by MaxVisibilityTimeout. By default Release
// returns before the change is durable.
func (q *Queue) Release(ctx context.Context, r Receipt, delay time.Duration) error {
	op, err := q.newRelease(r, delay)
	if err != nil {
		return err
	}
	return settle(ctx, q, "release", op)
}

// Release is Queue.Release.
func (v QueueTx) Release(r Receipt, delay time.Duration) error {
	op, err := v.q.newRelease(r, delay)
	if err != nil {
		return v.x.Fail(err)
	}
	return v.x.Add(op, entryOverhead)
}

func (q *Queue) newRelease(r Receipt, delay time.Duration) (*releaseOp, error) {
	if err := checkDelay("delay of a release", delay); err != nil {
		return nil, fmt.Errorf("%s: %w", named(q.name), err)
	}
	d, err := q.open(r)
	return &releaseOp{changeOp: changeOp{q: q, delivery: d, d: delay}}, err
}

// releaseOp is a changeOp that takes the count of the receive back.
type releaseOp struct{ changeOp }

func (o *releaseOp) String() string { return fmt.Sprintf("release to queue %q", o.q.name) }

func (o *releaseOp) Run(t *store.Turn) error {
	m, err := o.inFlight(t)
	if err != nil {
		return err
	}
	o.take(m)
	m.Hold(released)
	if o.d == 0 {
		o.q.leases.remove(m)
		o.q.core.Return(t, m, true)
		return nil
	}
	m.Count-- // nobody has a receipt any more that this could make valid: they hold the time too
	o.extend(t, t.Now().Add(o.d))
	return nil
}

func (o *releaseOp) Undo() {
	if o.d > 0 {
		o.m.Count++
		o.m.Hold(o.holder)
	}
	o.changeOp.Undo()
}
