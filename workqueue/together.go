package workqueue

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// SettleDone acknowledges deliveries in one commit.
func (s *source) SettleDone(ctx context.Context, batch []*Delivery) ([]error, error) {
	op := &ackAllOp{acks: make([]ackOp, len(batch)), errs: make([]error, len(batch))}
	for i, d := range batch {
		d.through = true
		op.acks[i].d = d
	}
	if err := s.c.b.s.Do(ctx, op, store.NoSync); err != nil {
		return nil, err
	}
	for i, err := range op.errs {
		op.errs[i] = own(err)
	}
	return op.errs, nil
}

// ackAllOp settles deliveries of one queue, of which each may be refused on its own: an ackOp
// writes nothing then.
type ackAllOp struct {
	acks []ackOp
	errs []error
}

func (o *ackAllOp) String() string {
	return fmt.Sprintf("ack %d deliveries of queue %q", len(o.acks), o.acks[0].d.Queue)
}

// Frees lets it in on a disk that is nearly full.
func (o *ackAllOp) Frees() {}

func (o *ackAllOp) Run(t *store.Turn) error {
	for i := range o.acks {
		o.errs[i] = o.acks[i].Run(t)
	}
	return nil
}

func (o *ackAllOp) Undo() {
	for i := len(o.acks) - 1; i >= 0; i-- {
		if o.errs[i] == nil {
			o.acks[i].Undo()
		}
	}
}

func (o *ackAllOp) Visible(t *store.Turn) {
	for i := range o.acks {
		if o.errs[i] == nil {
			o.acks[i].Visible(t)
		}
	}
}
