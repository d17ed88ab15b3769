package queue

import (
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Pump moves messages that wait in a queue to other places, which the layer knows. It
// browses the queue, outside the baton, and takes what is wanted of each chunk out in
// Ops of a few messages, each message as a whole or not at all: what has gone since,
// or is out, stays out of it. What comes to the queue after it began is left alone; so
// it comes to an end even if what was moved dies and returns.
//
// What cannot be moved stays where it is. If its place is full, or the disk, the pump
// waits, with growing pauses, and tries again.
type Pump struct {
	Browse *Browse // of what waits
	// Select is called outside the baton, and returns how to move a message, or
	// nothing if it is to stay. An error says why it cannot be moved.
	Select func(*Seen) (Move, error)
	// Judge says what an error of Select, Move or the store means.
	Judge func(error) Verdict
	// Rate is how many messages to move in a second, and Burst how many at once
	// after a rest. A Rate of 0 is any number.
	Rate  float64
	Burst int
	// Note, if set, is called under the baton by the Op that moves messages, with
	// what the pump has done with it, and what is left then.
	Note func(*store.Turn, Progress, []Span)
	// Report is called with each change of the progress.
	Report func(Progress)

	limit    limiter
	progress Progress
}

// Move moves a message that waits, under the baton: it settles it, and puts it somewhere
// else. It returns what is to be called when that can be shown. With an error it has not
// changed anything in memory.
type Move func(*store.Turn, *Message) (shown func(*store.Turn), err error)

// Verdict is what becomes of a pump after an error.
type Verdict uint8

const (
	LeaveIt  Verdict = iota // the message stays, and the pump goes on
	TryAgain                // later
	GiveUp                  // the pump ends
)

// JudgeStore judges the errors that any layer may meet.
func JudgeStore(err error) Verdict {
	for _, final := range []error{store.ErrClosed, store.ErrFailed, store.ErrUnknownOutcome, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, final) {
			return GiveUp
		}
	}
	if errors.Is(err, store.ErrDiskFull) || errors.Is(err, store.ErrUnreadable) {
		return TryAgain
	}
	return LeaveIt
}

// Progress is what a pump has done.
type Progress struct {
	Moved     uint64
	Skipped   uint64 // not wanted, or out, or gone when their turn came
	Failed    uint64 // stay because they could not be moved
	Remaining uint64 // about
	Waiting   bool   // for room
	Reason    error  // of the wait, or else of the latest failure
}

// moveMessages is how many are moved by one Op.
const moveMessages = 64

// The pause before another try, at first and at most.
const (
	pumpPause    = 100 * time.Millisecond
	pumpPauseMax = 10 * time.Second
)

// Run works until all is done, ctx ends, or something is given up. It goes on from
// what was done before.
func (p *Pump) Run(ctx context.Context, before Progress) (Progress, error) {
	defer p.Browse.Close(ctx)
	p.progress = before
	p.limit = newLimiter(p.Browse.s, p.Rate, p.Burst)
	if err := p.insist(ctx, func() error { return p.Browse.start(ctx) }); err != nil {
		return p.progress, err
	}
	p.progress.Remaining = p.Browse.total
	p.Report(p.progress)
	for {
		var chunk []Seen
		err := p.insist(ctx, func() (err error) {
			chunk, err = p.Browse.Next(ctx)
			return err
		})
		if err == nil && len(chunk) == 0 {
			p.progress.Remaining = 0
			p.Report(p.progress)
			return p.progress, nil
		}
		for len(chunk) > 0 && err == nil {
			chunk, err = p.batch(ctx, chunk)
		}
		if err != nil {
			return p.progress, err
		}
	}
}

// insist calls f until it has no error to try again after.
func (p *Pump) insist(ctx context.Context, f func() error) error {
	for pause := pumpPause; ; pause = min(2*pause, pumpPauseMax) {
		eased := p.Browse.s.Eased()
		err := f()
		if err == nil || p.Judge(err) != TryAgain {
			return err
		}
		failure := p.progress.Reason
		p.progress.Waiting, p.progress.Reason = true, err
		p.Report(p.progress)
		if !store.PauseUntil(ctx, eased, pause) {
			return ctx.Err()
		}
		p.progress.Waiting, p.progress.Reason = false, failure
	}
}

// load is a message and what is to be done with it.
type load struct {
	*Seen
	move   Move  // nil to leave it
	failed error // why it is left, if that is not as wanted
}

// batch sees to some of the messages, as many as may be moved now, and returns the
// others.
func (p *Pump) batch(ctx context.Context, chunk []Seen) (rest []Seen, err error) {
	room, err := p.limit.wait(ctx)
	if err != nil {
		return nil, err
	}
	var loads []load
	moves := 0
	for len(loads) < len(chunk) && moves < min(room, moveMessages) {
		l, err := p.choose(ctx, &chunk[len(loads)])
		if err != nil {
			return nil, err
		}
		if loads = append(loads, l); l.move != nil {
			moves++
		}
	}
	p.limit.spend(moves)
	rest = chunk[len(loads):]
	err = p.insist(ctx, func() error {
		o := &moveOp{p: p, q: p.Browse.last.q, loads: loads, progress: p.progress}
		if err := ctx.Err(); err != nil {
			return err
		}
		late, stop := store.Outlive(ctx) // or its outcome would be unknown at once
		defer stop()
		if err := p.Browse.s.Do(late, o, store.Default); err != nil {
			return err
		}
		loads, p.progress = loads[o.done:], o.progress
		p.Report(p.progress)
		return o.stopped
	})
	return rest, err
}

// choose finds out what is to be done with a message.
func (p *Pump) choose(ctx context.Context, s *Seen) (load, error) {
	l := load{Seen: s, failed: s.Err}
	if s.Taken || s.Err != nil {
		return l, nil
	}
	err := p.insist(ctx, func() (err error) {
		l.move, err = p.Select(s)
		return err
	})
	if err != nil && ctx.Err() == nil && p.Judge(err) == LeaveIt {
		l.move, l.failed, err = nil, err, nil
	}
	return l, err
}

// moveOp moves messages, each one whole or not at all.
type moveOp struct {
	p        *Pump
	q        *Lane // the lane of the loads
	loads    []load
	done     int // of these
	progress Progress
	stopped  error // before the next
	shown    []func(*store.Turn)
}

func (o *moveOp) String() string { return "move messages to another queue" }

func (o *moveOp) Run(t *store.Turn) error {
	if err := o.p.Browse.query.Alive(); err != nil {
		return err
	}
	for _, l := range o.loads {
		if o.stopped = o.see(t, l); o.stopped != nil {
			break
		}
		o.done++
		o.progress.Remaining -= min(o.progress.Remaining, 1)
	}
	if o.done > 0 && o.p.Note != nil {
		o.p.Note(t, o.progress, o.p.Browse.rest(o.loads[o.done-1].Position))
	}
	return nil
}

// see sees to one message. An error is one to stop at.
func (o *moveOp) see(t *store.Turn, l load) error {
	err := l.failed
	if l.move != nil {
		var moved bool
		if moved, err = o.move(t, l); moved {
			o.progress.Moved++
			return nil
		}
	}
	switch {
	case err == nil:
		o.progress.Skipped++
	case o.p.Judge(err) != LeaveIt && l.failed == nil:
		return err
	default:
		o.progress.Failed++
		o.progress.Reason = err
	}
	return nil
}

// move moves a message, if it is still there and waits.
func (o *moveOp) move(t *store.Turn, l load) (moved bool, err error) {
	m, leave, err := o.q.pick(t, l.Seen)
	if m == nil || err != nil {
		return false, err
	}
	err = t.Try(func() error {
		shown, err := l.move(t, m)
		if err == nil {
			o.shown = append(o.shown, shown)
		}
		return err
	})
	if err != nil {
		leave()
	}
	return err == nil, err
}

func (o *moveOp) Undo() {}

func (o *moveOp) Visible(t *store.Turn) {
	for _, shown := range o.shown {
		shown(t)
	}
}
