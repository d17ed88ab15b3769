package visibility

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// defaultDead returns the queue NAME.dead, which a queue without a DeadLetterQueue has for the
// messages that a handler of Run has failed at for good. It is created when it is needed.
func (q *Queue) defaultDead(ctx context.Context) (*Queue, error) {
	name := q.name + worker.DeadSuffix
	if err := store.CheckName("dead-letter queue", name); err != nil {
		return nil, err
	}
	r := registryOf(q.s)
	if err := r.mu.Lock(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	if dead := r.mu.queues[name]; dead != nil {
		return dead, q.mayDieIn(dead)
	}
	own := q.config()
	config, err := (&QueueConfig{
		FIFO: own.FIFO, MaxPriority: own.MaxPriority, Retention: worker.DeadRetention, RetentionRestarts: true,
	}).normalize(name)
	if err != nil {
		return nil, err
	}
	if _, _, err := r.declare(ctx, name, config); err != nil { // one that exists may be of another config
		return nil, err
	}
	dead, err := r.load(ctx, name, false)
	if err != nil {
		return nil, err
	}
	return dead, q.mayDieIn(dead)
}

// mayDieIn refuses a queue of that name which cannot take dead letters of this one.
func (q *Queue) mayDieIn(dead *Queue) error {
	c := dead.config()
	if c.FIFO != q.config().FIFO {
		return store.Invalid("queue %q cannot take the dead letters of queue %q: both have to be FIFO, or none; set a DeadLetterQueue", dead.name, q.name)
	}
	if !c.takes(q.name) {
		return fmt.Errorf("%w: queue %q as the dead-letter queue of %q; see DeadLetterSources and DeadLettersDenied of the former", ErrNotAllowed, dead.name, q.name)
	}
	return nil
}

// deadOp moves a message in flight to the dead letters.
type deadOp struct {
	q *Queue
	delivery
	reason    string
	failure   string
	otherwise *Queue // the place if none is set; nil deletes the message
	move      move
}

func (o *deadOp) String() string { return fmt.Sprintf("move a dead letter of queue %q", o.q.name) }

// Frees lets it in on a full disk: it adds little more than it removes.
func (o *deadOp) Frees() {}

func (o *deadOp) Run(t *store.Turn) error {
	m, err := (&changeOp{q: o.q, delivery: o.delivery}).inFlight(t)
	if err != nil {
		return err
	}
	to := o.q.dead
	if to == nil {
		to = o.otherwise
	}
	switch {
	case to == nil:
		o.q.settle(t, m)
		o.move = move{q: o.q, from: m}
		return nil
	case to.dropped: // Run tries again, and creates it
		return fmt.Errorf("%w: dead-letter queue %q of %q was deleted", ErrUnknownQueue, to.name, o.q.name)
	}
	m.SetNote(o.failure)
	o.move = o.q.buryIn(t, to, m, DeadLetterInfo{Reason: o.reason, ReceiveCount: int(m.Count)})
	return nil
}

// Undo is not needed: it is never part of a transaction.
func (o *deadOp) Undo() {}

func (o *deadOp) Visible(t *store.Turn) { o.move.show(t) }
