package workqueue

import (
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A dead letter whose place is missing, or refuses it, is set aside and tried again: soon after
// a queue, an exchange or a binding was made, and in any case every stuckPause. When the store
// is opened again it is an ordinary message that has expired or is over its limit, and is found
// so.
//
// They are in memory, so a queue that has too many of them is jammed: no more expire,
// and nothing is handed out, until there is a place.
const (
	stuckPause   = 30 * time.Second
	stuckBatch   = 256 // tried at a time
	stuckMost    = 16 << 10
	stuckMostLen = 16 << 20 // bytes
)

// stuckLetters are the messages of a queue that are to be buried.
type stuckLetters struct {
	letters []stuck
	bytes   int
	dead    Dead // by reason
	timer   *store.Timer
}

type stuck struct {
	m      *queue.Message
	reason string
}

func (s *stuckLetters) push(l stuck) {
	s.letters = append(s.letters, l)
	s.bytes += len(l.m.Data)
	s.dead.count(l.reason, 1)
}

func (s *stuckLetters) pop() (l stuck) {
	l, s.letters[0] = s.letters[0], stuck{}
	s.letters = s.letters[1:]
	s.bytes -= len(l.m.Data)
	s.dead.count(l.reason, -1)
	return l
}

// jammed reports whether there are too many.
func (s *stuckLetters) jammed() bool { return len(s.letters) >= stuckMost || s.bytes >= stuckMostLen }

// keepStuck notes a dead letter that could not be buried.
func (q *declaredQueue) keepStuck(t *store.Turn, m *queue.Message, reason string, why error) {
	was := q.stuck.jammed()
	q.stuck.push(stuck{m, reason})
	if q.stuck.jammed() && !was {
		q.topology.s.Log().Error("queue is jammed with dead letters that have no place to go, and hands out nothing",
			"queue", q.name, "messages", len(q.stuck.letters), "reason", reason, "error", why)
		q.core.HoldExpiry(t, true)
	}
	if q.topology.stuck[q] {
		return
	}
	q.topology.s.Log().Error("dead letters have no place to go, stay in their queue and are tried again",
		"queue", q.name, "seq", m.Seq, "reason", reason, "error", why)
	q.topology.stuck[q] = true
	q.stuck.timer = store.NewTimer(q.retryStuck)
	t.Arm(q.stuck.timer, t.Now().Add(stuckPause))
}

// unstick has all queues try again, because there may be a place now.
func (t *topology) unstick(turn *store.Turn) {
	for q := range t.stuck {
		turn.Arm(q.stuck.timer, turn.Now())
	}
}

// retryStuck is what the timer calls.
func (q *declaredQueue) retryStuck(t *store.Turn) {
	if !q.deleted && len(q.stuck.letters) > 0 {
		t.Post(&unstickOp{q: q}, store.NoSync)
	}
}

// unstickOp tries the first of what is stuck, and puts to the end what stays so.
type unstickOp struct {
	q      *declaredQueue
	buried []*burial
}

func (o *unstickOp) String() string { return fmt.Sprintf("bury dead letters of queue %q", o.q.name) }

// Frees lets it in on a disk that is nearly full.
func (o *unstickOp) Frees() {}

func (o *unstickOp) Run(t *store.Turn) error {
	q := o.q
	if q.deleted || len(q.stuck.letters) == 0 {
		return nil
	}
	jammed := q.stuck.jammed()
	var failed error
	for range min(len(q.stuck.letters), stuckBatch) {
		s := q.stuck.pop()
		b, err := q.buryStuck(t, s)
		if err != nil {
			failed = err
			q.stuck.push(s)
			continue
		}
		o.buried = append(o.buried, b)
	}
	switch {
	case len(q.stuck.letters) == 0:
		q.stuck = stuckLetters{}
		delete(q.topology.stuck, q)
	case len(o.buried) > 0:
		t.Arm(q.stuck.timer, t.Now())
	default:
		q.topology.s.Log().Warn("dead letters still have no place to go",
			"queue", q.name, "expired", q.stuck.dead.Expired, "over_delivery_limit", q.stuck.dead.DeliveryLimit, "error", failed)
		t.Arm(q.stuck.timer, t.Now().Add(stuckPause))
	}
	if jammed && !q.stuck.jammed() {
		q.core.HoldExpiry(t, false)
		q.ready(t)
	}
	return nil
}

func (q *declaredQueue) buryStuck(t *store.Turn, s stuck) (*burial, error) {
	d, err := newDelivery(q, nil, s.m)
	if err != nil {
		return nil, err
	}
	return q.buryDoomed(t, d, s.reason)
}

func (o *unstickOp) Undo() {}

func (o *unstickOp) Visible(t *store.Turn) {
	for _, b := range o.buried {
		b.show(t)
	}
}

// deadTargets returns where a dead letter goes. Without an error there is a place,
// or the queue wants it dropped.
func (q *declaredQueue) deadTargets(dead *envelope, place *DeadLetter) ([]*end, error) {
	targets, err := q.topology.route(dead.address())
	if err == nil && len(targets) == 0 {
		err = fmt.Errorf("%w: exchange %q, key %q", ErrUnroutable, dead.exchange, dead.key)
	}
	missing := errors.Is(err, ErrUnroutable) || errors.Is(err, ErrUnknownExchange)
	if missing && place.DropIfMissing {
		q.topology.s.Log().Warn("dead letter was dropped: its place is missing", "queue", q.name, "message_id", dead.MessageID, "error", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dead letter of queue %q: %w", q.name, err)
	}
	return q.cutRings(targets, dead), nil
}
