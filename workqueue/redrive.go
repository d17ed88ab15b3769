package workqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits of a redrive: a million messages a second, and a hundred thousand at once.
const (
	MaxRedriveRate  = spool.MaxRate
	MaxRedriveBurst = spool.MaxBurst
)

// RedriveOptions say what to move, and where to. Nil moves all that is ready back to
// where it came from, as fast as it goes.
type RedriveOptions struct {
	// To is where to publish the messages. Default: each goes to the queue of its
	// newest death, and is then as it was published to that queue.
	To *RedriveTo

	// Filter, if set, returns which messages to move; the others stay. Filter and
	// Progress run on the goroutine of Redrive's caller.
	Filter func(*Browsed) bool

	// Rate is how many messages to move in a second, up to MaxRedriveRate, and Burst
	// how many of them at once after a rest, up to MaxRedriveBurst. Default: any
	// number; and of a Rate, what comes in a tenth of a second.
	Rate  float64
	Burst int

	// Progress, if set, is called after each few messages, and when the redrive
	// begins to wait.
	Progress func(RedriveProgress)
}

// RedriveTo is an exchange and the key to publish with; empty they are the default
// exchange, and the message's own key with its CC.
type RedriveTo struct {
	Exchange string
	Key      string
}

// RedriveProgress is what a redrive has done.
type RedriveProgress struct {
	Moved     uint64
	Skipped   uint64 // the filter left them, or they were unacknowledged or gone
	Failed    uint64 // stay in the queue because they could not be moved; see Reason
	Remaining uint64 // about
	Waiting   bool   // for room in a queue, or on the disk; it goes on by itself
	Reason    error  // of the wait, or else of the latest failure
}

// Redrive moves the messages that are ready in the queue, which most often is a dead
// letter place, back to the queues that they died in, or elsewhere. It returns when it
// has come to all that was there when it began, or ctx ends; what was moved is moved,
// the rest stays. If the disk does not answer within a second after ctx has ended, the
// error is ErrUnknownOutcome: the last few messages may have been moved. What comes later stays too, also if it is a message that was moved
// and has died again. RabbitMQ has shovels for that.
//
// Each message is moved in one commit: it is in the one queue or in the other. It keeps
// its MessageID and properties, its priority, and its Deaths; its deliveries are counted
// from zero, it has no TTL of its own, since it died, and holds no UniqueKey. No
// DedupeWindow applies. A queue that is full and refuses, and a full disk, are waited
// for, and the Progress says so. A message that cannot be moved, because its queue does
// not exist any more or no binding matches it, stays and is counted as Failed; that the
// exchange of To does not exist, or is internal, ends the redrive with an error.
func (q *Queue) Redrive(ctx context.Context, o *RedriveOptions) (RedriveProgress, error) {
	if o == nil {
		o = &RedriveOptions{}
	}
	if err := o.check(); err != nil {
		return RedriveProgress{}, err
	}
	if err := q.look(ctx); err != nil {
		return RedriveProgress{}, err
	}
	r := &redrive{b: q.b, q: q.queue, o: o}
	pump := &spool.Pump{
		Browse: q.queue.spool.Browse(spool.Query{Alive: r.alive, Waiting: true}),
		Select: r.choose, Judge: r.judge, Rate: o.Rate, Burst: o.Burst, Report: r.report,
	}
	p, err := pump.Run(ctx, spool.Progress{})
	return RedriveProgress(p), err
}

func (o *RedriveOptions) check() error {
	if err := spool.CheckRate(o.Rate, o.Burst); err != nil || o.To == nil {
		return err
	}
	if err := checkShort("redrive key", o.To.Key); err != nil || o.To.Exchange == "" {
		return err
	}
	return store.CheckName("exchange", o.To.Exchange)
}

// redrive is a Redrive under way.
type redrive struct {
	b *Broker
	q *queue
	o *RedriveOptions
}

func (r *redrive) report(p spool.Progress) {
	if r.o.Progress != nil {
		r.o.Progress(RedriveProgress(p))
	}
}

// alive is called under the baton. An exchange that is not there is found even if
// there is nothing to move.
func (r *redrive) alive() error {
	if err := r.q.alive(); err != nil || r.o.To == nil || r.o.To.Exchange == "" {
		return err
	}
	name := r.o.To.Exchange
	switch e := r.b.t.exchanges[name]; {
	case e == nil:
		return destination{store.ClassExchange, name}.unknown()
	case e.config.Internal:
		return fmt.Errorf("%w: exchange %q is internal", ErrInUse, name)
	}
	return nil
}

func (r *redrive) judge(err error) spool.Verdict {
	if errors.Is(err, ErrQueueFull) {
		return spool.TryAgain
	}
	return spool.JudgeStore(err)
}

// choose returns how to move a message, or nothing if it stays.
func (r *redrive) choose(s *spool.Seen) (spool.Move, error) {
	if r.o.Filter != nil {
		shown := *s
		shown.Data = slices.Clone(s.Data) // of which the body is the filter's to change
		m, err := r.q.browsed(&shown)
		if m == nil || err != nil || !r.o.Filter(m) {
			return nil, err
		}
	}
	e, err := decodeMessage(s.Data)
	if err != nil {
		return nil, err
	}
	if r.o.To != nil {
		if e.exchange = r.o.To.Exchange; r.o.To.Key != "" {
			e.key, e.CC = r.o.To.Key, nil
		}
		return r.move(&e, func() ([]*end, error) { return r.b.t.route(e.address()) }), nil
	}
	if len(e.deaths) == 0 {
		return nil, fmt.Errorf("%w: message at %v of queue %q is no dead letter and has no queue to go back to", ErrUnroutable, s.Position, r.q.name)
	}
	origin := &address{key: e.deaths[0].Queue, m: &e.Message}
	e.revive()
	return r.move(&e, func() ([]*end, error) {
		if r.b.t.queues[origin.key] == nil {
			return nil, destination{store.ClassQueue, origin.key}.unknown()
		}
		return r.b.t.route(origin)
	}), nil
}

// revive gives a dead letter the address that it was published with.
func (e *envelope) revive() {
	d := e.deaths[0]
	if e.exchange = d.Exchange; len(d.RoutingKeys) > 0 {
		e.key, e.CC = d.RoutingKeys[0], d.RoutingKeys[1:]
	}
}

// move moves one message to where it leads.
func (r *redrive) move(e *envelope, route func() ([]*end, error)) spool.Move {
	parcel := newParcel(e)
	return func(t *store.Turn, m *spool.Message) (func(*store.Turn), error) {
		to, err := route()
		if err != nil {
			return nil, fmt.Errorf("redrive from queue %q: %w", r.q.name, err)
		}
		if len(to) == 0 {
			return nil, fmt.Errorf("redrive from queue %q: %w: no queue for exchange %q, key %q", r.q.name, ErrUnroutable, e.exchange, e.key)
		}
		p := parcel
		p.payload = m.Payload
		// Settled first: the message is not what makes the queue full, if it comes
		// back to it, and is not what has to go if the queue is.
		r.q.spool.Settle(t, m)
		copies, err := r.b.t.spread(t, nil, to, &p)
		if err != nil {
			r.q.spool.UndoSettle(m)
			return nil, fmt.Errorf("redrive from queue %q: %w", r.q.name, err)
		}
		return func(t *store.Turn) {
			if !r.q.deleted {
				r.q.spool.Settled(t, m)
			}
			copies.show(t)
		}, nil
	}
}
