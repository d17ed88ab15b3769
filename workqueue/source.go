package workqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// source is a consumer as Run takes messages from it.
type source struct {
	c       *Consumer
	relaxed context.Context // for what writes nothing
	timeout time.Duration   // of a call
	backoff func(attempts int) time.Duration
}

// newSource returns the source of a Run. Stop frees its resources.
func newSource(ctx context.Context, c *Consumer, o *worker.Options[*Delivery]) (s *source, stop func()) {
	relaxed, stop := store.Outlive(store.WithDurability(ctx, store.NoSync))
	return &source{c: c, relaxed: relaxed, timeout: o.Timeout, backoff: o.Backoff}, stop
}

// Fetch waits for a delivery and takes what else is there.
func (s *source) Fetch(ctx context.Context, n int) ([]worker.Item[*Delivery], error) {
	d, unread, err := s.c.next(ctx)
	if err != nil || unread != nil {
		return nil, errors.Join(err, unread)
	}
	list, err := s.c.takeMore(ctx, []*Delivery{d}, n)
	items := make([]worker.Item[*Delivery], len(list))
	for i, d := range list {
		items[i] = worker.Item[*Delivery]{Message: d, Attempts: d.DeliveryCount - 1, MaxAttempts: d.limit}
	}
	return items, err
}

// Hold ends the context when the delivery is lost. The consumer has it anyway.
func (s *source) Hold(calls context.Context, d *Delivery) (held context.Context, h worker.Holding) {
	held, lose := context.WithCancelCause(calls)
	s.c.watch(d, lose)
	return held, (*holding)(d)
}

// holding is a delivery that Run holds.
type holding Delivery

// Stop ends its context.
func (h *holding) Stop() {
	if lose := h.consumer.watch((*Delivery)(h), nil); lose != nil {
		lose(nil)
	}
}

// Begin begins the AckTimeout, and has the delivery counted.
func (s *source) Begin(ctx context.Context, d *Delivery) error {
	d.begun = true
	if d.suspect {
		return s.confess(ctx, d)
	}
	return own(d.extend(s.relaxed, s.timeout))
}

// confess has the delivery of a suspect on disk, as soon as the disk takes it.
func (s *source) confess(ctx context.Context, d *Delivery) error {
	for try := 1; ; try++ {
		eased := s.c.b.s.Eased()
		o := &confessOp{d: d, ahead: s.timeout}
		switch err := s.c.b.s.Do(ctx, o, store.NoSync); {
		case err == nil && o.has:
			return nil
		case err == nil:
			return store.ErrLost
		case !errors.Is(err, store.ErrDiskFull) || !store.PauseUntil(ctx, eased, s.backoff(try)):
			return err
		}
	}
}

// End ends the AckTimeout of a message that waits for another call in place.
func (s *source) End(d *Delivery) {
	if !d.through {
		_ = d.park(s.relaxed) // fails with the store, which Run sees
	}
}

// own makes a delivery that its handler has settled one that is not Run's any more.
func own(err error) error {
	if errors.Is(err, ErrSettled) {
		return fmt.Errorf("%w: %w", store.ErrLost, err)
	}
	return err
}

// Settle acknowledges a delivery, gives it back or moves it to the dead letters.
func (s *source) Settle(ctx context.Context, d *Delivery, o worker.Outcome) error {
	d.through = true
	var op store.Op = ackOp{d: d}
	switch o.Verdict {
	case worker.Retry:
		op = &nackOp{d: d, pause: o.Delay}
	case worker.Release:
		op = d.releaseOp(o.Delay)
		if !d.begun { // Run ends, and gives it back also to a disk without room
			op = giveUpOp{&requeueOp{d: d, forgive: true}}
		}
	case worker.Dead:
		return own(s.bury(ctx, d, o))
	}
	return own(s.c.b.s.Do(ctx, op, store.NoSync))
}

// bury moves a delivery to the dead letters. If their place cannot be reached, the message
// comes back.
func (s *source) bury(ctx context.Context, d *Delivery, o worker.Outcome) error {
	op := &rejectOp{d: d, reason: ReasonDeliveryLimit, failure: o.Note()}
	if o.Rejected {
		op.reason = ReasonRejected
	}
	err := d.q.readyDead(ctx)
	if err == nil {
		err = s.c.b.s.Do(ctx, op, store.NoSync)
	}
	if !errors.Is(err, ErrUnroutable) && !errors.Is(err, ErrUnknownExchange) && !errors.Is(err, ErrQueueFull) {
		return err
	}
	s.c.b.s.Log().Warn("message that failed for good has no dead-letter place now and comes back",
		append(s.Attrs(d), "error", err)...)
	return s.c.b.s.Do(ctx, &nackOp{d: d, pause: s.backoff(o.Attempts)}, store.NoSync)
}

// Attrs returns the name of the queue and the MessageID, or the number of a message that has
// none.
func (s *source) Attrs(d *Delivery) []any {
	m, _ := decodeMessage(d.m.Data) // the fields of d are the receiver's
	id := m.MessageID
	if id == "" {
		id = fmt.Sprintf("#%d", d.m.Seq)
	}
	return []any{"queue", d.q.name, "id", id}
}
