package visibility

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits of a redrive: a million messages a second, and a hundred thousand at once.
const (
	MaxRedriveRate  = spool.MaxRate
	MaxRedriveBurst = spool.MaxBurst
	keptRedrives    = 10 // that have ended, of each queue; as in SQS
)

// RedriveOptions say what to move, and where to. Nil moves all that is visible back to
// where it came from, as fast as it goes.
type RedriveOptions struct {
	// To is the queue to move the messages to, of the same kind. Default: each
	// message goes to the queue that it died in.
	To string

	// Filter, if set, returns which messages to move; the others stay. It is called
	// from one goroutine. If it panics or calls runtime.Goexit, the redrive fails.
	// As it cannot be stored, such a redrive does not go on
	// after a restart: it is interrupted then.
	Filter func(*Browsed) bool

	// Rate is how many messages to move in a second, up to MaxRedriveRate, and Burst
	// how many of them at once after a rest, up to MaxRedriveBurst. Default: any
	// number; and of a Rate, what comes in a tenth of a second.
	Rate  float64
	Burst int
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

// RedriveInfo is what is known of a redrive.
type RedriveInfo struct {
	ID       uint64 // rises with each redrive of the queue
	State    RedriveState
	To       string // empty for the queues that the messages died in
	Filtered bool
	Rate     float64
	Burst    int

	StartedAt time.Time
	EndedAt   time.Time // zero while it runs

	Moved     uint64
	Skipped   uint64 // the filter left them, or they were in flight or gone
	Failed    uint64 // stay in the queue because they could not be moved; see Reason
	Remaining uint64 // about
	Waiting   bool   // for room on the disk; it goes on by itself
	Reason    string // of the wait, or else of the latest failure
}

// Redrive is a move of messages under way, or one that has ended. Its methods are safe
// for concurrent use.
type Redrive struct {
	q      *Queue
	filter func(*Browsed) bool
	cancel context.CancelFunc // of it, as asked for by Cancel
	asked  context.Context
	done   chan struct{}
	spans  []spool.Span // that were left when it began, or goes on

	mu struct { // below the baton
		sync.Mutex
		info RedriveInfo
	}
}

// Redrive starts to move the messages that are visible in this queue, which most often
// is a dead-letter queue, back to the queues that they died in, or to another one. It
// returns when that is on its way, durably: it goes on in the background, and when the
// queue is opened after a restart, until it has come to all that was there when it
// began. What comes later stays, also if it is a message that was moved and has died
// again. One redrive of a queue runs at a time: a second is ErrRedriveRunning.
//
// Each message is moved in one commit: it is in the one queue or in the other. It keeps
// its ID, body, attributes, group, time of sending and DeadLetterInfo, and its retention
// goes on unless the other queue has RetentionRestarts; it gets a sequence number of
// the other queue, stands at its end, and its receives are counted from zero. It is no duplicate of anything, whatever the queue's DedupeWindow.
// Messages of a group keep their order. What is in flight is left out; what cannot be
// moved, because its queue does not exist any more for instance, stays and is counted
// as Failed. While the disk is full the redrive waits.
//
// It is StartMessageMoveTask of SQS, with a filter. Redrives lists it later on.
func (q *Queue) Redrive(ctx context.Context, o *RedriveOptions) (*Redrive, error) {
	if o == nil {
		o = &RedriveOptions{}
	}
	if err := spool.CheckRate(o.Rate, o.Burst); err != nil {
		return nil, err
	}
	if o.To != "" {
		if err := store.CheckName("queue", o.To); err != nil {
			return nil, err
		}
		if _, err := q.destination(ctx, o.To); err != nil {
			return nil, err
		}
	}
	r := newRedrive(q, RedriveInfo{State: RedriveRunning, To: o.To, Filtered: o.Filter != nil, Rate: o.Rate, Burst: o.Burst})
	r.filter = o.Filter
	if err := q.s.Do(ctx, store.OpFunc(func(t *store.Turn) error { return q.startRedrive(t, r) }), store.Sync); err != nil {
		return nil, err
	}
	return r, nil
}

func newRedrive(q *Queue, info RedriveInfo) *Redrive {
	r := &Redrive{q: q, done: make(chan struct{})}
	r.asked, r.cancel = context.WithCancel(context.Background())
	r.mu.info = info
	return r
}

// startRedrive gives a redrive its number and its goroutine.
func (q *Queue) startRedrive(t *store.Turn, r *Redrive) error {
	if err := q.alive(); err != nil {
		return err
	}
	number := uint64(1)
	for _, other := range q.redrives {
		info := other.Info()
		if number = info.ID + 1; info.State == RedriveRunning {
			return fmt.Errorf("%w: number %d of queue %q", ErrRedriveRunning, info.ID, q.name)
		}
	}
	r.mu.info.ID, r.mu.info.StartedAt, r.mu.info.Remaining = number, t.Now(), q.spool.Stats().Ready
	r.spans = q.spool.Waiting()
	r.write(t, r.mu.info, r.spans)
	if !t.Spawn(r.run) {
		return store.ErrClosed
	}
	for len(q.redrives) >= keptRedrives {
		t.Delete(redriveKey(q.id, q.redrives[0].Info().ID))
		q.redrives = q.redrives[1:]
	}
	q.redrives = append(q.redrives, r)
	return nil
}

// Redrives returns the redrives of the queue, the latest first: one that runs, and the
// last ones that have ended.
func (q *Queue) Redrives(ctx context.Context) (list []*Redrive, err error) {
	err = q.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		list = slices.Clone(q.redrives)
		return q.alive()
	}), store.Sync)
	slices.Reverse(list)
	return list, err
}

// Info returns how the redrive is doing.
func (r *Redrive) Info() RedriveInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.info
}

// Wait waits for the redrive to end, and returns how. An error is that of ctx, or of the
// store when it goes down first.
func (r *Redrive) Wait(ctx context.Context) (RedriveInfo, error) {
	if err := store.CheckContext(ctx); err != nil {
		return RedriveInfo{}, err
	}
	select {
	case <-r.done:
		if r.Info().State == RedriveRunning { // the store is going down
			return r.Info(), cmp.Or(r.q.s.Cause(), store.ErrClosed)
		}
		return r.Info(), nil
	case <-ctx.Done():
		return r.Info(), ctx.Err()
	case <-r.q.s.Down():
		return r.Info(), r.q.s.Cause()
	}
}

// Cancel ends the redrive and returns when it has ended. What was moved is moved, the
// rest stays. One that has ended already stays as it is.
func (r *Redrive) Cancel(ctx context.Context) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	r.cancel()
	_, err := r.Wait(ctx)
	return err
}

// run moves messages until there are no more.
func (r *Redrive) run(ctx context.Context) {
	defer close(r.done)
	before := r.Info()
	if before.Filtered && r.filter == nil {
		r.end(ctx, RedriveInterrupted, nil)
		return
	}
	moving, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(r.asked, stop)()
	pump := &spool.Pump{
		Browse: r.q.spool.Browse(spool.Query{Alive: r.q.alive, Spans: r.spans}),
		Select: func(s *spool.Seen) (spool.Move, error) { return r.choose(moving, s) },
		Judge:  judge, Rate: before.Rate, Burst: before.Burst, Report: r.report,
		Note: func(t *store.Turn, p spool.Progress, left []spool.Span) { r.write(t, before.with(p), left) },
	}
	p := spool.Progress{Moved: before.Moved, Skipped: before.Skipped, Failed: before.Failed}
	if before.Reason != "" {
		p.Reason = errors.New(before.Reason)
	}
	_, err := pump.Run(moving, p)
	switch {
	case err == nil:
		r.end(ctx, RedriveCompleted, nil)
	case ctx.Err() != nil: // the store is closing: it goes on when it is opened
	case r.asked.Err() != nil:
		r.end(ctx, RedriveCancelled, nil)
	default:
		r.end(ctx, RedriveFailed, err)
	}
}

// end notes how it has ended.
func (r *Redrive) end(ctx context.Context, state RedriveState, reason error) {
	info := r.Info()
	info.State, info.Waiting = state, false
	if reason != nil {
		info.Reason = reason.Error()
	}
	err := r.q.s.Do(store.WithDurability(ctx, store.Sync), store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		info.EndedAt = t.Now()
		if !r.q.dropped {
			r.write(t, info, nil)
		}
		return nil
	}}, store.Sync)
	if err != nil {
		return // the store is down: it goes on when it is opened
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.info = info
}

func (r *Redrive) report(p spool.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.info = r.mu.info.with(p)
}

func (i RedriveInfo) with(p spool.Progress) RedriveInfo {
	i.Moved, i.Skipped, i.Failed, i.Remaining, i.Waiting = p.Moved, p.Skipped, p.Failed, p.Remaining, p.Waiting
	if i.Reason = ""; p.Reason != nil {
		i.Reason = p.Reason.Error()
	}
	return i
}

// giveUp is an error that ends a redrive.
type giveUp struct{ error }

func (e giveUp) Unwrap() error { return e.error }

func judge(err error) spool.Verdict {
	if errors.As(err, &giveUp{}) {
		return spool.GiveUp
	}
	return spool.JudgeStore(err)
}

// choose returns how to move a message, or nothing if it stays.
func (r *Redrive) choose(ctx context.Context, s *spool.Seen) (move spool.Move, err error) {
	wanted, err := r.wants(s)
	if !wanted || err != nil {
		return nil, err
	}
	set := r.Info().To
	name := cmp.Or(set, originOf(s.Data))
	if name == "" {
		return nil, fmt.Errorf("%w: message %d of queue %q is no dead letter and has no queue to go back to", ErrUnknownQueue, s.Seq, r.q.name)
	}
	to, err := r.q.destination(ctx, name)
	switch {
	case err != nil && set != "":
		return nil, giveUp{err}
	case err != nil:
		return nil, err
	}
	return r.q.redriven(to), nil
}

// wants asks the filter, which gets a copy. If the filter fails, the redrive ends.
func (r *Redrive) wants(s *spool.Seen) (wanted bool, err error) {
	if r.filter == nil {
		return true, nil
	}
	m, err := r.q.browsed(s)
	if m == nil || err != nil {
		return false, err
	}
	err = store.Call("filter", func() error {
		wanted = r.filter(m)
		return nil
	})
	if err != nil {
		reason, _, _ := strings.Cut(err.Error(), "\n") // it is stored, without a stack
		return false, giveUp{fmt.Errorf("visibility: redrive of queue %q: %s", r.q.name, reason)}
	}
	return wanted, nil
}

// destination returns a queue that messages of this one can be moved to.
func (q *Queue) destination(ctx context.Context, name string) (*Queue, error) {
	to, err := registryOf(q.s).lookup(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case to == q:
		return nil, store.Invalid("redrive of queue %q to itself", name)
	case to.config().FIFO != q.config().FIFO:
		return nil, store.Invalid("redrive of queue %q to %q: both are FIFO, or none is", q.name, name)
	}
	return to, nil
}

// redriven moves one message.
func (q *Queue) redriven(to *Queue) spool.Move {
	return func(t *store.Turn, m *spool.Message) (func(*store.Turn), error) {
		if err := to.alive(); err != nil {
			return nil, err
		}
		return q.moveTo(t, to, m, m.Data).show, nil
	}
}
