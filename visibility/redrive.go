package visibility

import (
	"cmp"
	"context"
	"fmt"
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

	// Rate is how many messages to move in a second, up to MaxRedriveRate, and Burst how many
	// of them at once after a rest, up to MaxRedriveBurst. Default: no limit; with a Rate, the
	// messages of a tenth of a second.
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
type Redrive struct{ r *redrive.Redrive }

// Redrive starts to move the messages that are visible in this queue, which most often is a
// dead-letter queue, back to the queues that they died in, or to another one. It returns when
// the redrive is stored durably. The redrive continues in the background, and after a restart,
// until it has passed all messages that were there when it began. Later messages stay, also
// those that were moved and have died again. One redrive of a queue runs at a time: a second is
// ErrRedriveRunning.
//
// Each message is moved in one commit: it is in the one queue or in the other. It keeps its ID,
// body, attributes, group, send time and DeadLetterInfo. Its retention continues unless the
// other queue has RetentionRestarts. It gets a sequence number at the end of the other queue,
// and its receives are counted from zero. It is no duplicate of anything, whatever the queue's
// DedupeWindow. Messages of a group keep their order. Messages in flight are left out. A
// message that cannot be moved, for example because its queue was deleted, stays and is counted
// as Failed. While the disk is full the redrive waits.
//
// It is StartMessageMoveTask of SQS, with a filter. Redrives lists it later on.
func (q *Queue) Redrive(ctx context.Context, o *RedriveOptions) (*Redrive, error) {
	op, err := q.newRedrive(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := q.s.Do(ctx, op, store.Sync); err != nil {
		return nil, err
	}
	return &Redrive{op.Redrive}, nil
}

// Redrive is Queue.Redrive: it begins when the transaction commits, with the messages that are
// visible then. Until that the handle has no ID, and its Wait waits.
func (v QueueTx) Redrive(o *RedriveOptions) (*Redrive, error) {
	op, err := v.q.newRedrive(v.x.Context(), o)
	if err != nil {
		return nil, v.x.Fail(err)
	}
	if err := v.x.Add(op, entryOverhead); err != nil {
		return nil, err
	}
	return &Redrive{op.Redrive}, nil
}

func (q *Queue) newRedrive(ctx context.Context, o *RedriveOptions) (*redrive.StartOp, error) {
	if o == nil {
		o = &RedriveOptions{}
	}
	if err := queue.CheckRate(o.Rate, o.Burst); err != nil {
		return nil, fmt.Errorf("redrive of %s: %w", named(q.name), err)
	}
	if o.To != "" {
		if err := store.CheckName("queue", o.To); err != nil {
			return nil, err
		}
		if _, err := q.destination(ctx, o.To); err != nil {
			return nil, err
		}
	}
	info := redrive.Info{To: o.To, Filtered: o.Filter != nil, Rate: o.Rate, Burst: o.Burst}
	return q.redrives.Start(info, redrive.Work{Alive: q.alive, Choose: q.chooser(o.To, o.Filter)}), nil
}

// newRedrives prepares the redrives of a queue.
func (q *Queue) newRedrives() *redrive.Set {
	return redrive.NewSet(redrive.Queue{
		Store: q.s, Kind: store.KindVisRedrive, ID: q.id, Name: q.name, Busy: ErrRedriveRunning,
		Alive: q.alive, Spool: func() *queue.Queue { return q.core }, Judge: queue.JudgeStore,
		Resume: func(i redrive.Info) redrive.Work {
			work := redrive.Work{Alive: q.alive}
			if !i.Filtered {
				work.Choose = q.chooser(i.To, nil)
			}
			return work
		},
	})
}

// Redrives returns the redrives of the queue, the latest first: one that runs, and the
// last ones that have ended.
func (q *Queue) Redrives(ctx context.Context) (list []*Redrive, err error) {
	err = q.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for _, r := range q.redrives.List() {
			list = append(list, &Redrive{r})
		}
		return q.alive()
	}), store.Sync)
	return list, err
}

// Info returns how the redrive is doing.
func (r *Redrive) Info() RedriveInfo { return redriveInfo(r.r.Info()) }

func redriveInfo(i redrive.Info) RedriveInfo {
	return RedriveInfo{
		ID: i.ID, State: RedriveState(i.State), To: i.To, Filtered: i.Filtered, Rate: i.Rate, Burst: i.Burst,
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

// chooser returns a function that returns how to move a message, or nothing if it stays.
func (q *Queue) chooser(set string, filter func(*Browsed) bool) func(context.Context, *queue.Seen) (queue.Move, error) {
	return func(ctx context.Context, s *queue.Seen) (queue.Move, error) {
		wanted, err := q.wants(s, filter)
		if !wanted || err != nil {
			return nil, err
		}
		name := cmp.Or(set, originOf(s.Data))
		if name == "" {
			return nil, fmt.Errorf("%w: message %d of queue %q is no dead letter and has no queue to go back to", ErrUnknownQueue, s.Seq, q.name)
		}
		to, err := q.destination(ctx, name)
		switch {
		case err != nil && set != "":
			return nil, redrive.GiveUp(err)
		case err != nil:
			return nil, err
		}
		return q.redriven(to), nil
	}
}

// wants asks the filter, which gets a copy.
func (q *Queue) wants(s *queue.Seen, filter func(*Browsed) bool) (bool, error) {
	if filter == nil {
		return true, nil
	}
	m, err := q.browsed(s)
	if m == nil || err != nil {
		return false, err
	}
	return redrive.Ask(q.name, func() bool { return filter(m) })
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
		return nil, store.Invalid("redrive of queue %q to %q, which is not of the same kind: both are FIFO, or none is", q.name, name)
	}
	return to, nil
}

// redriven moves one message.
func (q *Queue) redriven(to *Queue) queue.Move {
	return func(t *store.Turn, m *queue.Message) (func(*store.Turn), error) {
		if err := to.alive(); err != nil {
			return nil, err
		}
		return q.moveTo(t, to, m, m.Data).show, nil
	}
}
