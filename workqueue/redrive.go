package workqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/redrive"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits of a redrive: a million messages a second, and a hundred thousand at once.
const (
	MaxRedriveRate  = 1_000_000 // messages per second
	MaxRedriveBurst = 100_000   // messages at once
)

// The literals are those of the queue core. If two differ, an index is out of range.
var _ = [...]struct{}{
	[1]struct{}{}[MaxRedriveRate-queue.MaxRate],
	[1]struct{}{}[MaxRedriveBurst-queue.MaxBurst],
}

// RedriveOptions say what to move, and where to. Nil moves all that is ready back to
// where it came from, as fast as it goes.
type RedriveOptions struct {
	// To is where to publish the messages. Default: each goes to the queue of its
	// newest death, and is then as it was published to that queue.
	To *RedriveTo

	// Filter, if set, returns which messages to move; the others stay. It is called
	// from one goroutine. If it panics or calls runtime.Goexit, the redrive fails. As it
	// cannot be stored, such a redrive does not go on after a restart: it is interrupted
	// then.
	Filter func(*Browsed) bool

	// Rate is how many messages to move in a second, up to MaxRedriveRate, and Burst how many
	// of them at once after a rest, up to MaxRedriveBurst. Default: no limit; with a Rate, the
	// messages of a tenth of a second.
	Rate  float64
	Burst int
}

// RedriveTo is an exchange and the key to publish with; empty they are the default
// exchange, and the message's own key with its CC.
type RedriveTo struct {
	Exchange string `json:"exchange,omitempty"`
	Key      string `json:"key,omitempty"`
}

// RedriveState is how a redrive is doing.
type RedriveState string

// The states of a redrive.
const (
	RedriveRunning     RedriveState = "running"
	RedriveCompleted   RedriveState = "completed"   // all is done
	RedriveCancelled   RedriveState = "cancelled"   // by Cancel
	RedriveFailed      RedriveState = "failed"      // see Reason
	RedriveInterrupted RedriveState = "interrupted" // the process ended, and it had a Filter
)

// The states are those of the redrive itself. If one differs, two keys are false.
var (
	_ = map[bool]int{false: 0, RedriveRunning == RedriveState(redrive.Running): 1}
	_ = map[bool]int{false: 0, RedriveCompleted == RedriveState(redrive.Completed): 1}
	_ = map[bool]int{false: 0, RedriveCancelled == RedriveState(redrive.Cancelled): 1}
	_ = map[bool]int{false: 0, RedriveFailed == RedriveState(redrive.Failed): 1}
	_ = map[bool]int{false: 0, RedriveInterrupted == RedriveState(redrive.Interrupted): 1}
)

// RedriveInfo is what is known of a redrive.
type RedriveInfo struct {
	ID       uint64 // rises with each redrive of the queue
	State    RedriveState
	To       *RedriveTo // nil for the queues that the messages died in
	Filtered bool
	Rate     float64
	Burst    int

	StartedAt time.Time
	EndedAt   time.Time // zero while it runs

	Moved     uint64
	Skipped   uint64 // the filter left them, or they were unacknowledged or gone
	Failed    uint64 // stay in the queue because they could not be moved; see Reason
	Remaining uint64 // about
	Waiting   bool   // for room in a queue, or on the disk; it goes on by itself
	Reason    string // of the wait, or else of the latest failure
}

// Redrive is a move of messages under way, or one that has ended. Its methods are safe
// for concurrent use.
type Redrive struct{ r *redrive.Redrive }

// Redrive starts to move the messages that are ready in the queue, which most often is a dead
// letter place, back to the queues that they died in, or elsewhere. It returns when the redrive
// is stored durably. The redrive continues in the background, and after a restart, until it has
// passed all messages that were there when it began. Later messages stay, also those that were
// moved and have died again. One redrive of a queue runs at a time: a second is
// ErrRedriveRunning. RabbitMQ has shovels for that.
//
// Each message is moved in one commit: it is in the one queue or in the other. It keeps
// its MessageID and properties, its priority, and its Deaths; its deliveries are counted
// from zero, it has no TTL of its own, since it died, and holds no UniqueKey. No
// DedupeWindow applies. A queue that is full and refuses, and a full disk, are waited
// for, and the Info says so. A message that cannot be moved, because its queue does
// not exist any more or no binding matches it, stays and is counted as Failed. If the
// exchange of To does not exist, or is internal, Redrive returns ErrUnknownExchange or
// ErrInUse; if it is deleted later, the redrive fails.
func (q *Queue) Redrive(ctx context.Context, o *RedriveOptions) (*Redrive, error) {
	op, err := q.newRedrive(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := q.b.s.Do(ctx, op, store.Sync); err != nil {
		return nil, err
	}
	return &Redrive{op.Redrive}, nil
}

// Redrive is Queue.Redrive: it begins when the transaction commits, with the messages that are
// ready then. Until that the handle has no ID, and its Wait waits.
func (t QueueTx) Redrive(o *RedriveOptions) (*Redrive, error) {
	op, err := t.q.newRedrive(t.x.Context(), o)
	if err != nil {
		return nil, t.x.Fail(err)
	}
	if err := t.x.Add(op, 0); err != nil {
		return nil, err
	}
	return &Redrive{op.Redrive}, nil
}

// Redrives returns the redrives of the queue, the latest first: one that runs, and the
// last ones that have ended.
func (q *Queue) Redrives(ctx context.Context) (list []*Redrive, err error) {
	err = q.b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for _, r := range q.queue.redrives.List() {
			list = append(list, &Redrive{r})
		}
		return q.usable()
	}), store.Sync)
	return list, err
}

// Info returns how the redrive is doing.
func (r *Redrive) Info() RedriveInfo { return redriveInfo(r.r.Info()) }

func redriveInfo(i redrive.Info) RedriveInfo {
	to, _ := decodeTo(i.To) // was encoded here
	return RedriveInfo{
		ID: i.ID, State: RedriveState(i.State), To: to, Filtered: i.Filtered, Rate: i.Rate, Burst: i.Burst,
		StartedAt: i.StartedAt, EndedAt: i.EndedAt, Moved: i.Moved, Skipped: i.Skipped, Failed: i.Failed,
		Remaining: i.Remaining, Waiting: i.Waiting, Reason: i.Reason,
	}
}

// Wait waits for the redrive to end, and returns how. An error is that of ctx, or of the
// store when it goes down first.
func (r *Redrive) Wait(ctx context.Context) (RedriveInfo, error) {
	info, err := r.r.Wait(ctx)
	return redriveInfo(info), err
}

// Cancel ends the redrive and returns when it has ended. Moved messages stay moved, the others
// stay where they are. One that has ended already stays as it is.
func (r *Redrive) Cancel(ctx context.Context) error { return r.r.Cancel(ctx) }

func (q *Queue) newRedrive(ctx context.Context, o *RedriveOptions) (*redrive.StartOp, error) {
	if o == nil {
		o = &RedriveOptions{}
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("redrive of queue %q: %w", q.Name(), err)
	}
	if err := q.look(ctx); err != nil {
		return nil, err
	}
	to, err := encodeTo(o.To)
	if err != nil {
		return nil, err
	}
	info := redrive.Info{To: to, Filtered: o.Filter != nil, Rate: o.Rate, Burst: o.Burst}
	m := &mover{b: q.b, q: q.queue, to: o.To, filter: o.Filter}
	return q.queue.redrives.Start(info, redrive.Work{Alive: m.alive, Choose: m.choose}), nil
}

func (o *RedriveOptions) check() error {
	if err := queue.CheckRate(o.Rate, o.Burst); err != nil || o.To == nil {
		return err
	}
	if err := checkShort("redrive key", o.To.Key); err != nil || o.To.Exchange == "" {
		return err
	}
	return store.CheckName("exchange", o.To.Exchange)
}

// encodeTo returns a place as it is stored: as JSON, and "" for none.
func encodeTo(to *RedriveTo) (string, error) {
	if to == nil {
		return "", nil
	}
	text, err := json.Marshal(to)
	return string(text), err
}

func decodeTo(text string) (to *RedriveTo, err error) {
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &to); err != nil || to == nil {
		return nil, fmt.Errorf("%w: place %.64q of a redrive", store.ErrCorrupt, text)
	}
	return to, nil
}

// newRedrives prepares the redrives of a queue.
func (q *declaredQueue) newRedrives() *redrive.Set {
	s := q.topology.s
	return redrive.NewSet(redrive.Queue{
		Store: s, Kind: store.KindWorkRedrive, ID: q.object.ID, Name: q.name, Busy: ErrRedriveRunning,
		Alive: q.alive, Spool: func() *queue.Queue { return q.core }, Judge: judgeRedrive,
		Resume: func(i redrive.Info) redrive.Work {
			to, err := decodeTo(i.To)
			m := &mover{b: &Broker{s: s, t: q.topology}, q: q, to: to, broken: err}
			if i.Filtered {
				return redrive.Work{Alive: m.alive}
			}
			return redrive.Work{Alive: m.alive, Choose: m.choose}
		},
	})
}

func judgeRedrive(err error) queue.Verdict {
	if errors.Is(err, ErrQueueFull) {
		return queue.TryAgain
	}
	return queue.JudgeStore(err)
}

// mover is the work of a redrive.
type mover struct {
	b      *Broker
	q      *declaredQueue
	to     *RedriveTo
	filter func(*Browsed) bool
	broken error // why its record makes no sense
}

// alive is called under the baton. An exchange that is not there is found even if
// there is nothing to move.
func (r *mover) alive() error {
	if err := errors.Join(r.broken, r.q.alive()); err != nil || r.to == nil || r.to.Exchange == "" {
		return err
	}
	name := r.to.Exchange
	switch e := r.b.t.exchanges[name]; {
	case e == nil:
		return fmt.Errorf("redrive of queue %q: %w", r.q.name, destination{store.ClassExchange, name}.unknown())
	case e.config.Internal:
		return fmt.Errorf("redrive of queue %q: %w: exchange %q is internal", r.q.name, ErrInUse, name)
	}
	return nil
}

// choose returns how to move a message, or nothing if it stays.
func (r *mover) choose(_ context.Context, s *queue.Seen) (queue.Move, error) {
	if wanted, err := r.wants(s); !wanted || err != nil {
		return nil, err
	}
	e, err := decodeMessage(s.Data)
	if err != nil {
		return nil, err
	}
	if r.to != nil {
		if e.exchange = r.to.Exchange; r.to.Key != "" {
			e.key, e.CC = r.to.Key, nil
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

// wants asks the filter, which gets a copy.
func (r *mover) wants(s *queue.Seen) (bool, error) {
	if r.filter == nil {
		return true, nil
	}
	shown := *s
	shown.Data = slices.Clone(s.Data) // of which the body is the filter's to change
	m, err := r.q.browsed(&shown)
	if m == nil || err != nil {
		return false, err
	}
	return redrive.Ask(r.q.name, func() bool { return r.filter(m) })
}

// revive gives a dead letter the address that it was published with.
func (e *envelope) revive() {
	d := e.deaths[0]
	if e.exchange = d.Exchange; len(d.RoutingKeys) > 0 {
		e.key, e.CC = d.RoutingKeys[0], d.RoutingKeys[1:]
	}
}

// move moves one message to where it leads.
func (r *mover) move(e *envelope, route func() ([]*end, error)) queue.Move {
	parcel := newParcel(e)
	return func(t *store.Turn, m *queue.Message) (func(*store.Turn), error) {
		to, err := route()
		if err != nil {
			return nil, fmt.Errorf("redrive from queue %q: %w", r.q.name, err)
		}
		if len(to) == 0 {
			return nil, fmt.Errorf("redrive from queue %q: %w: no queue for exchange %q, key %q", r.q.name, ErrUnroutable, e.exchange, e.key)
		}
		p := parcel
		p.payload = m.Payload
		// Settled first. If the message comes back to this queue, it must not make the queue
		// full, and must not be the one that is pushed out.
		r.q.core.Settle(t, m)
		copies, err := r.b.t.spread(t, nil, to, &p)
		if err != nil {
			r.q.core.UndoSettle(m)
			return nil, fmt.Errorf("redrive from queue %q: %w", r.q.name, err)
		}
		return func(t *store.Turn) {
			if !r.q.deleted {
				r.q.core.Settled(t, m)
			}
			copies.show(t)
		}, nil
	}
}
