package visibility

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// ReceiveOptions say what to receive. Nil is the defaults.
type ReceiveOptions struct {
	// Max is the most messages to return, up to MaxReceiveMessages. Fewer are
	// returned if fewer are ready, or if the others are on disk only.
	// Default: 1.
	Max int

	// VisibilityTimeout is how long the messages are hidden from others, up to
	// QueueConfig.MaxVisibilityTimeout. With NoVisibilityTimeout they stay visible, and
	// the receive counts. Default: that of the queue.
	VisibilityTimeout time.Duration

	// AttemptID, up to MaxNameBytes, identifies a receive so that it can be repeated if its
	// answer was lost. Within AttemptWindow, a receive with the same ID returns the same
	// messages with the same receipts, whose timeouts continue. It does so only while none of
	// them was deleted, extended or has become visible. After that it is a receive like any
	// other. IDs do not outlive the process. Default: none.
	AttemptID string

	// Wait is how long to wait for the first message if none is ready, any
	// length. A message that is sent, falls due, is released or whose
	// visibility timeout ends is received at once; waiting costs nothing.
	// NoWait waits for nothing but what was sent before the call and is on its way
	// to the disk or from it. Default: the ReceiveWait of the queue, which is NoWait
	// unless it was set. While MaxInFlight messages are in
	// flight a receive that waits goes on waiting, and one that does not
	// returns ErrInFlightLimit.
	Wait time.Duration

	// apart is for handlers that run at the same time: of each group of a FIFO queue the
	// receive returns one message at most.
	apart bool
}

// Receive returns the next messages and hides them from others for the
// visibility timeout. Delete what has been processed; the rest becomes visible
// again, before all messages younger than it. That nothing is ready in time is
// an empty result and no error.
//
// Messages are handed to waiting receives in the order in which these came. A
// receive is durable enough to be counted even if the message kills the process
// (see the package comment); beyond that, a crash may make messages visible
// earlier than their timeout. When ctx ends while waiting, its error is
// returned. If the queue has served the receive by then and the disk does not answer within
// a second, the error is ErrUnknownOutcome, and the messages stay in flight until their
// timeout.
//
// Messages that cannot be read stay in the queue, and Receive returns the others. Once
// for each stretch of messages that was found, it returns pebblemq.ErrCorrupt, or
// pebblemq.ErrUnreadable, beside the messages that it has. See Stats.Unreadable.
func (q *Queue) Receive(ctx context.Context, o *ReceiveOptions) ([]*Received, error) {
	messages, err := q.receive(ctx, o)
	if len(messages) > 0 {
		_, end := traceTaken(ctx, q, store.StepReceive, "receive", messages...)
		end(nil)
	}
	return messages, err
}

func (q *Queue) receive(ctx context.Context, o *ReceiveOptions) ([]*Received, error) {
	w, wait, err := q.newWaiter(o)
	if err != nil {
		return nil, err
	}
	w.sync = q.s.Synced(ctx, store.NoSync)
	if err := q.s.Do(ctx, &receiveOp{yield: yield{q: q}, w: w}, store.NoSync); err != nil {
		if w.done != nil {
			_, _ = q.leave(ctx, w) // err says why already
		}
		return nil, err
	}
	if w.done != nil {
		if err := q.await(ctx, w, wait); err != nil {
			return nil, err
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	messages, err := q.unpack(ctx, w.got)
	return messages, errors.Join(w.unread, err)
}

func (q *Queue) newWaiter(o *ReceiveOptions) (w *waiter, wait time.Duration, err error) {
	if o == nil {
		o = &ReceiveOptions{}
	}
	config := q.config()
	if err := o.check(config); err != nil {
		return nil, 0, fmt.Errorf("receive from %s: %w", named(q.name), err)
	}
	wait = max(cmp.Or(o.Wait, config.ReceiveWait), 0) // of NoWait
	w = &waiter{max: cmp.Or(o.Max, 1), timeout: config.visibility(), brief: wait == 0, attempt: o.AttemptID, apart: o.apart}
	if o.VisibilityTimeout != 0 {
		w.timeout = max(o.VisibilityTimeout, 0) // of NoVisibilityTimeout
	}
	return w, wait, nil
}

func (o *ReceiveOptions) check(c *QueueConfig) error {
	switch {
	case o.Max < 0:
		return store.Invalid("Max %d is negative", o.Max)
	case o.Max > MaxReceiveMessages:
		return store.TooLarge("Max", int64(o.Max), MaxReceiveMessages)
	case o.Wait < 0 && o.Wait != NoWait:
		return store.Invalid("Wait %v is negative and not NoWait", o.Wait)
	}
	if o.AttemptID != "" {
		if err := checkText("AttemptID", o.AttemptID); err != nil {
			return err
		}
	}
	if o.VisibilityTimeout == NoVisibilityTimeout {
		return nil
	}
	return c.checkVisibility(o.VisibilityTimeout)
}

// unpack makes messages of what was taken. Those that cannot be read are set aside.
func (q *Queue) unpack(ctx context.Context, got []handout) ([]*Received, error) {
	if len(got) == 0 {
		return nil, nil
	}
	aside := &asideOp{q: q}
	messages := make([]*Received, 0, len(got))
	for _, h := range got {
		r, err := q.decode(h)
		if r == nil && err == nil { // asideOp knows if it was deleted since it was taken
			err = q.s.PayloadMissing(ctx, h.payload)
		}
		if err != nil {
			aside.messages, aside.why = append(aside.messages, h.delivery), append(aside.why, err)
			continue
		}
		h.print = fingerprint(h.data)
		r.Receipt, r.delivery, r.id = q.seal(h.delivery), h.delivery, r.ID
		r.ReceiveCount, r.Sequence, r.Priority = int(h.count), h.sequence, h.lane
		r.FirstReceivedAt, r.VisibleAt = h.first, h.until
		r.ExpiresAt = time.Unix(0, h.born).Add(q.config().Retention)
		messages = append(messages, r)
	}
	if len(aside.messages) == 0 {
		return messages, nil
	}
	if err := q.s.Insist(ctx, aside); err != nil {
		return messages, err
	}
	return messages, aside.unread
}

// asideOp takes messages out of everyone's reach that were taken and cannot be read.
type asideOp struct {
	q        *Queue
	messages []delivery
	why      []error
	unread   error
}

// Frees lets it in on a full disk.
func (o *asideOp) Frees() {}

// Prompt lets it in without waiting for room: its caller's context may be over.
func (o *asideOp) Prompt() {}

func (o *asideOp) Run(t *store.Turn) error {
	q := o.q
	if q.dropped {
		return nil
	}
	for i, d := range o.messages {
		m, err := q.core.Lookup(t, d.lane, d.seq)
		if m == nil || err != nil || m.Count != d.count {
			continue // it was settled, or received again
		}
		q.leases.remove(m)
		q.attempts.changed(m.Holder())
		q.core.SetAside(t, m, o.why[i])
	}
	o.unread = q.core.Unread()
	q.serve(t)
	return nil
}

func (o *asideOp) Undo()               {}
func (o *asideOp) Visible(*store.Turn) {}

// decode returns nil if the message was deleted since it was taken, and its
// shared body with it.
func (q *Queue) decode(h handout) (*Received, error) {
	r, err := decodeMessage(h.data)
	if err != nil || !h.payload.Shared() {
		return r, err
	}
	if r.Body, err = q.s.Payload(h.payload); r.Body == nil {
		return nil, err
	}
	return r, err
}

// receiveOp takes what is ready, or gets in line.
type receiveOp struct {
	yield
	w *waiter
}

func (o *receiveOp) Run(t *store.Turn) error {
	q := o.q
	if q.dropped {
		return q.gone()
	}
	if !o.fill(t, o.w) && !o.over(t, o.w) {
		q.waiting.add(o.w)
		if o.tired() {
			q.serve(t)
		}
	}
	q.leases.arm(t)
	return nil
}

func (o *receiveOp) Undo()  {}
func (o *receiveOp) Frees() {}
