package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// part is what a call has of one lane.
type part[M any] struct {
	lane  *lane[M]
	tasks []*task[M]
}

// serve calls the handler with the first task of a lane, or with a batch that begins with
// it, and lets the lanes go on.
func (r *run[M]) serve(l *lane[M]) {
	for _, p := range r.through(l) {
		if r.lanes.putBack(p.lane, p.tasks) {
			r.schedule(p.lane)
		}
	}
}

// through returns what is to be called again.
func (r *run[M]) through(l *lane[M]) []part[M] {
	if r.ctx.Err() != nil {
		return []part[M]{r.drain(l)}
	}
	list := []*lane[M]{l}
	if r.o.BatchSize > 1 {
		list = r.gather(list)
	}
	parts := make([]part[M], 0, len(list))
	for n := r.o.BatchSize; len(list) > 0; list = list[1:] {
		p := part[M]{list[0], r.lanes.take(list[0], n, r.due)}
		parts, n = append(parts, p), n-len(p.tasks)
	}
	return r.handle(parts)
}

// due reports whether a task may be called now.
func (r *run[M]) due(t *task[M]) bool { return !t.due.After(r.o.Store.Now()) }

// drain gives a whole lane back.
func (r *run[M]) drain(l *lane[M]) part[M] {
	for _, t := range r.lanes.take(l, math.MaxInt, func(*task[M]) bool { return true }) {
		r.giveBack(t)
	}
	return part[M]{lane: l}
}

// gather adds lanes until they fill a batch or BatchWait is over.
func (r *run[M]) gather(list []*lane[M]) []*lane[M] {
	timer := time.NewTimer(r.o.BatchWait)
	defer timer.Stop()
	more := make(chan struct{}, 1)
	for n := r.lanes.count(list, more); n < r.o.BatchSize; {
		select {
		case l := <-r.ready:
			list, n = append(list, l), n+r.lanes.count([]*lane[M]{l}, more)
		case <-more:
			n = r.lanes.count(list, more)
		case <-timer.C:
			return list
		case <-r.ctx.Done():
			return list
		}
	}
	return list
}

// handle calls the handler and ends the tasks. What is left of the parts is to be called
// again.
func (r *run[M]) handle(parts []part[M]) []part[M] {
	n := 0
	for _, p := range parts {
		n += len(p.tasks)
	}
	begins := r.mayBegin(n)
	tasks := make([]*task[M], 0, n)
	for i := range parts {
		begun := parts[i].tasks[:0]
		for _, t := range parts[i].tasks {
			if begins && r.begin(t) {
				begun = append(begun, t)
			} else if !begins {
				r.giveBack(t)
			}
		}
		parts[i].tasks = begun
		tasks = append(tasks, begun...)
	}
	if len(tasks) == 0 {
		return parts
	}
	errs, cause := r.call(tasks)
	late, stop := store.Outlive(r.caller)
	defer stop()
	at := 0
	for i := range parts {
		var again []*task[M]
		for _, t := range parts[i].tasks {
			if r.finish(late, t, errs(at), cause) {
				again = append(again, t)
			}
			at++
		}
		parts[i].tasks = together(again)
	}
	return parts
}

// together makes tasks of one lane due at the same time, so that they are in one batch
// again.
func together[M any](tasks []*task[M]) []*task[M] {
	var latest time.Time
	for _, t := range tasks {
		if t.due.After(latest) {
			latest = t.due
		}
	}
	for _, t := range tasks {
		t.due = latest
	}
	return tasks
}

// mayBegin waits for the rate. It reports false if Run ends.
func (r *run[M]) mayBegin(n int) bool {
	if r.limit == nil || r.o.Rate.PerKey {
		return r.ctx.Err() == nil
	}
	return pause(r.ctx, r.limit.reserve("", n, r.o.Store.Now()))
}

// begin reports whether the handler is to be called with a task. If not, the task has
// ended.
func (r *run[M]) begin(t *task[M]) bool {
	var err error
	if r.lost(t) {
		err = store.ErrLost
	} else {
		t.settled, err = t.source.Begin(r.caller, t.item.Message)
	}
	if err == nil {
		return true
	}
	if !errors.Is(err, store.ErrLost) {
		r.fail(err)
	}
	r.end(t)
	return false
}

// call runs the handler once. It returns the error of each task, and why the context of
// the call has ended, if it has.
func (r *run[M]) call(tasks []*task[M]) (errs func(i int) error, cause error) {
	ctx, stop := r.contextOf(tasks)
	defer stop()
	err := r.await(ctx, r.start(ctx, tasks))
	if ctx.Err() != nil {
		cause = context.Cause(ctx)
	}
	var each BatchError
	if r.o.Batch == nil || !errors.As(err, &each) {
		return func(int) error { return err }, cause
	}
	list := each.Each()
	if len(list) != len(tasks) {
		err = fmt.Errorf("BatchError has %d errors for a batch of %d messages: %w", len(list), len(tasks), err)
		return func(int) error { return err }, cause
	}
	return func(i int) error { return list[i] }, cause
}

// contextOf returns the context of a call. It ends when any of the messages is lost.
func (r *run[M]) contextOf(tasks []*task[M]) (context.Context, func()) {
	ctx, stop := tasks[0].ctx, func() {}
	if len(tasks) > 1 {
		ctx, stop = anyOf(r.calls, tasks)
	}
	if r.o.Timeout == 0 {
		return ctx, stop
	}
	limited, cancel := context.WithTimeoutCause(ctx, r.o.Timeout, ErrTimeout)
	return limited, func() { cancel(); stop() }
}

// anyOf returns a context that ends when that of any of the tasks does.
func anyOf[M any](calls context.Context, tasks []*task[M]) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(calls)
	var unwatch []func() bool
	for _, t := range tasks {
		unwatch = append(unwatch, context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) }))
	}
	return ctx, func() {
		for _, f := range unwatch {
			f()
		}
		cancel(nil)
	}
}

func (r *run[M]) start(ctx context.Context, tasks []*task[M]) <-chan error {
	if r.o.Batch == nil {
		m := tasks[0].item.Message
		return store.Start("handler", func() error { return r.o.Handler(ctx, m) })
	}
	batch := make([]M, len(tasks))
	for i, t := range tasks {
		batch[i] = t.item.Message
	}
	return store.Start("handler", func() error { return r.o.Batch(ctx, batch) })
}

// await waits for a call. One that goes on for longer than Grace after its context has
// ended is abandoned: it counts as if it had returned the reason.
func (r *run[M]) await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case err := <-done:
		return err
	case <-grace.C:
	}
	r.o.Store.Log().Warn("handler is abandoned: it has not returned after its context has ended",
		"from", r.o.Of, "cause", context.Cause(ctx), "waited", Grace)
	r.abandoned.Add(1)
	go func() {
		<-done
		r.abandoned.Add(-1)
	}()
	return fmt.Errorf("%w; the handler has not returned", context.Cause(ctx))
}
