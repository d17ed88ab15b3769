package workqueue

import (
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A dead letter whose place is missing, or refuses it, is kept out of everyone's
// reach and tried again: soon after a queue, an exchange or a binding was made, and
// in any case every stuckPause. When the store is opened again it is an ordinary
// message that has expired or is over its limit, and is found so.
const (
	stuckPause = 30 * time.Second
	stuckBatch = 256 // tried at a time
)

// stuck is a message of a queue that is to be buried.
type stuck struct {
	m      *spool.Message
	reason string
}

// keepStuck notes a dead letter that could not be buried.
func (q *queue) keepStuck(t *store.Turn, m *spool.Message, reason string, why error) {
	q.topology.s.Log().Error("dead letter has no place to go, stays in its queue and is tried again",
		"queue", q.name, "seq", m.Seq, "reason", reason, "error", why)
	if q.stuck = append(q.stuck, stuck{m, reason}); q.topology.stuck[q] {
		return
	}
	q.topology.stuck[q] = true
	q.stuckTimer = store.NewTimer(q.retryStuck)
	t.Arm(q.stuckTimer, t.Now().Add(stuckPause))
}

// unstick has all queues try again, because there may be a place now.
func (t *topology) unstick(turn *store.Turn) {
	for q := range t.stuck {
		turn.Arm(q.stuckTimer, turn.Now())
	}
}

// retryStuck is what the timer calls.
func (q *queue) retryStuck(t *store.Turn) {
	if !q.deleted && len(q.stuck) > 0 {
		t.Post(&unstickOp{q: q}, store.NoSync)
	}
}

// unstickOp tries the first of what is stuck, and puts to the end what stays so.
type unstickOp struct {
	q      *queue
	buried []*burial
}

func (o *unstickOp) String() string { return fmt.Sprintf("bury dead letters of queue %q", o.q.name) }

// Frees lets it in on a disk that is nearly full.
func (o *unstickOp) Frees() {}

func (o *unstickOp) Run(t *store.Turn) error {
	q := o.q
	if q.deleted || len(q.stuck) == 0 {
		return nil
	}
	n := min(len(q.stuck), stuckBatch)
	tried := q.stuck[:n:n]
	q.stuck = q.stuck[n:]
	for _, s := range tried {
		b, err := q.buryStuck(t, s)
		if err != nil {
			q.stuck = append(q.stuck, s)
			continue
		}
		o.buried = append(o.buried, b)
	}
	switch {
	case len(q.stuck) == 0:
		q.stuck = nil
		delete(q.topology.stuck, q)
	case len(o.buried) > 0:
		t.Arm(q.stuckTimer, t.Now())
	default:
		q.topology.s.Log().Warn("dead letters still have no place to go", "queue", q.name, "messages", len(q.stuck))
		t.Arm(q.stuckTimer, t.Now().Add(stuckPause))
	}
	return nil
}

func (q *queue) buryStuck(t *store.Turn, s stuck) (*burial, error) {
	d, err := newDelivery(q, nil, s.m)
	if err != nil {
		return nil, err
	}
	return q.bury(t, d, s.reason)
}

func (o *unstickOp) Undo() {}

func (o *unstickOp) Visible(t *store.Turn) {
	for _, b := range o.buried {
		b.show(t)
	}
}

// deadTargets returns where a dead letter goes. Without an error there is a place,
// or the queue wants it dropped.
func (q *queue) deadTargets(dead *envelope) ([]*end, error) {
	targets, err := q.topology.route(dead.address())
	if err == nil && len(targets) == 0 {
		err = fmt.Errorf("%w: exchange %q, key %q", ErrUnroutable, dead.exchange, dead.key)
	}
	missing := errors.Is(err, ErrUnroutable) || errors.Is(err, ErrUnknownExchange)
	if missing && q.config.DeadLetter.DropIfMissing {
		q.topology.s.Log().Warn("dead letter was dropped: its place is missing", "queue", q.name, "message id", dead.MessageID, "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dead letter of queue %q: %w", q.name, err)
	}
	return q.cutRings(targets, dead), nil
}
