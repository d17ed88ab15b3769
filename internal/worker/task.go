package worker

import (
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// task is a message from its fetch to its end.
type task[M any] struct {
	item   Item[M]
	source Source[M]
	room   func() // gives its place in InFlight back

	ctx   context.Context // of its calls; ends when the message is lost
	hold  Holding         // nil if there is nothing to stop
	begun bool            // Begin has no End yet

	traced context.Context // of the step of its last call; nil if there was none, or no Trace

	key  string
	own  lane[M]     // if it has no key
	self [1]*task[M] // the tasks of own

	failed int       // attempts in place
	err    error     // of the last one
	due    time.Time // of the next one
}

// attempts returns how often the handler has failed with the message.
func (t *task[M]) attempts() int { return t.item.Attempts + t.failed }

// lost reports that the message is not Run's any more.
func (r *run[M]) lost(t *task[M]) bool {
	return t.ctx.Err() != nil && context.Cause(t.ctx) != context.Cause(r.calls)
}

// accept begins the tasks of a fetch.
func (r *run[M]) accept(items []Item[M], s Source[M], room func()) {
	if len(items) == 0 {
		return
	}
	r.tasks.Add(len(items))
	keys, err := r.keysOf(items)
	for i, item := range items {
		t := &task[M]{item: item, source: s, room: room, due: item.NotBefore}
		t.ctx, t.hold = s.Hold(r.calls, item.Message)
		switch wait := t.due.Sub(r.o.Store.Now()); {
		case err != nil:
			r.after(wait, func() { r.askAndEnqueue(t) })
		case wait > 0:
			t.key = keys[i]
			r.after(wait, func() { r.enqueue(t) })
		default:
			t.key = keys[i]
			r.enqueue(t)
		}
	}
}

// after calls f when the time is over, or at once if Run ends: f gives back then.
func (r *run[M]) after(wait time.Duration, f func()) {
	if wait <= 0 {
		f()
		return
	}
	go func() {
		store.Pause(r.ctx, wait)
		f()
	}()
}

// enqueue puts a task behind those of the same key.
func (r *run[M]) enqueue(t *task[M]) {
	if l := r.lanes.put(t); l != nil {
		r.schedule(l)
	}
}

// askAndEnqueue asks for the key of a task first, which is a failed attempt if that fails.
func (r *run[M]) askAndEnqueue(t *task[M]) {
	keys, err := r.keysOf([]Item[M]{t.item})
	if err == nil {
		t.key = keys[0]
		r.enqueue(t)
		return
	}
	late, stop := store.Outlive(r.caller)
	defer stop()
	if r.finish(late, t, err, nil) {
		r.after(t.due.Sub(r.o.Store.Now()), func() { r.askAndEnqueue(t) })
	}
}

// keysOf asks the application for the keys of messages. If one of them fails, all do.
func (r *run[M]) keysOf(items []Item[M]) ([]string, error) {
	keys := make([]string, len(items))
	if r.o.Key == nil {
		return keys, nil
	}
	ask := func() error {
		for i, item := range items {
			keys[i] = r.o.Key(item.Message)
		}
		return nil
	}
	if r.o.KeyIsSafe {
		return keys, ask()
	}
	return keys, store.Call("Key function", ask)
}

// schedule makes a lane ready when its first task may be handled.
func (r *run[M]) schedule(l *lane[M]) {
	now := r.o.Store.Now()
	wait := max(r.lanes.first(l).due.Sub(now), 0)
	if r.o.Rate.PerKey && l.key != "" {
		wait += r.limit.reserve(l.key, 1, now.Add(wait))
	}
	if wait == 0 { // what is at hand should cost no closure
		r.ready <- l // which has room for all tasks
		return
	}
	r.after(wait, func() { r.ready <- l })
}

// finish ends a task as the end of its call wants it. It reports whether the task is to be
// called again in place instead. All tasks of a call are settled with one late context, so
// that a disk that does not answer holds Run up once.
func (r *run[M]) finish(late context.Context, t *task[M], err, cause error) (again bool) {
	if t.begun {
		t.begun = false
		defer t.source.End(t.item.Message)
	}
	o := r.judge(t, err, cause)
	if o.Verdict != Done && r.lost(t) {
		r.end(t) // others handle the message
		return false
	}
	r.report(t, o)
	if r.keeps(o) {
		if o.Verdict == Retry {
			t.failed, t.err = t.failed+1, o.Err
		}
		t.due = r.o.Store.Now().Add(o.Delay)
		return true
	}
	r.settle(late, t, o)
	r.end(t)
	return false
}

// keeps reports whether an outcome makes Run call a task again in place.
func (r *run[M]) keeps(o Outcome) bool {
	return r.o.InPlace && r.ctx.Err() == nil && (o.Verdict == Retry || o.Verdict == Release)
}

// giveBack ends a task that is not handled any more. Failures in place count, and the rest of
// the pause becomes the delay.
func (r *run[M]) giveBack(t *task[M]) {
	o := Outcome{Verdict: Release, Delay: max(t.due.Sub(r.o.Store.Now()), 0)}
	if t.err != nil {
		o.Verdict, o.Attempts, o.Err = Retry, t.attempts(), t.err
	}
	r.settle(r.late, t, o)
	r.end(t)
}

// settle carries an outcome out, again and again while the store is short of something.
func (r *run[M]) settle(late context.Context, t *task[M], o Outcome) {
	t.letGo() // first, because a heartbeat would extend what is given back
	if o.Verdict == Leave {
		return
	}
	end := traceSettle(r, o.Verdict, t)
	end(r.carryOut(late, t, o))
}

func (r *run[M]) carryOut(late context.Context, t *task[M], o Outcome) error {
	for n := 1; ; n++ {
		err := t.source.Settle(late, t.item.Message, o)
		switch {
		case err == nil || errors.Is(err, store.ErrLost):
			return err
		case final(err):
			r.fail(err)
			return err
		}
		r.o.Store.Log().Warn("outcome of a handler is not stored", append(t.source.Attrs(t.item.Message), "error", err)...)
		if !store.Pause(r.ctx, r.o.Backoff(n)) {
			return err // the message comes back by itself
		}
	}
}

// letGo stops to hold the message.
func (t *task[M]) letGo() {
	if t.hold != nil {
		t.hold.Stop()
		t.hold = nil
	}
}

// end is the last that happens to a task.
func (r *run[M]) end(t *task[M]) {
	t.letGo()
	t.room()
	r.tasks.Done()
}

// tell calls OnError.
func (r *run[M]) tell(t *task[M], o Outcome) {
	if r.o.OnError == nil {
		return
	}
	err := store.Call("OnError", func() error {
		r.o.OnError(t.ctx, t.item.Message, o.Err)
		return nil
	})
	if err != nil {
		r.o.Store.Log().Warn("OnError failed", append(t.source.Attrs(t.item.Message), "error", err)...)
	}
}
