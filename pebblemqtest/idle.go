package pebblemqtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits of WaitIdle where the test has no deadline of its own.
const (
	bubbleLimit  = time.Hour // of the time of the bubble
	noDeadline   = 10 * time.Minute
	deadlineRoom = 5 * time.Second // before the deadline, for the message; at most a tenth of what is left
)

// How often WaitIdle looks if nothing has told it of a change.
const (
	lookAnyway  = time.Second           // at a store of Open, whose disk tells of changes
	lookAtOther = 10 * time.Millisecond // at any other store
)

// WaitIdle returns when the store has no work left and everything it has accepted is durable.
// No message is ready, in flight or due, no record of a group is unfinished, no redrive runs, and
// no handler of package idempotency runs. All that is so at one moment: a message that a handler
// passes on from one queue to the next is not missed.
//
// A message that has failed and waits for its next attempt counts, so WaitIdle returns when it
// is processed or a dead letter. Delayed messages that are not due do not count: in a bubble,
// sleep until they are. Nor do dead letters: those in a work queue without consumers and those
// in a dead-letter queue of package visibility. Nor do records of a topic that no group reads,
// and what is in brokers and visibility queues that the process has not opened. A group that is
// behind, or a queue with messages, is never idle without a consumer.
//
// WaitIdle ends the test shortly before its deadline (-timeout), with a list of the pending
// work. Without a deadline it waits 10 minutes, and in a bubble of testing/synctest an hour. It
// does so at once if the store is closed or fails.
func WaitIdle(t testing.TB, db *pebblemq.DB) {
	t.Helper()
	begin := time.Now()
	ctx, stop := context.WithDeadline(t.Context(), deadline(t))
	defer stop()
	w := &idleWait{db: db, s: bridge.Store(db), life: lifeOf(db)}
	for {
		changed := w.changed()
		idle, err := w.look(ctx)
		if err == nil && idle {
			err = w.sync(ctx)
		}
		switch {
		case ctx.Err() != nil:
			t.Fatalf("pebblemqtest: the store is not idle after %v:%s", time.Since(begin), w.report(err))
		case err != nil:
			t.Fatalf("pebblemqtest: wait until the store is idle: %v", err)
		case idle:
			return
		}
		w.wait(ctx, changed)
	}
}

// deadline is when to give up.
func deadline(t testing.TB) (at time.Time) {
	now := time.Now()
	defer func() {
		if recover() != nil { // a test in a bubble must not ask for its deadline
			at = now.Add(bubbleLimit)
		}
	}()
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if end, ok := d.Deadline(); ok {
			return end.Add(-min(deadlineRoom, end.Sub(now)/10))
		}
	}
	return now.Add(noDeadline)
}

// idleWait is a WaitIdle under way.
type idleWait struct {
	db   *pebblemq.DB
	s    *store.Store
	life *life    // nil if the store is not one of Open
	busy []string // what the last look has found

	durable bool // everything that was accepted before the last look
}

// changed returns what is closed by the next change that goes to the disk. A change that
// makes the store idle is one: it settles something. If nothing tells of changes, it is nil.
func (w *idleWait) changed() <-chan struct{} {
	if w.life == nil {
		return nil
	}
	return w.life.changes.C()
}

func (w *idleWait) wait(ctx context.Context, changed <-chan struct{}) {
	pause := lookAnyway
	if changed == nil {
		pause = lookAtOther
	}
	anyway := time.NewTimer(pause)
	defer anyway.Stop()
	select {
	case <-changed:
	case <-anyway.C:
	case <-w.s.Down():
	case <-ctx.Done():
	}
}

// look reports whether the store is idle. Objects are looked at one after the other, so it is
// only if nothing was changed meanwhile.
func (w *idleWait) look(ctx context.Context) (idle bool, err error) {
	for {
		before, err := w.newest(ctx)
		if err != nil {
			return false, err
		}
		busy, err := lookAt(ctx, w.db)
		if err != nil {
			return false, err
		}
		if w.busy = busy; len(busy) > 0 {
			return false, nil
		}
		after, err := w.newest(ctx)
		if err != nil || before == after {
			return err == nil, err
		}
	}
}

// newest waits until everything that was accepted with Sync is visible, and returns the number
// of the newest change.
func (w *idleWait) newest(ctx context.Context) (seq uint64, err error) {
	err = w.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		seq = t.Seq() - 1
		w.durable = t.Durable() >= seq
		return nil
	}), store.Sync)
	return seq, err
}

// sync makes what was accepted with NoSync durable.
func (w *idleWait) sync(ctx context.Context) error {
	if w.durable {
		return nil
	}
	return w.s.Do(store.WithDurability(ctx, store.Sync), store.OpFunc(func(t *store.Turn) error {
		t.Touch(new(nothing))
		return nil
	}), store.Sync)
}

// nothing is a change without keys.
type nothing struct{ store.Sealed }

func (*nothing) Seal(*store.Turn) {}

func (w *idleWait) report(err error) string {
	var b strings.Builder
	for _, object := range w.busy {
		fmt.Fprintf(&b, "\n\t%s", object)
	}
	if len(w.busy) == 0 {
		fmt.Fprintf(&b, " %v", err)
	}
	return b.String()
}
