package visibility

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Reasons of a move to a dead-letter queue.
const (
	ReasonMaxReceives = "max receives" // it was received QueueConfig.MaxReceives times
	ReasonExpired     = "expired"      // its retention was over
	ReasonMaxAttempts = "max attempts" // a handler of Run failed RunOptions.MaxAttempts times
	ReasonRejected    = "rejected"     // a handler of Run returned pebblemq.Reject
)

// maxReceives leaves room to count one more.
const maxReceives = 1<<31 - 2

// checkDeadLetters checks what can be checked of one queue alone.
func (c *QueueConfig) checkDeadLetters(name string) error {
	for _, source := range c.DeadLetterSources {
		if err := store.CheckName("dead-letter source", source); err != nil {
			return err
		}
	}
	switch {
	case c.DeadLettersDenied && len(c.DeadLetterSources) > 0:
		return store.Invalid("DeadLettersDenied leaves nothing to DeadLetterSources")
	case c.MaxReceives < 0 || c.MaxReceives > maxReceives:
		return store.Invalid("MaxReceives %d is not between 0 and %d", c.MaxReceives, maxReceives)
	case c.DeadLetterQueue == "" && (c.MaxReceives > 0 || c.DeadLetterExpired):
		return store.Invalid("MaxReceives and DeadLetterExpired need a DeadLetterQueue")
	case c.DeadLetterQueue == "":
		return nil
	case c.MaxReceives == 0 && !c.DeadLetterExpired:
		return store.Invalid("DeadLetterQueue %q needs MaxReceives or DeadLetterExpired", c.DeadLetterQueue)
	case c.DeadLetterQueue == name:
		return store.Invalid("DeadLetterQueue is the queue itself")
	}
	return store.CheckName("dead-letter queue", c.DeadLetterQueue)
}

// checkTarget refuses a dead-letter queue that is not there, is of another kind or
// does not take letters of this queue.
func (c *QueueConfig) checkTarget(t *store.Turn, name string) error {
	if c.DeadLetterQueue == "" {
		return nil
	}
	o, ok := t.Lookup(store.ClassVisQueue, c.DeadLetterQueue)
	if !ok {
		return fmt.Errorf("%w: %q, the DeadLetterQueue of queue %q", ErrUnknownQueue, c.DeadLetterQueue, name)
	}
	target, err := decodeConfig(o)
	if err != nil {
		return err
	}
	if target.Config.FIFO != c.FIFO {
		return store.Invalid("DeadLetterQueue %q of queue %q is not of the same kind: make both FIFO, or none", o.Name, name)
	}
	if !target.Config.takes(name) {
		return fmt.Errorf("%w: queue %q as the DeadLetterQueue of %q; see DeadLetterSources and DeadLettersDenied of the former", ErrNotAllowed, o.Name, name)
	}
	return nil
}

// takes reports whether the allow rules let a queue have this one as its dead-letter
// queue.
func (c *QueueConfig) takes(source string) bool {
	return !c.DeadLettersDenied && (c.DeadLetterSources == nil || slices.Contains(c.DeadLetterSources, source))
}

// checkSources refuses rules that shut out a queue which has this one already.
func (c *QueueConfig) checkSources(t *store.Turn, name string) error {
	sources, err := deadLettersOf(t, name)
	for _, source := range sources {
		if !c.takes(source) {
			return fmt.Errorf("%w: queue %q is the DeadLetterQueue of %q, which its DeadLetterSources and DeadLettersDenied must allow", ErrNotAllowed, name, source)
		}
	}
	return err
}

// deadLettersOf returns the queues whose dead-letter queue this one is.
func deadLettersOf(t *store.Turn, name string) (sources []string, err error) {
	for _, o := range t.List(store.ClassVisQueue, "") {
		if !bytes.Contains(o.Config, []byte("deadLetterQueue")) {
			continue // decoding takes longer than this
		}
		c, err := decodeConfig(o)
		if err != nil {
			return nil, err
		}
		if c.Config.DeadLetterQueue == name {
			sources = append(sources, o.Name)
		}
	}
	return sources, nil
}

// checkUnused refuses to delete some queue's dead-letter queue.
func checkUnused(t *store.Turn, name string) error {
	sources, err := deadLettersOf(t, name)
	if err == nil && len(sources) > 0 {
		err = store.Invalid("queue %q is the dead-letter queue of %q: alter or delete that one first", name, sources[0])
	}
	return err
}

// move is the move of a message to another queue. A receive over the limit or the end of its
// retention moves it to the dead-letter queue, and a redrive moves it back. Without a
// destination it is gone.
type move struct {
	q, dead  *Queue
	from, to *queue.Message
}

// exhausted reports that a message that was just taken has been so once too often.
func (q *Queue) exhausted(m *queue.Message) bool {
	limit := q.config().MaxReceives
	return limit > 0 && int64(m.Count) > int64(limit)
}

// bury moves a message to the dead-letter queue.
func (q *Queue) bury(t *store.Turn, m *queue.Message, d DeadLetterInfo) move {
	return q.buryIn(t, q.dead, m, d)
}

func (q *Queue) buryIn(t *store.Turn, dead *Queue, m *queue.Message, d DeadLetterInfo) move {
	d.Queue, d.At, d.LastError, d.Deaths = q.name, t.Now(), m.Note(), 1
	data, err := encodeDead(m.Data, &d)
	if err != nil {
		q.s.Log().Error("dead letter is damaged, moved as it is", "queue", q.name, "sequence", m.Seq, "error", err)
		data = m.Data
	}
	return q.moveTo(t, dead, m, data)
}

// moveTo moves a message as it is to be from now on.
func (q *Queue) moveTo(t *store.Turn, to *Queue, m *queue.Message, data []byte) move {
	c := queue.Content{Data: data, Payload: m.Payload, Born: to.arrive(t, m.BornAt())}
	q.settle(t, m)
	return move{q: q, dead: to, from: m, to: to.core.Put(t, to.laneFor(t, m, data), c)}
}

// settle removes a message for good, wherever it is.
func (q *Queue) settle(t *store.Turn, m *queue.Message) {
	q.leases.remove(m)
	q.core.Settle(t, m)
}

func (m move) show(t *store.Turn) {
	m.q.attempts.changed(m.from.Holder())
	if !m.q.dropped {
		m.q.core.Settled(t, m.from)
		m.q.left(t)
	}
	if m.dead != nil && !m.dead.dropped {
		m.dead.core.Show(t, m.to)
	}
}
