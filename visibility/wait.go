package visibility

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// waiter is a receive under way. A message is given to a waiter under the baton, and waiters do
// not compete for it. So n waiters and m messages make m deliveries, in the order in which the
// waiters came.
type waiter struct {
	max     int
	timeout time.Duration // visibility
	brief   bool          // does not wait for what is not there yet
	sync    bool          // is to be on disk when it returns
	attempt string        // by which the receive can be repeated
	apart   bool          // see ReceiveOptions

	turn   atomic.Int32 // whose: inLine, atCounter or turnedAway
	got    []handout
	unread error // what was found that cannot be read
	err    error
	done   chan struct{} // closed when it was served; nil if it never had to wait
	in     *list.List    // while it waits
	at     *list.Element
}

// The turns of a waiter. One who cannot have the baton, because the store is closed or a read
// hangs, decides with it whether a message comes before he goes.
const (
	inLine     = iota // waits
	atCounter         // is being served
	turnedAway        // has left without the baton
)

// handout is what a receive got, to be decoded outside the baton.
type handout struct {
	delivery
	sequence     uint64
	data         []byte
	payload      store.Payload // that follows data, if it is shared
	first, until time.Time
}

// waiters are the receives that wait: the long polls, and apart from them
// those that wait only for what is being read from disk already.
type waiters struct {
	long, brief list.List
	serving     bool // a serve is on its way
}

func (l *waiters) some() bool { return l.long.Len() > 0 || l.brief.Len() > 0 }

func (l *waiters) add(w *waiter) {
	w.in = &l.long
	if w.brief {
		w.in = &l.brief
	}
	w.done = make(chan struct{})
	w.at = w.in.PushBack(w)
}

// first returns the one whose turn it is.
func (l *waiters) first() *waiter {
	if e := l.brief.Front(); e != nil {
		return e.Value.(*waiter)
	}
	if e := l.long.Front(); e != nil {
		return e.Value.(*waiter)
	}
	return nil
}

// leave takes w out, and reports false if it has been served.
func (w *waiter) leave() bool {
	if w.at == nil {
		return false
	}
	w.in.Remove(w.at)
	w.at = nil
	return true
}

// fail ends all waits because the queue was deleted.
func (l *waiters) fail(err error) {
	for w := l.first(); w != nil; w = l.first() {
		w.leave()
		w.err = err
		close(w.done)
	}
}

// serve is called by the queue core when there may be something to take.
func (q *Queue) serve(t *store.Turn) {
	q.recalled.Fire()
	if q.waiting.some() && !q.waiting.serving {
		q.waiting.serving = true
		t.Post(&serveOp{yield: yield{q: q}}, store.NoSync)
	}
}

// serveOp gives messages to those who wait.
type serveOp struct {
	yield
	served []*waiter
}

func (o *serveOp) Run(t *store.Turn) error {
	l := &o.q.waiting
	l.serving = false
	if o.q.s.Cause() != nil { // who waits is turned away, and the messages stay as they are
		return nil
	}
	for w := l.first(); w != nil; w = l.first() {
		if !w.turn.CompareAndSwap(inLine, atCounter) {
			w.leave()
			continue
		}
		if !o.fill(t, w) && !o.over(t, w) {
			w.turn.Store(inLine)
			break
		}
		w.leave()
		o.served = append(o.served, w)
	}
	if o.tired() {
		o.q.serve(t)
	}
	o.q.leases.arm(t)
	return nil
}

func (o *serveOp) Undo()  {}
func (o *serveOp) Frees() {}

func (o *serveOp) Visible(t *store.Turn) {
	o.yield.Visible(t)
	for _, w := range o.served {
		close(w.done)
	}
}

// await waits until w is served, its time is over or ctx ends. Messages it was given in the
// last moment are not lost: they are returned, unless the disk does not answer in time.
func (q *Queue) await(ctx context.Context, w *waiter, wait time.Duration) error {
	var over <-chan time.Time
	if !w.brief {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	var err error
	select {
	case <-w.done:
		return w.err
	case <-q.s.Down():
		return q.turnAway(w)
	case <-over:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if left, failed := q.leave(ctx, w); left {
		return cmp.Or(err, failed)
	}
	late, stop := store.Outlive(ctx)
	defer stop()
	select { // it was served, and may be waiting for an fsync
	case <-w.done:
		return w.err
	case <-q.s.Down():
		return q.turnAway(w)
	case <-late.Done():
		return fmt.Errorf("%w: receive from queue %q: the disk did not answer: %w", store.ErrUnknownOutcome, q.name, ctx.Err())
	}
}

// turnAway ends a wait because the store is down. A waiter that is being served stays: Close
// makes what was taken durable, and the waiter returns it.
func (q *Queue) turnAway(w *waiter) error {
	if w.turn.CompareAndSwap(inLine, turnedAway) {
		return q.s.Cause()
	}
	select {
	case <-w.done:
		return w.err
	case <-q.s.Closed():
	case <-q.s.Failed():
	}
	select {
	case <-w.done:
		return w.err
	default:
		return q.s.Cause()
	}
}

// leave takes w out of the line, and reports false if it has been served. Without the baton it
// leaves w there, as one whom nobody serves.
func (q *Queue) leave(ctx context.Context, w *waiter) (bool, error) {
	left := false
	err := q.s.Insist(ctx, store.PromptFunc{OpFunc: func(*store.Turn) error {
		left = w.leave()
		return nil
	}})
	if err != nil {
		return w.turn.CompareAndSwap(inLine, turnedAway), err // left may yet change
	}
	return left, nil
}

// yield is the part of an Op that takes messages: the messages it took, and the fate of those
// that no waiter gets.
type yield struct {
	q        *Queue
	moved    []move
	released []*queue.Message // with a visibility timeout of 0
}

// movedAtOnce bounds how long moving dead letters holds the baton.
const movedAtOnce = 64

// tired reports that the Op has done enough and that another one continues.
func (y *yield) tired() bool { return len(y.moved) >= movedAtOnce }

// fill takes up to w.max messages for w and reports whether it got any.
func (y *yield) fill(t *store.Turn, w *waiter) bool {
	q, now := y.q, t.Now()
	if w.attempt != "" && q.attempts.repeat(t, w) {
		return true
	}
	until := now.Add(w.timeout)
	var kept []*queue.Message
	for begun := false; len(w.got) < w.max && !y.tired() && !q.full(); begun = true {
		if !begun || w.apart { // what this receive has blocks its group from the next round on
			q.core.NextRound(t)
		}
		m := q.core.Take(t, until)
		if m == nil {
			break
		}
		// A receive that was released in this moment has the same count.
		m.Since = max(queue.At(now), m.Since+1)
		m.Hold(nil)
		if m.First == 0 {
			m.First = m.Since
		}
		if q.core.Outlived(t, m) {
			y.moved = append(y.moved, q.retire(t, m, int(m.Count)-1))
			continue
		}
		if q.exhausted(m) {
			y.moved = append(y.moved, q.bury(t, m, DeadLetterInfo{Reason: ReasonMaxReceives, ReceiveCount: int(m.Count) - 1}))
			continue
		}
		w.got = append(w.got, handout{
			sequence: m.Sequence(),
			delivery: delivery{lane: m.Lane, seq: m.Seq, count: m.Count, since: int64(m.Since), born: m.BornAt()},
			data:     m.Data, payload: m.Payload, first: m.First.Time(), until: until,
		})
		if w.attempt != "" {
			kept = append(kept, m)
		}
		if w.timeout > 0 {
			q.leases.add(m)
			if w.attempt == "" {
				q.core.Lean(m, fingerprint)
			}
			continue
		}
		q.core.Return(t, m, false)
		y.released = append(y.released, m)
	}
	q.attempts.keep(w, kept, now)
	if len(w.got) > 0 {
		w.unread = q.core.Unread()
	}
	if w.sync && len(w.got) > 0 {
		t.ForceSync() // what serves a receive that waited is not Sync by itself
	}
	return len(w.got) > 0
}

// over reports that w, having got nothing, does not wait for more.
func (y *yield) over(t *store.Turn, w *waiter) bool {
	switch {
	case !w.brief || y.tired():
		return false
	case y.q.full():
		w.err = y.q.tooMany()
		return true
	}
	if y.q.rouse(t) || y.q.core.Busy() {
		return false
	}
	w.unread = y.q.core.Unread()
	return true
}

// Visible shows the others what became of the messages.
func (y *yield) Visible(t *store.Turn) {
	for _, m := range y.moved {
		m.show(t)
	}
	for _, m := range y.released {
		y.q.core.Returned(t, m)
	}
}
