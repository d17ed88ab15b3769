package workqueue

import (
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Overflow is what a queue does with a message that it has no room for.
type Overflow string

// The ways to overflow. Removed messages have ReasonMaxLen.
const (
	// DropHead makes room: what would be delivered next goes, to the dead letter
	// place if there is one. With priorities that is the highest one, and may be
	// the new message itself; RabbitMQ does the same. A new message that is delayed
	// goes itself if nothing is ready. It is the default.
	DropHead Overflow = "drop-head"
	// DropLowest makes room as well: the oldest message of the lowest priority
	// goes, and before it what was requeued to the head of that. RabbitMQ does not
	// have it.
	DropLowest Overflow = "drop-lowest"
	// RejectPublish refuses the message with ErrQueueFull. No other queue that it
	// was routed to gets it.
	RejectPublish Overflow = "reject-publish"
	// RejectDeadLetter sends the new message to the dead letter place instead. To
	// its publisher that is a success, unlike in RabbitMQ: an error would mean
	// here that nothing has happened. Without a DeadLetter it refuses the message
	// with ErrQueueFull.
	RejectDeadLetter Overflow = "reject-dead-letter"
)

// MaxMaxLength is the highest QueueConfig.MaxLength.
const MaxMaxLength = 1_000_000_000

func (c *QueueConfig) checkLimits() error {
	if c.MaxLength < 0 || c.MaxLength > MaxMaxLength {
		return store.Invalid("MaxLength %d is not between 0 and %d", c.MaxLength, MaxMaxLength)
	}
	if c.MaxBytes < 0 {
		return store.Invalid("MaxBytes %d is negative", c.MaxBytes)
	}
	if c.LimitTotal && !c.limited() {
		return store.Invalid("LimitTotal without MaxLength or MaxBytes")
	}
	known := []Overflow{"", DropHead, DropLowest, RejectPublish, RejectDeadLetter}
	if !slices.Contains(known, c.Overflow) {
		return store.Invalid("Overflow %q is none of %q", c.Overflow, known[1:])
	}
	if c.Overflow == DropHead {
		c.Overflow = "" // the default is not stored
	}
	return nil
}

func (c *QueueConfig) limited() bool { return c.MaxLength > 0 || c.MaxBytes > 0 }

// over reports whether the queue holds more than it may.
func (q *declaredQueue) over() bool {
	st := q.core.Stats()
	c := &q.config
	messages, bytes := st.Ready, st.ReadyBytes
	if c.LimitTotal {
		messages, bytes = st.Ready+st.Taken+st.Delayed, st.Bytes
	}
	return c.MaxLength > 0 && messages > uint64(c.MaxLength) || c.MaxBytes > 0 && bytes > uint64(c.MaxBytes)
}

// counts reports whether the limits are about what was put.
func (p *placed) counts() bool {
	return p.q != nil && p.q.config.limited() && (p.m != nil || p.q.config.LimitTotal)
}

// eviction is the messages that must go because a message was put.
type eviction []*burial

func (e eviction) undo() {
	for i := len(e) - 1; i >= 0; i-- {
		e[i].undo()
	}
}

func (e eviction) show(t *store.Turn) {
	for _, b := range e {
		b.show(t)
	}
}

// maxEvictions is how far one message may push others from queue to queue.
const maxEvictions = 8

// makeRoom sees to the limits of a queue that p was just put into. With an error
// nothing has gone.
func (q *declaredQueue) makeRoom(t *store.Turn, p *placed) (gone eviction, err error) {
	if !q.config.limited() || !q.over() {
		return nil, nil
	}
	if q.topology.evictions++; q.topology.evictions > maxEvictions {
		err = fmt.Errorf("%w: %q, and its dead letters push others from queue to queue", ErrQueueFull, q.name)
	}
	defer func() { q.topology.evictions-- }()
	for err == nil && q.over() {
		var b *burial
		if b, err = q.evict(t, p); b != nil {
			gone = append(gone, b)
		}
		if q.config.Overflow == RejectDeadLetter {
			break
		}
	}
	if err != nil {
		gone.undo()
		return nil, err
	}
	return gone, nil
}

// evict buries one message, because p was put.
func (q *declaredQueue) evict(t *store.Turn, p *placed) (b *burial, err error) {
	full := fmt.Errorf("%w: %q", ErrQueueFull, q.name)
	var m *queue.Message
	switch q.config.Overflow {
	case RejectPublish:
		return nil, full
	case RejectDeadLetter:
		if q.config.DeadLetter == nil {
			return nil, full
		}
		m = p.m
	default:
		m = q.core.Oldest(t, q.config.Overflow == DropLowest)
	}
	switch {
	case m != nil:
		b, err = q.buryWaiting(t, m)
	case p.delayed != nil:
		b, err = q.buryDelayed(t, p.delayed.Position, ReasonMaxLen)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", full, err)
	}
	if b == nil {
		return nil, full // what is over the limit cannot be read, or is not to be touched
	}
	return b, nil
}

func (q *declaredQueue) buryWaiting(t *store.Turn, m *queue.Message) (*burial, error) {
	d, err := newDelivery(q, nil, m)
	if err != nil {
		return nil, err
	}
	return q.bury(t, d, ReasonMaxLen, "")
}

// admit is called when a delayed message has come in.
func (q *declaredQueue) admit(t *store.Turn, m *queue.Message) func(*store.Turn) {
	gone := q.fit(t, m)
	return func(t *store.Turn) {
		q.offer(t, m)
		gone.show(t)
	}
}

// fit sees to the limits for a message that cannot be refused any more: a queue that refuses
// holds one more then. A message that was delivered before comes back, and pushes nothing out.
func (q *declaredQueue) fit(t *store.Turn, m *queue.Message) (gone eviction) {
	if m.Count > 0 {
		return nil
	}
	err := t.Try(func() (err error) {
		gone, err = q.makeRoom(t, &placed{q: q, m: m})
		return err
	})
	if err != nil && q.config.Overflow != RejectPublish {
		q.topology.s.Log().Error("queue is over its limit: what should go has no place to go", "queue", q.name, "error", err)
	}
	return gone
}
