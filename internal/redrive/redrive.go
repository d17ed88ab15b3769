// Package redrive moves the messages that wait in a queue to other places, in the background
// and over restarts: it is the part of a redrive that all queues share. The queue says how a
// message is moved; internal/queue has the pump.
package redrive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// State is how a redrive is doing.
type State string

// The states.
const (
	Running     State = "running"
	Completed   State = "completed"
	Cancelled   State = "cancelled"
	Failed      State = "failed"
	Interrupted State = "interrupted"
)

// Info is what is known of a redrive.
type Info struct {
	ID       uint64
	State    State
	To       string // in a form that the queue knows
	Filtered bool
	Rate     float64
	Burst    int

	StartedAt time.Time
	EndedAt   time.Time

	Moved, Skipped, Failed, Remaining uint64

	Waiting bool
	Reason  string
}

func (i Info) with(p queue.Progress) Info {
	i.Moved, i.Skipped, i.Failed, i.Remaining, i.Waiting = p.Moved, p.Skipped, p.Failed, p.Remaining, p.Waiting
	if i.Reason = ""; p.Reason != nil {
		i.Reason = p.Reason.Error()
	}
	return i
}

// Work is what a redrive does.
type Work struct {
	// Alive is called under the baton. An error ends the redrive.
	Alive func() error
	// Choose returns how to move a message, or nothing if it stays. It is nil for a redrive
	// with a filter that the process before had.
	Choose func(context.Context, *queue.Seen) (queue.Move, error)
}

// Redrive is a move of messages under way, or one that has ended.
type Redrive struct {
	s      *Set
	work   Work
	cancel context.CancelFunc // of it, as asked for by Cancel
	asked  context.Context
	done   chan struct{}
	spans  []queue.Span // that were left when it began, or goes on

	mu struct { // below the baton
		sync.Mutex
		info Info
	}
}

func newRedrive(s *Set, info Info, work Work) *Redrive {
	r := &Redrive{s: s, work: work, done: make(chan struct{})}
	r.asked, r.cancel = context.WithCancel(context.Background())
	r.mu.info = info
	return r
}

// Info returns how the redrive is doing.
func (r *Redrive) Info() Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.info
}

func (r *Redrive) set(info Info) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.info = info
}

// Wait waits for the redrive to end, and returns how.
func (r *Redrive) Wait(ctx context.Context) (Info, error) {
	if err := store.CheckContext(ctx); err != nil {
		return Info{}, err
	}
	select {
	case <-r.done:
		if r.Info().State == Running { // the store is going down
			return r.Info(), cmp.Or(r.s.q.Store.Cause(), store.ErrClosed)
		}
		return r.Info(), nil
	case <-ctx.Done():
		return r.Info(), ctx.Err()
	case <-r.s.q.Store.Down():
		return r.Info(), r.s.q.Store.Cause()
	}
}

// Cancel ends the redrive and returns when it has ended.
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
	if r.work.Choose == nil {
		r.end(ctx, Interrupted, nil)
		return
	}
	moving, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(r.asked, stop)()
	pump := &queue.Pump{
		Browse: r.s.q.Spool().Browse(queue.Query{Alive: r.work.Alive, Spans: r.spans}),
		Select: func(s *queue.Seen) (queue.Move, error) { return r.work.Choose(moving, s) },
		Judge:  r.s.judge, Rate: before.Rate, Burst: before.Burst, Report: r.report,
		Note: func(t *store.Turn, p queue.Progress, left []queue.Span) { r.write(t, before.with(p), left) },
	}
	p := queue.Progress{Moved: before.Moved, Skipped: before.Skipped, Failed: before.Failed}
	if before.Reason != "" {
		p.Reason = errors.New(before.Reason)
	}
	_, err := pump.Run(moving, p)
	switch {
	case err == nil:
		r.end(ctx, Completed, nil)
	case ctx.Err() != nil: // the store is closing: it goes on when it is opened
	case r.asked.Err() != nil:
		r.end(ctx, Cancelled, nil)
	default:
		r.end(ctx, Failed, err)
	}
}

// endPause is the time between two tries to note the end.
const endPause = time.Second

// end notes how it has ended. While that is refused, because the disk is full for instance, it
// is not over: a restart would take the redrive for one that runs.
func (r *Redrive) end(ctx context.Context, state State, reason error) {
	info := r.Info()
	info.State, info.Waiting = state, false
	if reason != nil {
		info.Reason = reason.Error()
	}
	note := store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		info.EndedAt = t.Now()
		if r.s.q.Alive() == nil {
			r.write(t, info, nil)
		}
		return nil
	}}
	for {
		err := r.s.q.Store.Do(store.WithDurability(ctx, store.Sync), note, store.Sync)
		if err == nil {
			r.set(info)
			return
		}
		r.wait(err)
		if r.s.q.Store.Cause() != nil || !store.Pause(ctx, endPause) {
			return // the store is down: it goes on when it is opened
		}
	}
}

// wait shows what the end waits for.
func (r *Redrive) wait(reason error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.info.Waiting, r.mu.info.Reason = true, reason.Error()
}

func (r *Redrive) report(p queue.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.info = r.mu.info.with(p)
}

// giveUp is an error that ends a redrive.
type giveUp struct{ error }

func (e giveUp) Unwrap() error { return e.error }

// GiveUp makes an error of Choose one that ends the redrive.
func GiveUp(err error) error { return giveUp{err} }

// Ask asks a filter of the application. If it fails, the redrive ends.
func Ask(queue string, filter func() bool) (wanted bool, err error) {
	err = store.Call("filter", func() error {
		wanted = filter()
		return nil
	})
	if err != nil {
		reason, _, _ := strings.Cut(err.Error(), "\n") // it is stored, without a stack
		return false, GiveUp(fmt.Errorf("redrive of queue %q: %s", queue, reason))
	}
	return wanted, nil
}
