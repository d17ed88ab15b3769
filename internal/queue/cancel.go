package queue

import (
	"bytes"
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Cancelled is a delayed message that was removed.
type Cancelled struct {
	Content
	q  *Lane
	at Position
}

// cancel removes a delayed message, if there is one at that position and, unless id is
// nil, that is its id. Else it returns nil.
func (l *delays) cancel(t *store.Turn, at Position, id []byte) (*Cancelled, error) {
	q := l.q
	key := dueKey(q.layout.Delayed, q.place, at.Due, at.Seq)
	v, err := t.Get(key)
	if v == nil || err != nil {
		return nil, err
	}
	c, err := decodeDelayed(v)
	if err != nil {
		return nil, err
	}
	if id != nil && !bytes.Equal(id, l.idOf(&c)) {
		return nil, nil
	}
	t.DeleteSingle(key)
	l.unindex(t, &c, at)
	q.release(t, &c, slotDelayed)
	t.Hold(q.holder(slotDelayed), c.Payload, -1)
	q.meta.delayed--
	q.meta.delayedBytes -= min(q.meta.delayedBytes, c.size())
	if q.loader.loading {
		q.loader.plan.cancel(at)
	}
	t.Touch(q)
	return &Cancelled{c, q, at}, nil
}

// Undo takes Cancel back.
func (c *Cancelled) Undo() {
	q := c.q
	q.s.UndoHold(q.holder(slotDelayed), c.Payload, -1)
	q.meta.delayed++
	q.meta.delayedBytes += c.size()
	delete(q.loader.plan.cancelled, c.at)
}

// cancel has a load that is under way pass a message over, which it may have read.
func (p *plan) cancel(at Position) {
	if p.cancelled == nil {
		p.cancelled = make(map[Position]bool)
	}
	p.cancelled[at] = true
}

// CancelOp removes delayed messages of a layer's queue, at least one.
type CancelOp struct {
	Queue  string // its name
	Which  string // the messages, for people
	Alive  func() error
	Remove func(*store.Turn, Position, []byte) (*Cancelled, error) // Cancel of a Lane or Queue
	None   error                                                   // if there are none
	ID     []byte                                                  // that they have; nil is any
	At     []Position

	done []*Cancelled
}

func (o *CancelOp) String() string { return fmt.Sprintf("cancel %s of queue %q", o.Which, o.Queue) }

// Frees lets it in on a full disk.
func (o *CancelOp) Frees() {}

func (o *CancelOp) Run(t *store.Turn) error {
	if err := o.Alive(); err != nil {
		return err
	}
	for _, at := range o.At {
		c, err := o.Remove(t, at, o.ID)
		if err != nil {
			o.Undo()
			return fmt.Errorf("%v: %w", o, err)
		}
		if c != nil {
			o.done = append(o.done, c)
		}
	}
	if len(o.done) == 0 {
		return fmt.Errorf("%w: %s of queue %q is not delayed", o.None, o.Which, o.Queue)
	}
	return nil
}

func (o *CancelOp) Undo() {
	for i := len(o.done) - 1; i >= 0; i-- {
		o.done[i].Undo()
	}
	o.done = nil
}

func (o *CancelOp) Visible(*store.Turn) {}

// CancelAll runs what find finds until that is all.
func CancelAll(ctx context.Context, s *store.Store, find func() (*CancelOp, error)) error {
	for again := false; ; again = true {
		op, err := find()
		if err != nil || again && len(op.At) == 0 {
			return err
		}
		if err := s.Do(ctx, op, store.Default); err != nil || !op.More() {
			return err
		}
	}
}

// More reports that there may be more than could be found at once.
func (o *CancelOp) More() bool { return len(o.At) == MaxLater }
