package workqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Delivery is a message in the hands of a consumer. Settle it once: Ack, Nack or Reject, alone
// or in a transaction. Until then it is unacknowledged, and goes back to its place in the queue
// when the consumer is closed or the process ends. The receiver owns all its bytes. A
// redelivery or dead letter has the message as it was published.
type Delivery struct {
	Message

	Queue      string
	Exchange   string // that it was published to
	RoutingKey string

	// Redelivered says that it may have been delivered before. A delivery that was released
	// does not count.
	Redelivered bool
	// DeliveryCount counts the deliveries, from 1. It is exact but for a crash,
	// which may lose the count of a first delivery.
	DeliveryCount int

	// Deaths is the history of a dead letter, the latest first.
	Deaths []Death

	b        *Broker
	q        *declaredQueue
	consumer *Consumer // nil for Get
	m        *queue.Message
	payload  store.Payload // the body, if it is shared
	state    deliveryState // under the baton
	number   uint64        // in the inbox of its consumer; under the baton
	since    time.Time     // when it was handed out
	suspect  bool          // its message may have killed the process before this one
	hidden   bool          // a suspect in an inbox, or on its way to the disk; under the baton
	seen     bool          // by the application; under the consumer's lock
	parked   bool          // is with Run, but not with its handler; under the baton
	begun    bool          // Run has called its handler; of the source
	through  bool          // Run has settled it; of the source
	limit    int           // of the deliveries of its message; 0 is none

	link      heldLink                // under the baton
	interrupt context.CancelCauseFunc // when it is lost, if anybody wants to know; under the consumer's lock
}

type deliveryState uint8

const (
	pending deliveryState = iota
	settled
	lost // went back to the queue
)

func newDelivery(q *declaredQueue, c *Consumer, m *queue.Message) (*Delivery, error) {
	e, err := decodeMessage(m.Data)
	if err != nil {
		return nil, err
	}
	b := &Broker{s: q.topology.s, t: q.topology}
	if c != nil {
		b = c.b // which is equal, and there already
	}
	return &Delivery{
		limit:   max(q.config.DeliveryLimit, 0),
		Message: e.Message, Queue: q.name, Exchange: e.exchange, RoutingKey: e.key, Deaths: e.deaths,
		Redelivered: m.Count > 1 || m.Suspect, DeliveryCount: int(m.Count), suspect: m.Suspect, hidden: m.Suspect && c != nil,
		parked: c != nil && c.parks,
		b:      b, q: q, consumer: c, m: m, payload: m.Payload,
	}, nil
}

// handOver has the delivery written, unless Run is to say when, and gives the receiver a body of its
// own. It runs outside the baton, so the delivery may have been lost by then, and settled by somebody
// else: then there may be no body any more, and it returns nil. It does so as well if the body cannot
// be read: the message is set aside then.
func (d *Delivery) handOver(ctx context.Context) (*Delivery, error) {
	switch {
	case d.consumer == nil: // Get has done it
	case d.consumer.parks: // Begin will do it
	case !d.suspect:
		d.q.handovers.add(d)
	default:
		if has, err := d.confess(ctx); !has {
			return nil, err
		}
	}
	return d.withBody()
}

// confess has the delivery of a suspect on disk before it is handed over, and reports whether the
// consumer still has it then. If that cannot be waited for, the message goes back.
func (d *Delivery) confess(ctx context.Context) (has bool, err error) {
	o := &confessOp{d: d}
	if err := d.b.s.Do(ctx, o, store.NoSync); err != nil {
		_ = d.b.s.Insist(ctx, giveUpOp{&requeueOp{d: d, forgive: true}}) // fails if the store has, and then it returns anyway
		return false, err
	}
	return o.has, nil
}

// confessOp has the delivery of a suspect written, and begins its AckTimeout some time from now.
type confessOp struct {
	d     *Delivery
	ahead time.Duration
	has   bool
}

// Frees lets it in on a disk that is nearly full: it is what consumers wait for.
func (o *confessOp) Frees() {}

func (o *confessOp) Run(t *store.Turn) error {
	if d := o.d; d.state == pending && !d.q.deleted {
		d.begin(t, o.ahead)
	}
	return nil
}

func (o *confessOp) Undo() {}

// Visible is when it is on disk.
func (o *confessOp) Visible(*store.Turn) {
	o.has = o.d.state == pending
	o.d.hidden = !o.has
}

// withBody gives the receiver a body of its own, or returns nil if it has no message any more.
func (d *Delivery) withBody() (*Delivery, error) {
	if !d.payload.Shared() {
		d.Body = append(make([]byte, 0, len(d.Body)), d.Body...)
		return d, nil
	}
	body, err := d.b.s.Payload(d.payload)
	switch {
	case body != nil && err == nil:
		d.Body = body
		return d, nil
	case err == nil:
		err = fmt.Errorf("the shared body of message %d of queue %q: %w",
			d.m.Seq, d.Queue, d.b.s.PayloadMissing(context.Background(), d.payload))
	case !store.IsUnread(err):
		return nil, err
	}
	return nil, d.setAside(err)
}

// setAside takes a message out of everyone's reach whose body cannot be read.
func (d *Delivery) setAside(err error) error {
	return d.b.s.Do(context.Background(), store.PromptFunc{OpFunc: func(t *store.Turn) error {
		if d.state == pending && !d.q.deleted {
			d.q.core.SetAside(t, d.m, err)
			d.lose()
			d.q.ready(t)
		}
		return nil
	}}, store.NoSync)
}

// real refuses a Delivery that no queue has made.
func (d *Delivery) real() error {
	if d == nil || d.m == nil {
		return store.Invalid("the delivery did not come from a queue")
	}
	return nil
}

// settleable refuses a delivery that is not ours to settle any more.
func (d *Delivery) settleable() error {
	switch {
	case d.q.deleted:
		return fmt.Errorf("%w: %q", ErrQueueDeleted, d.Queue)
	case d.state == settled:
		return fmt.Errorf("%w: queue %q", ErrSettled, d.Queue)
	case d.state == lost:
		return fmt.Errorf("%w: queue %q", ErrDeliveryLost, d.Queue)
	}
	return nil
}

// release gives the consumer room for another, as soon as the settlement has its
// place in the order: the next message need not wait for the disk to catch up.
func (d *Delivery) release(t *store.Turn) {
	d.state = settled
	d.drop()
	d.q.ready(t)
}

// reclaim takes release back. What that has posted is gone with the Op.
func (d *Delivery) reclaim() {
	d.state = pending
	d.keep()
	d.q.posted = false
}

// Ack removes the message from its queue for good. Its durability is NoSync
// unless the context says otherwise: an acknowledgement that a crash loses
// only has the message delivered again.
func (d *Delivery) Ack(ctx context.Context) error {
	if err := d.real(); err != nil {
		return err
	}
	return d.do(ctx, "ack", ackOp{d: d})
}

// do settles the delivery.
func (d *Delivery) do(ctx context.Context, verb string, op store.Op) error {
	_, end := traceTaken(ctx, d.q, store.StepSettle, verb, d)
	err := d.b.s.Do(ctx, op, store.NoSync)
	end(err)
	return err
}

// Nack returns the message to its old place in the queue, or to the tail after a pause if the
// queue has a Retry. Without requeue the message becomes a dead letter, see
// QueueConfig.DeadLetter. If that cannot be reached, the error is ErrUnroutable or
// ErrUnknownExchange, and the delivery stays unacknowledged.
func (d *Delivery) Nack(ctx context.Context, requeue bool) error {
	if err := d.real(); err != nil {
		return err
	}
	if err := d.readyNack(ctx, requeue); err != nil {
		return err
	}
	verb := "nack"
	if !requeue {
		verb = "reject"
	}
	return d.do(ctx, verb, d.nack(requeue))
}

// Release gives the message back as if it had not been delivered, which does not count
// towards the delivery limit: that it could not be handled now is not its fault. Without a
// delay it has its old place, with one of up to MaxDelay it goes to the tail when that is
// over. The durability is as that of Ack.
func (d *Delivery) Release(ctx context.Context, delay time.Duration) error {
	if err := d.real(); err != nil {
		return err
	}
	if err := checkRelease(delay); err != nil {
		return err
	}
	return d.do(ctx, "release", d.releaseOp(delay))
}

func checkRelease(delay time.Duration) error {
	if delay < 0 || delay > MaxDelay {
		return store.Invalid("delay %v of a release is not between 0 and %v", delay, MaxDelay)
	}
	return nil
}

func (d *Delivery) releaseOp(delay time.Duration) store.Op {
	if delay > 0 {
		return &tailOp{d: d, delay: min(delay, MaxDelay), forgive: true}
	}
	return &requeueOp{d: d, forgive: true}
}

// Reject is Nack without requeue.
func (d *Delivery) Reject(ctx context.Context) error { return d.Nack(ctx, false) }

// readyNack makes sure of the place that a nack without requeue needs.
func (d *Delivery) readyNack(ctx context.Context, requeue bool) error {
	if requeue {
		return nil
	}
	return d.q.readyDead(ctx)
}

func (d *Delivery) nack(requeue bool) store.Op {
	if requeue {
		return &nackOp{d: d}
	}
	return &rejectOp{d: d, reason: ReasonRejected}
}

// Ack is Delivery.Ack as a part of the transaction: if the delivery was lost
// by the time it commits, all of the transaction is refused.
func (t BrokerTx) Ack(d *Delivery) error {
	if err := t.own(d); err != nil {
		return err
	}
	return t.x.Add(ackOp{d: d}, 0)
}

// own refuses a delivery of another broker, whose memory may even be under the
// baton of another store: settling it would delete keys of this one.
func (t BrokerTx) own(d *Delivery) error {
	err := d.real()
	if err == nil && d.q.topology != t.b.t {
		err = store.Invalid("the delivery of queue %q is not of broker %q", d.Queue, t.b.t.name)
	}
	if err != nil {
		return t.x.Fail(err)
	}
	return nil
}

// Nack is Delivery.Nack as a part of the transaction.
func (t BrokerTx) Nack(d *Delivery, requeue bool) error {
	if err := t.own(d); err != nil {
		return err
	}
	if err := d.readyNack(t.x.Context(), requeue); err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(d.nack(requeue), len(d.m.Data))
}

// Release is Delivery.Release as a part of the transaction. A delay begins at the commit.
func (t BrokerTx) Release(d *Delivery, delay time.Duration) error {
	if err := t.own(d); err != nil {
		return err
	}
	if err := checkRelease(delay); err != nil {
		return t.x.Fail(err)
	}
	return t.x.Add(d.releaseOp(delay), len(d.m.Data))
}

// Get takes one message without a consumer; ok is false if none is ready, or the queue is
// paused, or jammed by dead letters (see DeadLetter.Exchange). It waits only while ready
// messages are being read from disk, or while messages published before become ready. A Get
// after a NoSync publish therefore finds the message. The delivery is held until it is settled,
// its AckTimeout is over or the store is closed. A queue with SingleActive that has a consumer is ErrInUse.
//
// Messages that cannot be read stay in the queue, and Get returns the others. It
// returns pebblemq.ErrCorrupt, or pebblemq.ErrUnreadable, once for each stretch of
// messages that was found since the last Get; call it again. See QueueStats.Unreadable.
func (q *Queue) Get(ctx context.Context) (d *Delivery, ok bool, err error) {
	for {
		op := &getOp{q: q}
		if err := q.b.s.Do(ctx, op, store.NoSync); err != nil {
			q.b.giveUp(ctx, op)
			return nil, false, err
		}
		if op.unread != nil {
			return nil, false, op.unread
		}
		if op.d != nil {
			if d, err = op.d.handOver(ctx); d != nil || err != nil {
				if d != nil {
					traceReceive(ctx, q.queue, "get", d)
				}
				return d, d != nil, err
			}
			continue
		}
		if op.more == nil {
			return nil, false, nil
		}
		select {
		case <-op.more:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-q.b.s.Down():
			return nil, false, q.b.s.Cause()
		}
	}
}

// giveUp returns a message that was taken for a caller who has not waited until
// its delivery was on disk.
func (b *Broker) giveUp(ctx context.Context, op *getOp) {
	if op.d == nil {
		return
	}
	_ = b.s.Insist(ctx, giveUpOp{&requeueOp{d: op.d}}) // fails if the store has, and then it returns anyway
}

// giveUpOp is a requeueOp that is let in always.
type giveUpOp struct{ *requeueOp }

// Prompt marks it.
func (giveUpOp) Prompt() {}

type getOp struct {
	q      *Queue
	d      *Delivery
	more   <-chan struct{} // closed when what is ready has been read from disk
	unread error           // what was found that cannot be read
	buried []*burial
}

// Frees lets it in on a disk that is nearly full.
func (o *getOp) Frees() {}

func (o *getOp) Run(t *store.Turn) error {
	if err := o.q.use(t); err != nil {
		return err
	}
	q := o.q.queue
	if q.config.SingleActive && len(q.consumers) > 0 {
		return fmt.Errorf("%w: queue %q has SingleActive and a consumer", ErrInUse, q.name)
	}
	if o.unread = q.core.Unread(); o.unread != nil {
		return nil
	}
	q.core.NextRound(t)
	for !q.halted() {
		d, b := q.take(t, nil)
		if b == nil {
			if o.d = d; d == nil && (q.core.Rouse(t) || q.core.Busy()) {
				o.more = q.changed.C()
			}
			return nil
		}
		o.buried = append(o.buried, b)
	}
	return nil
}

func (o *getOp) Undo() {}

func (o *getOp) Visible(t *store.Turn) {
	for _, b := range o.buried {
		b.show(t)
	}
}

// ackOp settles a delivery. It is a value, which costs no memory.
type ackOp struct{ d *Delivery }

func (o ackOp) String() string { return fmt.Sprintf("ack a delivery of queue %q", o.d.Queue) }

// Frees lets it in on a disk that is nearly full.
func (o ackOp) Frees() {}

func (o ackOp) Run(t *store.Turn) error {
	if err := o.d.settleable(); err != nil {
		return err
	}
	o.d.q.core.SettleLater(t, o.d.m)
	o.d.release(t)
	return nil
}

func (o ackOp) Undo() {
	o.d.reclaim()
	o.d.q.core.UndoSettle(o.d.m)
}

func (o ackOp) Visible(t *store.Turn) {
	o.d.q.totals.Acked++
	if !o.d.q.deleted {
		o.d.q.core.Settled(t, o.d.m)
	}
}

// requeueOp gives a delivery back to its old place, or to the head.
type requeueOp struct {
	d       *Delivery
	forgive bool // it does not count
	ahead   bool // to the head instead
}

func (o *requeueOp) String() string { return fmt.Sprintf("requeue a delivery of queue %q", o.d.Queue) }

// Frees lets it in on a disk that is nearly full.
func (o *requeueOp) Frees() {}

func (o *requeueOp) Run(t *store.Turn) error {
	if err := o.d.settleable(); err != nil {
		return err
	}
	o.d.q.core.Return(t, o.d.m, o.forgive)
	o.d.m.Ahead = o.ahead
	o.d.release(t)
	return nil
}

func (o *requeueOp) Undo() {
	o.d.reclaim()
	o.d.q.core.UndoReturn(o.d.m, o.d.m.Until)
}

func (o *requeueOp) Visible(t *store.Turn) {
	o.d.q.returned(t, o.d.m)
}
