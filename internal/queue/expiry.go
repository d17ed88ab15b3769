package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// What expires does so on time, wherever it stands: an index by the end of the
// time to live says what is due, and one timer waits for the earliest. It is read
// in the background, with the messages that are not in memory, and an Op gives
// them to the layer, which settles them.
//
// A message that is out does not expire, but may be given back; and one that is
// not shown yet will be. So their keys stay, and the sweep goes on behind them.
// When one of them comes back, the sweep does too.
//
// Live messages come first: a load leaves what has expired on disk, for the sweep.
//
// Invariant: every message with a key in the index that was not settled ends at
// nextExpiry or later, or is out, or not shown, and ends at retained or later.
type expiry struct {
	q       *Lane
	expired func(*store.Turn, *Message) func(*store.Turn)
	timer   *store.Timer

	next     int64 // of what has not been looked at; 0 for none
	from     int64 // the index was read below this and that message
	fromSeq  uint64
	retained int64 // the end of the earliest that was passed by; 0 for none

	sweeping bool
	stopped  bool  // no sweep begins; see HoldExpiry
	void     bool  // the lane was purged since the sweep began
	missed   int64 // the earliest that was put, or came back, since; 0 for none
	again    int64 // where a read of the index failed that may succeed now; 0 for nowhere

	passed stretches // what a load has left on disk, because it had expired
	left   tally     // that
	blind  bool      // a part of the index cannot be read
}

// Limits of a sweep.
const (
	sweepMessages = 256
	sweepBytes    = 1 << 20
)

// sooner returns the earlier of two moments, 0 being none.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Expired reports whether the message's time to live is over.
func (c *Content) Expired(now time.Time) bool { return c.Expires != 0 && c.Expires <= now.UnixNano() }

// index notes the end of a message that is being put.
func (e *expiry) index(t *store.Turn, m *Message) {
	q := e.q
	if m.Expires == 0 || e.expired == nil {
		return
	}
	t.Set(dueKey(q.layout.Expiry, q.place, m.Expires, m.Seq), nil)
	e.leave(m.Expires)
}

func (e *expiry) leave(at int64) { e.retained = sooner(e.retained, at) }

// unindex forgets the end of a message that is being settled.
func (e *expiry) unindex(t *store.Turn, m *Message) {
	q := e.q
	if m.Expires != 0 && e.expired != nil {
		t.DeleteSingle(dueKey(q.layout.Expiry, q.place, m.Expires, m.Seq))
	}
}

// mayEnd has the clock run for a message that is ready from now on.
func (e *expiry) mayEnd(t *store.Turn, m *Message) {
	if m.Expires == 0 || e.expired == nil {
		return
	}
	if m.Expires <= e.from {
		e.from, e.fromSeq = m.Expires, 0
	}
	e.next = sooner(e.next, m.Expires)
	if e.sweeping {
		e.missed = sooner(e.missed, m.Expires)
	}
	e.arm(t)
}

func (e *expiry) arm(t *store.Turn) {
	if e.next == 0 || e.stopped || e.q.closed {
		t.Disarm(e.timer)
		return
	}
	t.Arm(e.timer, time.Unix(0, e.next))
}

// hold has no message expire until it is let go on, because the layer cannot
// take more.
func (e *expiry) hold(t *store.Turn, stop bool) {
	e.stopped = stop
	e.arm(t)
}

// start is what the timer calls.
func (e *expiry) start(t *store.Turn) {
	q := e.q
	if e.sweeping || e.stopped || q.closed || e.next == 0 {
		return
	}
	s := sweep{q: q, from: e.from, fromSeq: e.fromSeq, loaded: q.loaded, passed: slices.Clone(e.passed), now: t.Now()}
	e.missed, e.void = 0, false
	e.sweeping = t.Spawn(func(ctx context.Context) {
		q.loader.persist(ctx, func(ctx context.Context, pass func(error) bool) (store.Op, error) {
			found := s
			return &found, found.read(ctx, pass)
		})
	})
}

// sweep is the Op that gives what is over to the layer.
type sweep struct {
	q       *Lane
	from    int64
	fromSeq uint64
	loaded  uint64    // what is below was in memory
	passed  stretches // but for that
	now     time.Time
	due     []ending
	gaps    []lateGap // of the index
	next    int64     // of the first one left, 0 if none
	nextSeq uint64
	shown   []func(*store.Turn)
}

// ending is an entry of the index, with the message if that was read.
type ending struct {
	loadedMessage
	at int64
}

// passesBy reports that a load leaves what has expired to the sweep. In a queue with a limit it
// makes room first, and must be in memory.
func (e *expiry) passesBy() bool {
	return e.expired != nil && !e.stopped && !e.blind && !e.q.limited
}

// expired reports that a message that was read has expired. One that was out is taken first.
func (l *loadedMessage) expired(now time.Time) bool {
	return l.Expired(now) && !l.mark.out && l.err == nil
}

// passOver notes what a load has passed over.
func (e *expiry) passOver(list []expired) {
	for _, m := range list {
		if e.q.order.isKnown(&loadedMessage{seq: m.seq, segment: m.segment}) {
			continue
		}
		e.passed.add(stretch{span{m.seq, m.seq + 1}, 1, false})
		e.left.more(tally{1, m.size})
	}
}

// expired is a message that a load has passed over.
type expired struct {
	seq, size uint64
	segment   *segment
}

// read reads what is over.
func (s *sweep) read(ctx context.Context, pass func(error) bool) (err error) {
	q := s.q
	_, hi := q.span(q.layout.Expiry)
	index, err := q.loader.iter(ctx, dueKey(q.layout.Expiry, q.place, s.from, s.fromSeq), hi, pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	r, err := newReader(ctx, q, min(s.loaded, s.passed.first()), pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	size := 0
	for ok := index.First(); ok; ok = index.Next() {
		at, seq, err := decodeDueKey(index.Key())
		if err != nil {
			return err
		}
		if at > s.now.UnixNano() || len(s.due) == sweepMessages || size > sweepBytes {
			s.next, s.nextSeq = at, seq
			break
		}
		e := ending{at: at, loadedMessage: loadedMessage{seq: seq, gone: true}}
		if seq >= s.loaded || s.passed.has(seq) {
			if e.loadedMessage, err = r.read(seq); err != nil {
				return err
			}
		}
		size += len(e.Data)
		s.due = append(s.due, e)
	}
	s.gaps, err = lateGaps(index.Gaps())
	return err
}

// Frees lets it in on a disk that is nearly full.
func (s *sweep) Frees() {}

func (s *sweep) Run(t *store.Turn) error {
	q, e := s.q, &s.q.expiry
	e.sweeping = false
	defer q.order.forgetIdle()
	if q.closed {
		return nil
	}
	t.Touch(q)
	if e.void {
		return nil // and begin again
	}
	if q.out.messages == 0 && q.returning == 0 && q.crash.unloaded == 0 && q.shown == q.meta.next && !q.bad.some() && len(e.passed) == 0 {
		e.retained = 0 // all that is left is at the end of the index
	}
	e.next = sooner(s.next, e.missed)
	switch now := s.now.UnixNano(); {
	case e.missed != 0 && (s.next == 0 || e.missed <= s.next):
		e.from, e.fromSeq = min(e.missed, now+1), 0
	case s.next != 0 && s.next <= now:
		e.from, e.fromSeq = s.next, s.nextSeq
	default:
		e.from, e.fromSeq = now+1, 0
	}
	s.noteGaps(t)
	for _, d := range s.due {
		if e.stopped {
			e.goOnAt(d)
			break
		}
		s.end(t, d)
	}
	return nil
}

// noteGaps keeps the places of the index that could not be read. Messages there expire
// when they are taken.
func (s *sweep) noteGaps(t *store.Turn) {
	q := s.q
	if len(s.gaps) > 0 {
		q.expiry.bringIn(t)
	}
	for _, g := range s.gaps {
		q.expiry.leave(g.from.Due)
		if q.bad.first(g.err.Error()) {
			q.s.Log().Error("ends of the time to live cannot be read", "queue", q.name, "from", time.Unix(0, g.from.Due), "error", g.err)
		}
		if !store.IsDamage(g.err) {
			q.expiry.again = sooner(q.expiry.again, g.from.Due)
			q.bad.tryAgain(t)
		}
	}
}

// bringIn reads in what loads have passed over, because the sweep may not come to it.
func (e *expiry) bringIn(t *store.Turn) {
	q := e.q
	for _, s := range e.passed {
		q.bad.stretches.add(stretch{s.span, s.messages, true})
	}
	if len(e.passed) > 0 {
		q.bad.tryAgain(t)
	}
	e.passed, e.left, e.blind = nil, tally{}, true
}

// goOnAt has the next sweep begin at an entry, or before it.
func (e *expiry) goOnAt(d ending) {
	e.next = sooner(e.next, d.at)
	if e.missed == 0 || d.at < e.missed {
		e.from, e.fromSeq = d.at, d.seq
	}
}

// end ends one message, if it still waits.
func (s *sweep) end(t *store.Turn, d ending) {
	q := s.q
	if d.seq >= q.shown || q.bad.stretches.has(d.seq) {
		q.expiry.leave(d.at) // until Show, or until it can be read
		return
	}
	m, new, err := q.waiting(t, &d.loadedMessage)
	switch {
	case err != nil:
		q.expiry.leave(d.at)
		return
	case m == nil:
		t.Delete(dueKey(q.layout.Expiry, q.place, d.at, d.seq)) // of what was purged
		return
	case !m.Waits() && !new, new && q.crash.runs(t, &d.loadedMessage):
		q.expiry.leave(d.at) // until Returned
		return
	}
	if new {
		q.bring(m, &d.loadedMessage)
	}
	if shown := q.expiry.expired(t, m); shown != nil {
		s.shown = append(s.shown, shown)
	}
	if m.here() { // nobody is to get what could not be settled
		q.move(m, out)
		q.expiry.leave(d.at) // until the next start
	}
}

func (s *sweep) Undo() {}

func (s *sweep) Visible(t *store.Turn) {
	for _, shown := range s.shown {
		shown(t)
	}
	if s.q.closed {
		return
	}
	s.q.expiry.arm(t)
	s.q.ready(t)
}
