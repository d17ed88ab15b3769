package workqueue

import (
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// doomOp buries a message that has come back after the last delivery that the DeliveryLimit allows.
// Its dead letter is there at once, and not when somebody asks for the next message. If it cannot be
// buried it waits, and whoever asks tries again.
type doomOp struct {
	q    *declaredQueue
	lane byte
	seq  uint64
	b    *burial
}

func (o *doomOp) String() string { return fmt.Sprintf("bury a message of queue %q", o.q.name) }

// Frees lets it in on a disk that is nearly full.
func (o *doomOp) Frees() {}

func (o *doomOp) Run(t *store.Turn) error {
	q := o.q
	if q.deleted {
		return nil
	}
	m, err := q.core.Lookup(t, o.lane, o.seq)
	if err != nil || m == nil || !m.Waits() {
		return nil // it was handed out meanwhile, and buried by that
	}
	d, err := newDelivery(q, nil, m)
	if err != nil {
		return nil
	}
	o.b, _ = q.buryDoomed(t, d, ReasonDeliveryLimit)
	return nil
}

func (o *doomOp) Undo() {}

func (o *doomOp) Visible(t *store.Turn) {
	if o.b != nil {
		o.b.show(t)
	}
}
