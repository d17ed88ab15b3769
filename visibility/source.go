package visibility

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// source is a queue as Run takes messages from it.
type source struct {
	q       *Queue
	timeout time.Duration // 0 is that of the queue
	drop    bool          // what has failed for good, if there is no dead-letter queue
	apart   bool          // see ReceiveOptions
}

func (q *Queue) newSource(o *RunOptions) (*source, error) {
	config := q.config()
	timeout := config.visibility()
	if o.VisibilityTimeout != 0 {
		timeout = o.VisibilityTimeout
	}
	if timeout < MinRunVisibility {
		return nil, store.Invalid("VisibilityTimeout %v for Run of %s is below %v: set RunOptions.VisibilityTimeout", timeout, named(q.name), MinRunVisibility)
	}
	if err := config.checkVisibility(timeout); err != nil {
		return nil, fmt.Errorf("Run of %s: %w", named(q.name), err)
	}
	return &source{q: q, timeout: o.VisibilityTimeout, drop: o.DropDead}, nil
}

// lease returns for how long to receive a message, because the queue may have been altered.
func (s *source) lease() time.Duration {
	c := s.q.config()
	timeout := s.timeout
	if timeout == 0 {
		timeout = max(c.visibility(), MinRunVisibility)
	}
	return min(timeout, c.MaxVisibilityTimeout)
}

// Fetch receives messages.
func (s *source) Fetch(ctx context.Context, n int) ([]worker.Item[*Received], error) {
	timeout := s.lease()
	messages, err := s.q.receive(ctx, &ReceiveOptions{
		Max: min(n, MaxReceiveMessages), VisibilityTimeout: timeout, Wait: math.MaxInt64, apart: s.apart,
	})
	limit := s.q.config().MaxReceives
	items := make([]worker.Item[*Received], len(messages))
	for i, m := range messages {
		items[i] = worker.Item[*Received]{Message: m, Attempts: m.ReceiveCount - 1, MaxAttempts: limit}
	}
	return items, err
}

// Begin has nothing to do.
func (s *source) Begin(context.Context, *Received) error { return nil }

// End has nothing to do.
func (s *source) End(*Received) {}

// Settle deletes a message, hides it, releases it or moves it to the dead letters.
func (s *source) Settle(ctx context.Context, m *Received, o worker.Outcome) error {
	var op store.Op
	switch d := m.delivery; o.Verdict {
	case worker.Retry:
		op = &failOp{changeOp{q: s.q, delivery: d, d: o.Delay, failure: o.Note()}}
	case worker.Release:
		op = &releaseOp{changeOp: changeOp{q: s.q, delivery: d, d: o.Delay}}
	case worker.Dead:
		var err error
		if op, err = s.dead(ctx, d, o); err != nil {
			return err
		}
	default:
		op = &deleteOp{q: s.q, delivery: d, sparing: true}
	}
	return s.q.s.Do(ctx, op, store.NoSync)
}

// SettleDone deletes messages in one change.
func (s *source) SettleDone(ctx context.Context, batch []*Received) ([]error, error) {
	b := newBatch(len(batch), nil)
	for i, m := range batch {
		b.add(i, &deleteOp{q: s.q, delivery: m.delivery, sparing: true}, nil)
	}
	return b.results(s.q.s.Do(ctx, freeingBatch{b}, store.NoSync))
}

func (s *source) dead(ctx context.Context, d delivery, o worker.Outcome) (op *deadOp, err error) {
	config := s.q.config()
	op = &deadOp{q: s.q, delivery: d, reason: ReasonMaxAttempts, failure: o.Note()}
	switch {
	case o.Rejected:
		op.reason = ReasonRejected
	case config.MaxReceives > 0 && int(d.count) >= config.MaxReceives:
		op.reason = ReasonMaxReceives
	}
	if !s.drop && config.DeadLetterQueue == "" {
		op.otherwise, err = s.q.defaultDead(ctx)
	}
	return op, err
}

// Attrs returns the name of the queue and the ID of a message.
func (s *source) Attrs(m *Received) []any { return []any{"queue", s.q.name, "id", m.id} }

// failOp is a changeOp that ends in time, even if the handler took all of it.
type failOp struct{ changeOp }

func (o *failOp) Run(t *store.Turn) error {
	o.d = max(min(o.d, o.left(t)), 0)
	return o.changeOp.Run(t)
}
