package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// group is a batch in the making: the Ops accepted since the committer last
// took one.
type group struct {
	batch  *pebble.Batch
	index  overlay
	repr   []byte     // the batch's encoding; set when sealed, when the batch is the engine's
	last   uint64     // newest Op in it; set when sealed
	number uint64     // the same
	sync   bool       // someone waits for its fsync
	trims  []keyRange // that it deletes, and perhaps some of refused Ops
}

// entry is an accepted Op on its way to being visible.
type entry struct {
	seq    uint64
	op     Op // nil for a refusal or a read that waits its turn
	sync   bool
	waiter *waiter
}

// waiter is a Sync caller, or the callback of an asynchronous one.
type waiter struct {
	ch     chan error
	fn     func(error)
	result error // of Run
	ran    bool  // the kernel has let the Op in
	wrote  bool  // Run has changed something
	passed bool  // nothing to wait for; read under mu
}

func (w *waiter) done(err error) {
	if w.fn != nil {
		w.fn(err)
		return
	}
	w.ch <- err
}

// fail ends the wait for an Op that ran and may not be durable. A refusal had no effect, but its
// grounds may be gone after a crash: err takes its place.
func (w *waiter) fail(err error) {
	if w.result == nil {
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	w.done(err)
}

// newWaiter fills the store's pool. It is the store's because a channel that
// was made in a bubble of testing/synctest must not be used in another.
func newWaiter() any { return &waiter{ch: make(chan error, 1)} }

type durabilityKey struct{}

// WithDurability makes d the durability of the calls that use the context. A nil
// context stays nil, so that those calls refuse it.
func WithDurability(ctx context.Context, d Durability) context.Context {
	if ctx == nil {
		return nil
	}
	return context.WithValue(ctx, durabilityKey{}, d)
}

// CheckContext refuses a nil context. The kernel does so before it does anything else;
// a verb that uses its context before it calls the kernel checks it first.
func CheckContext(ctx context.Context) error {
	if ctx == nil {
		return Invalid("context is nil")
	}
	return nil
}

// Synced reports whether a call with that context is to be Sync, for Ops that do
// its work later.
func (s *Store) Synced(ctx context.Context, verb Durability) bool {
	return s.durability(ctx, verb) == Sync
}

// durability settles which one counts: the context's, the verb's, the store's.
func (s *Store) durability(ctx context.Context, verb Durability) Durability {
	if ctx == nil {
		return verb // the call is refused
	}
	if d, ok := ctx.Value(durabilityKey{}).(Durability); ok && d != Default {
		return d
	}
	if verb != Default {
		return verb
	}
	return s.opts.Durability
}

// Do runs op. With Sync it returns when everything up to op is durable, with NoSync as soon as
// op is sequenced in memory. An error of op.Run is returned as it is. Before op has run, a
// cancelled context returns its error and nothing happened. After that Do waits
// graceAfterCancel for the outcome of an op that changed something, and returns
// ErrUnknownOutcome if the disk stays silent. It returns the error of the context at once if op
// changed nothing.
func (s *Store) Do(ctx context.Context, op Op, verb Durability) error {
	w := s.waiters.Get().(*waiter)
	w.ran, w.wrote, w.passed, w.result = false, false, false, nil
	err := s.submit(ctx, op, s.durability(ctx, verb), w)
	if w.passed {
		s.waiters.Put(w)
		return err
	}
	return s.await(ctx, w)
}

// Go runs op and returns without waiting for the disk; done is called once,
// from a goroutine that must not be blocked, when a Sync caller would have
// returned. If Go itself returns an error, op did not run and done is never
// called. It blocks only while the open group is full.
func (s *Store) Go(ctx context.Context, op Op, verb Durability, done func(error)) error {
	w := &waiter{fn: done}
	err := s.submit(ctx, op, s.durability(ctx, verb), w)
	if !w.ran {
		return err
	}
	if w.passed {
		done(err)
	}
	return nil
}

// Insist runs an Op that must not be dropped, because it gives back what its caller holds. The
// Op is Prompt and waits for no fsync. If ctx and its grace end before the Op has run, because
// another Op waits for the disk, Insist returns the error of ctx and the Op runs later.
func (s *Store) Insist(ctx context.Context, op Op) error {
	late, stop := Outlive(WithDurability(ctx, NoSync))
	defer stop()
	err := s.Do(late, op, NoSync)
	if over := late.Err(); over != nil && errors.Is(err, over) {
		s.Spawn(func(ctx context.Context) {
			_ = s.Do(WithDurability(ctx, NoSync), op, NoSync) // fails if the store stops, and with it what is held
		})
	}
	return err
}

// submit takes the baton and runs op. If w is left with passed unset, its
// outcome arrives later.
func (s *Store) submit(ctx context.Context, op Op, d Durability, w *waiter) error {
	err := d.check()
	if err == nil {
		err = s.enter(ctx, op)
	}
	if err != nil {
		if w != nil {
			w.passed = true
		}
		return err
	}
	done := false
	defer func() {
		if !done { // a layer panicked: its memory and the group may be torn
			s.poison(fmt.Errorf("operation %T panicked", op))
		}
		s.mu.Unlock()
		s.kick()
	}()
	err = s.run(op, d, w)
	done = true
	return err
}

// enter takes the baton, waiting for room in the open group, and leaves it
// taken unless it returns an error. There is no room to come while the engine is
// stuck on a full disk: it looks again whether op is let in.
func (s *Store) enter(ctx context.Context, op Op) error {
	if err := CheckContext(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		if err := s.take(ctx); err != nil {
			return err
		}
		if err := s.admit(op); err != nil {
			s.mu.Unlock()
			return err
		}
		if _, prompt := op.(Prompt); prompt || !s.full() {
			return nil
		}
		if s.guard.stuck.Load() > 0 && s.space.full.Load() { // no room will come
			if _, quiet := op.(QuietFunc); quiet {
				return nil
			}
			s.mu.Unlock()
			return s.stuckError()
		}
		room, stuck := s.room.C(), s.stuck.C()
		s.mu.Unlock()
		select {
		case <-room:
		case <-stuck:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.down:
		}
	}
}

// take takes the baton. An Op whose read the disk does not answer keeps it: then the
// wait ends with ctx and with the store.
func (s *Store) take(ctx context.Context) error {
	err := s.mu.LockUntil(ctx, s.down)
	if errors.Is(err, ErrClosed) {
		return s.Cause()
	}
	return err
}

// full reports that the open group must go before more is let in.
func (s *Store) full() bool { return s.open.batch.Len()+s.promised >= s.maxOpen }

func (s *Store) admit(op Op) error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	if s.closing {
		return ErrClosed
	}
	if _, quiet := op.(QuietFunc); !quiet {
		if err := s.damages.refusal(); err != nil {
			return err
		}
	}
	return s.space.admit(op)
}

// run runs op and whatever it posts, under the baton.
func (s *Store) run(op Op, d Durability, w *waiter) error {
	err := s.runOne(op, d, w)
	s.runPosted()
	return err
}

func (s *Store) runPosted() {
	for i := 0; i < len(s.posted); i++ {
		p := s.posted[i]
		if err := s.runOne(p.op, p.d, nil); err != nil {
			s.log.Error("posted operation refused", "op", fmt.Sprintf("%T", p.op), "error", err)
		}
	}
	clear(s.posted)
	s.posted = s.posted[:0]
}

func (s *Store) runOne(op Op, d Durability, w *waiter) error {
	point := s.save()
	s.turn.now, s.turn.touched, s.turn.synced, s.turn.lax = time.Time{}, false, false, d == NoSync
	if err := op.Run(&s.turn); err != nil {
		s.stats.Refused++
		s.restore(point)
		s.show(entry{seq: s.accepted.Load(), waiter: w.expect(d, err)})
		return err
	}
	if s.turn.synced {
		d = Sync
	}
	wrote := s.wrote(point) || s.turn.touched
	if w != nil {
		w.wrote = wrote
	}
	if wrote {
		s.stats.Operations++
		s.accepted.Add(1) // else no group would bring the engine up to it
		s.lag.accepted()
	}
	seq, sync := s.accepted.Load(), wrote && d != NoSync
	if sync {
		s.open.sync = true
	}
	s.show(entry{seq: seq, op: op, sync: sync, waiter: w.expect(d, nil)})
	return nil
}

// expect notes the result of Run. It returns nil if the caller is done, as a NoSync caller is.
func (w *waiter) expect(d Durability, result error) *waiter {
	if w == nil {
		return nil
	}
	w.ran, w.result = true, result
	if d == NoSync {
		w.passed = true
		return nil
	}
	return w
}

// show makes e visible now if nothing ahead of it waits for the disk, and
// otherwise lets it wait its turn.
func (s *Store) show(e entry) {
	if e.sync || s.entries.len() > 0 {
		if e.op != nil || e.waiter != nil {
			s.entries.push(e)
		}
		return
	}
	if e.op != nil {
		e.op.Visible(&s.turn)
	}
	if e.waiter != nil {
		e.waiter.passed = true
	}
}

// advance moves the watermark as far as the disk allows.
func (s *Store) advance() {
	for {
		e, ok := s.entries.front()
		if !ok || e.sync && e.seq > s.durable {
			break
		}
		s.entries.pop()
		s.turn.now = time.Time{}
		if e.op != nil {
			e.op.Visible(&s.turn)
		}
		if e.waiter != nil {
			s.wake = append(s.wake, e.waiter)
		}
	}
	s.runPosted()
}

func (s *Store) await(ctx context.Context, w *waiter) error {
	if ctx.Done() == nil {
		return s.finish(w, <-w.ch)
	}
	select {
	case err := <-w.ch:
		return s.finish(w, err)
	case <-ctx.Done():
	}
	if !w.wrote {
		return ctx.Err()
	}
	grace := time.NewTimer(graceOf(ctx))
	defer grace.Stop()
	select {
	case err := <-w.ch:
		return s.finish(w, err)
	case <-grace.C:
		return fmt.Errorf("%w: the disk did not answer: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

// finish returns what the caller is told and gives the waiter back.
func (s *Store) finish(w *waiter, err error) error {
	if err == nil {
		err = w.result
	}
	s.waiters.Put(w)
	return err
}

// kick wakes the committer if it sleeps.
func (s *Store) kick() {
	select {
	case s.work <- struct{}{}:
	default:
	}
}

func putBatchCount(repr []byte, n uint32) { binary.LittleEndian.PutUint32(repr[8:12], n) }

// fifo is a queue of entries that reuses its memory.
type fifo struct {
	buf  []entry
	head int
}

func (q *fifo) len() int { return len(q.buf) - q.head }

func (q *fifo) push(e entry) {
	if q.head > 0 && len(q.buf) == cap(q.buf) && q.head >= len(q.buf)/2 {
		n := copy(q.buf, q.buf[q.head:])
		clear(q.buf[n:])
		q.buf, q.head = q.buf[:n], 0
	}
	q.buf = append(q.buf, e)
}

func (q *fifo) front() (entry, bool) {
	if q.len() == 0 {
		return entry{}, false
	}
	return q.buf[q.head], true
}

// takeWaiters removes the waiters and leaves the Ops.
func (q *fifo) takeWaiters() []*waiter {
	var taken []*waiter
	for i := range q.buf[q.head:] {
		e := &q.buf[q.head+i]
		if e.waiter != nil {
			taken = append(taken, e.waiter)
			e.waiter = nil
		}
	}
	return taken
}

func (q *fifo) pop() (entry, bool) {
	e, ok := q.front()
	if !ok {
		return entry{}, false
	}
	q.buf[q.head] = entry{}
	if q.head++; q.head == len(q.buf) {
		q.buf, q.head = q.buf[:0], 0
	}
	return e, true
}
