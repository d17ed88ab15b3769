package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// call is one call of the handler: the lanes whose turn it is, and the tasks of each, in
// the order of the lanes. A worker has one, and uses its memory again.
type call[M any] struct {
	lanes []*lane[M]
	tasks []*task[M]
	ends  []int // ends[i] is where in tasks those of lanes[i] end

	ended chan error // has the outcome of the handler; nil after a call that was abandoned

	late     context.Context // for outcomes, until the context of Run ends
	stopLate func()
}

// serve calls the handler with the first task of a lane, or with a batch that begins with
// it, and lets the lanes go on.
func (r *run[M]) serve(c *call[M]) {
	if r.ctx.Err() != nil {
		r.drain(c)
		return
	}
	if r.o.BatchSize > 1 {
		r.gather(c)
	}
	r.takeAll(c, r.o.BatchSize, r.due)
	if !r.mayBegin(len(c.tasks)) {
		r.giveBackAll(c)
		return
	}
	if r.beginAll(c); len(c.tasks) == 0 {
		r.goOn(c)
		return
	}
	err, each, cause := r.call(c)
	r.finishAll(c, err, each, cause)
	clear(c.tasks) // they are not to be kept until the next call
}

// takeAll takes up to n tasks out of the lanes.
func (r *run[M]) takeAll(c *call[M], n int, ready func(*task[M]) bool) {
	c.tasks, c.ends = c.tasks[:0], c.ends[:0]
	for _, l := range c.lanes {
		c.tasks = r.lanes.take(c.tasks, l, n-len(c.tasks), ready)
		c.ends = append(c.ends, len(c.tasks))
	}
}

// due reports whether a task may be called now.
func (r *run[M]) due(t *task[M]) bool { return !t.due.After(r.o.Store.Now()) }

// drain gives all tasks of the lanes back.
func (r *run[M]) drain(c *call[M]) {
	r.takeAll(c, math.MaxInt, func(*task[M]) bool { return true })
	r.giveBackAll(c)
}

func (r *run[M]) giveBackAll(c *call[M]) {
	for _, t := range c.tasks {
		r.giveBack(t)
	}
	r.goOn(c)
}

// gather adds lanes until they fill a batch or BatchWait is over.
func (r *run[M]) gather(c *call[M]) {
	timer := time.NewTimer(r.o.BatchWait)
	defer timer.Stop()
	more := make(chan struct{}, 1)
	for n := r.lanes.count(c.lanes, more); n < r.o.BatchSize; {
		select {
		case l := <-r.ready:
			c.lanes = append(c.lanes, l)
			n += r.lanes.count(c.lanes[len(c.lanes)-1:], more)
		case <-more:
			n = r.lanes.count(c.lanes, more)
		case <-timer.C:
			return
		case <-r.ctx.Done():
			return
		}
	}
}

// beginAll drops the tasks that have been lost.
func (r *run[M]) beginAll(c *call[M]) {
	n, from := 0, 0
	for i, end := range c.ends {
		for _, t := range c.tasks[from:end] {
			if r.begin(t) {
				c.tasks[n] = t
				n++
			}
		}
		from, c.ends[i] = end, n
	}
	clear(c.tasks[n:])
	c.tasks = c.tasks[:n]
}

// finishAll ends the tasks of a call. Those that are to be called again go back to their
// lane.
func (r *run[M]) finishAll(c *call[M], err error, each []error, cause error) {
	late := r.outlive(c)
	settled := r.finishDone(late, c.tasks, err, each)
	from := 0
	for i, end := range c.ends {
		var again []*task[M]
		for j := from; j < end; j++ {
			if settled != nil && settled[j] {
				continue
			}
			if each != nil {
				err = each[j]
			}
			if r.finish(late, c.tasks[j], err, cause) {
				again = append(again, c.tasks[j])
			}
		}
		from = end
		r.next(c.lanes[i], together(again))
	}
}

// outlive returns a context for outcomes, which is used again while the context of Run goes on:
// until then, what Outlive returns does not depend on when it was called.
func (r *run[M]) outlive(c *call[M]) context.Context {
	if c.late != nil && r.caller.Err() == nil {
		return c.late
	}
	c.stop()
	c.late, c.stopLate = store.Outlive(r.caller)
	return c.late
}

// stop frees the context for outcomes.
func (c *call[M]) stop() {
	if c.stopLate != nil {
		c.stopLate()
	}
}

// goOn lets lanes go on whose tasks have ended.
func (r *run[M]) goOn(c *call[M]) {
	for _, l := range c.lanes {
		r.next(l, nil)
	}
	clear(c.tasks)
}

// next puts tasks back and makes the lane ready again if it has any.
func (r *run[M]) next(l *lane[M], again []*task[M]) {
	if r.lanes.putBack(l, again) {
		r.schedule(l)
	}
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
	return store.Pause(r.ctx, r.limit.reserve("", n, r.o.Store.Now()))
}

// begin reports whether the handler is to be called with a task. If not, the task has
// ended.
func (r *run[M]) begin(t *task[M]) bool {
	var err error
	if r.lost(t) {
		err = store.ErrLost
	} else {
		err = t.source.Begin(r.caller, t.item.Message)
	}
	if err == nil {
		t.begun = true
		return true
	}
	if err = ended(r.ctx, err); err != nil && !errors.Is(err, store.ErrLost) {
		r.fail(err)
	}
	r.end(t)
	return false
}

// call runs the handler once. It returns the error of all tasks or that of each, and why
// the context of the call has ended, if it has.
func (r *run[M]) call(c *call[M]) (err error, each []error, cause error) {
	ctx, stop := r.contextOf(c.tasks)
	defer stop()
	ctx, end := traceCall(ctx, r, c.tasks)
	err, over := r.await(ctx, r.start(ctx, c))
	end(err)
	if !over {
		c.ended = nil // the outcome may come yet
	}
	if ctx.Err() != nil {
		cause = context.Cause(ctx)
	}
	if r.o.Batch == nil {
		return err, nil, cause
	}
	each, err = Apart(err, len(c.tasks))
	return err, each, cause
}

// Apart takes the error of a batch of n messages apart, if it has one for each.
func Apart(err error, n int) (each []error, all error) {
	var batch BatchError
	if !errors.As(err, &batch) {
		return nil, err
	}
	if each = batch.Each(); len(each) != n {
		return nil, fmt.Errorf("BatchError has %d errors for a batch of %d messages: %w", len(each), n, err)
	}
	return each, nil
}

// contextOf returns the context of a call. It ends when any of the messages is lost.
func (r *run[M]) contextOf(tasks []*task[M]) (context.Context, func()) {
	if len(tasks) == 1 && r.o.Timeout == 0 { // what is done most often costs no closure
		return tasks[0].ctx, nothing
	}
	ctx, stop := tasks[0].ctx, nothing
	if len(tasks) > 1 {
		ctx, stop = anyOf(r.calls, tasks)
	}
	if r.o.Timeout == 0 {
		return ctx, stop
	}
	limited, cancel := context.WithTimeoutCause(ctx, r.o.Timeout, ErrTimeout)
	return limited, func() { cancel(); stop() }
}

func nothing() {}

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

// start begins a call of the handler. Its goroutine ends with it.
func (r *run[M]) start(ctx context.Context, c *call[M]) <-chan error {
	if c.ended == nil {
		c.ended = make(chan error, 1)
	}
	if r.o.Batch == nil {
		go r.handle(ctx, c.tasks[0].item.Message, c.ended)
		return c.ended
	}
	go r.handleBatch(ctx, messagesOf(c.tasks), c.ended)
	return c.ended
}

func (r *run[M]) handle(ctx context.Context, m M, ended chan<- error) {
	store.Finish("handler", func() error { return probed(r.o.Handler(ctx, m)) }, ended)
}

func (r *run[M]) handleBatch(ctx context.Context, batch []M, ended chan<- error) {
	store.Finish("handler", func() error { return probedAll(r.o.Batch(ctx, batch)) }, ended)
}

// probed calls the methods of a handler's error that Run calls later. One that panics, such as
// Unwrap of a nil *fs.PathError, panics here, where it is the failure of the handler.
func probed(err error) error {
	if err != nil {
		_ = err.Error()
		_ = errors.Is(err, ErrLeave)
		_ = errors.As(err, new(*stopError))
	}
	return err
}

// probedAll is probed for the error of a batch.
func probedAll(err error) error {
	var batch BatchError
	if errors.As(probed(err), &batch) {
		for _, one := range batch.Each() {
			_ = probed(one)
		}
	}
	return err
}

// await waits for a call. One that goes on for longer than Grace after its context has
// ended is abandoned: it counts as if it had returned the reason, and is not over.
func (r *run[M]) await(ctx context.Context, done <-chan error) (err error, over bool) {
	select {
	case err := <-done:
		return err, true
	case <-ctx.Done():
	}
	grace := time.NewTimer(Grace)
	defer grace.Stop()
	select {
	case err := <-done:
		return err, true
	case <-grace.C:
	}
	r.o.Store.Log().Warn("handler is abandoned: it has not returned after its context has ended",
		"from", r.o.Of, "cause", context.Cause(ctx), "waited", Grace)
	r.abandoned.Add(1)
	go func() {
		<-done
		r.abandoned.Add(-1)
	}()
	return fmt.Errorf("%w; the handler has not returned", context.Cause(ctx)), false
}
