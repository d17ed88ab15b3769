package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Queue is a queue with priorities: a lane for each priority that was ever
// used, highest first. Each of them keeps its own order, window and place on
// disk, so that a priority costs nothing but a lookup here, and a message that is
// given back finds its old place among its equals. A queue without priorities is
// one lane.
//
// What is shared is the memory of the windows (see shared), and the trial of what
// may have killed the process.
type Queue struct {
	*shared
	o        Options
	byLane   []*Lane
	open     []*Lane // highest lane first
	closed   bool
	limited  bool // see Limited
	stopped  bool // see HoldExpiry
	patience int  // see Patience

	lasts time.Duration // see Retain
	each  bool
}

// shared is what the lanes of one object have in common.
type shared struct {
	s      *store.Store
	layout Layout
	object uint32
	name   string

	lanes    int      // that are open
	solo     *Message // the prime suspect that is out
	survived *store.Timer
	ready    func(*store.Turn)
	keyed    bool // some messages may have unique keys

	numbered bool   // there are several lanes, so messages have numbers of the whole queue
	number   uint64 // of the next one: how many were ever put
	pins     *pins  // nil unless groups are pinned to lanes
}

func newShared(s *store.Store, l Layout, id uint32, o Options) *shared {
	h := &shared{s: s, layout: l, object: id, name: o.Name, ready: o.Ready}
	h.survived = store.NewTimer(h.letOn)
	return h
}

// The least that a lane has of the window, however many there are.
const (
	laneMessages = 64
	laneBytes    = 32 << 10
)

// messages is how many a lane may have in its window.
func (h *shared) messages() int { return max(laneMessages, windowMessages/max(h.lanes, 1)) }

// bytes is the same in bytes; a single message may be larger.
func (h *shared) bytes() int { return max(laneBytes, windowBytes/max(h.lanes, 1)) }

// Open brings a queue back with priorities up to highest, or starts an empty
// one. It reads a record for each lane. It is called outside the baton, before
// anyone else has the queue.
func Open(ctx context.Context, s *store.Store, l Layout, id uint32, highest byte, o Options) (*Queue, error) {
	q := New(s, l, id, highest, o)
	if highest > 0 {
		if err := q.readLanes(ctx); err != nil {
			return nil, fmt.Errorf("open queue %q: %w", o.Name, err)
		}
		return q, nil
	}
	v, err := s.Get(ctx, laneKey(l.Meta, place{id, 0}, 0))
	if err == nil && v != nil {
		err = q.open[0].restoreMeta(ctx, v)
	}
	if err != nil {
		return nil, fmt.Errorf("open queue %q: %w", o.Name, err)
	}
	return q, nil
}

// readLanes finds the lanes that were used.
func (q *Queue) readLanes(ctx context.Context) (err error) {
	lo, hi := store.Span(q.layout.Meta, q.object)
	it, err := q.s.Iter(ctx, lo, hi)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Key()) != laneKeyLen || int(it.Key()[laneKeyLen-1]) >= len(q.byLane) {
			return damaged("key", it.Key())
		}
		v, err := it.Value()
		if err != nil {
			return err
		}
		if err := q.lane(it.Key()[laneKeyLen-1]).restoreMeta(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// New makes the queue of an object that was just created. It reads nothing,
// so it may be called under the baton.
func New(s *store.Store, l Layout, id uint32, highest byte, o Options) *Queue {
	q := &Queue{o: o, shared: newShared(s, l, id, o), byLane: make([]*Lane, 1)}
	q.lane(0)
	q.Widen(highest)
	s.Refer(id, q)
	return q
}

// Widen allows for higher priorities. What is there keeps its own.
func (q *Queue) Widen(highest byte) {
	if n := int(highest) + 1 - len(q.byLane); n > 0 {
		q.byLane = append(q.byLane, make([]*Lane, n)...)
	}
	several := len(q.byLane) > 1
	q.numbered = several && q.o.Numbered
	if several && q.layout.Pin != 0 && q.o.Group != nil && !q.o.Fair {
		q.pins = &pins{h: q.shared, of: q.o.Group}
	}
}

// lane returns a lane, and opens it if it is new.
func (q *Queue) lane(n byte) *Lane {
	if lane := q.byLane[n]; lane != nil {
		return lane
	}
	o := q.o
	o.Lane = n
	lane := newLane(o, q.shared)
	lane.closed, lane.limited = q.closed, q.limited
	lane.retention.lasts, lane.retention.each = q.lasts, q.each
	lane.expiry.stopped = q.stopped
	q.byLane[n] = lane
	q.lanes++
	at, _ := slices.BinarySearchFunc(q.open, lane, func(a, b *Lane) int { return int(b.lane) - int(a.lane) })
	q.open = slices.Insert(q.open, at, lane)
	return lane
}

// of returns the lane of a message.
func (q *Queue) of(m *Message) *Lane { return q.byLane[m.Lane] }

// HoldExpiry is that of all lanes, also of those that come later.
func (q *Queue) HoldExpiry(t *store.Turn, stop bool) {
	q.stopped = stop
	for _, lane := range q.open {
		lane.expiry.hold(t, stop)
	}
}

// Start arms the timers for what is delayed or expires, and brings leases back.
func (q *Queue) Start(t *store.Turn) {
	for _, lane := range q.open {
		lane.Start(t)
	}
}

// Close ends the queue in memory. The layer drops the keys.
func (q *Queue) Close(t *store.Turn) {
	q.closed = true
	q.s.Refer(q.object, nil)
	for _, lane := range q.open {
		lane.Close(t)
	}
}

// Stats sums up the lanes.
func (q *Queue) Stats() (sum Stats) {
	for _, lane := range q.open {
		sum.add(lane.Stats())
	}
	return sum
}

// Busy is Lane.Busy of any lane.
func (q *Queue) Busy() bool {
	return slices.ContainsFunc(q.open, (*Lane).Busy)
}

// Rouse is Lane.Rouse of all lanes.
func (q *Queue) Rouse(t *store.Turn) (coming bool) {
	for _, lane := range q.open {
		coming = lane.delays.rouse(t) || coming
	}
	return coming
}

// Put adds a message at the end of a lane.
func (q *Queue) Put(t *store.Turn, lane byte, c Content) *Message { return q.lane(lane).Put(t, c) }

// UndoPut takes the last Put back.
func (q *Queue) UndoPut(m *Message) { q.of(m).UndoPut(m) }

// Show makes a message that was Put deliverable.
func (q *Queue) Show(t *store.Turn, m *Message) { q.of(m).Show(t, m) }

// PutDelayed adds a message that becomes ready at due, at the end of its lane as
// it is then.
func (q *Queue) PutDelayed(t *store.Turn, lane byte, c Content, due time.Time) Delayed {
	return q.lane(lane).delays.put(t, c, due)
}

// UndoDelayed takes the last PutDelayed back.
func (q *Queue) UndoDelayed(d Delayed) { q.byLane[d.Lane].delays.undo(d) }

// ShowDelayed lets the clock run for what was put.
func (q *Queue) ShowDelayed(t *store.Turn, d Delayed) { q.byLane[d.Lane].delays.show(t) }

// Take is Lane.Take of the highest lane that has something, or of one that has been
// overtaken too often. While the messages of a lane are being read from disk, none of
// a lower one goes ahead.
func (q *Queue) Take(t *store.Turn, until time.Time) *Message {
	m := q.pull(t)
	if m != nil {
		m.Until = At(until)
		q.Deliver(t, m)
	}
	return m
}

// pull takes the next message from where it waits.
func (q *Queue) pull(t *store.Turn) *Message {
	if m, is := q.pullOvertaken(t); is {
		return m
	}
	for i, lane := range q.open {
		if m := lane.pull(t); m != nil || lane.coming() {
			q.overtake(m, q.open[i+1:])
			return m
		}
	}
	return nil
}

// Prefetch takes the next message for somebody who will see it later, if at all. Its Count has the
// delivery already. Deliver must come before anybody sees it, or if it is no suspect, before the
// first group that is synced after that.
func (q *Queue) Prefetch(t *store.Turn) *Message {
	m := q.pull(t)
	if m != nil {
		m.waiting = true
	}
	return m
}

// Deliver is Lane.Deliver.
func (q *Queue) Deliver(t *store.Turn, m *Message) { q.of(m).Deliver(t, m) }

// Withhold takes Deliver back, because the receiver keeps the message for later.
func (q *Queue) Withhold(t *store.Turn, m *Message) {
	if !m.waiting {
		m.waiting = true
		q.of(m).order.markLater(t, m)
	}
}

// Settle removes a message for good.
func (q *Queue) Settle(t *store.Turn, m *Message) { q.of(m).Settle(t, m) }

// SettleLater is Lane.SettleLater.
func (q *Queue) SettleLater(t *store.Turn, m *Message) { q.of(m).SettleLater(t, m) }

// Drop is Lane.Drop.
func (q *Queue) Drop(t *store.Turn, m *Message) { q.of(m).Drop(t, m) }

// UndoSettle takes Settle back.
func (q *Queue) UndoSettle(m *Message) { q.of(m).UndoSettle(m) }

// Settled frees the memory of a message that was settled.
func (q *Queue) Settled(t *store.Turn, m *Message) { q.of(m).Settled(t, m) }

// Return gives a taken message back, as Lane.Return does.
func (q *Queue) Return(t *store.Turn, m *Message, forgive bool) { q.of(m).Return(t, m, forgive) }

// UndoReturn takes Return back.
func (q *Queue) UndoReturn(m *Message, until Moment) { q.of(m).UndoReturn(m, until) }

// Returned makes a message that was given back deliverable at its old place.
func (q *Queue) Returned(t *store.Turn, m *Message) { q.of(m).Returned(t, m) }

// Extend gives a taken message another lease end.
func (q *Queue) Extend(t *store.Turn, m *Message, until time.Time) { q.of(m).Extend(t, m, until) }

// UndoExtend takes Extend back.
func (q *Queue) UndoExtend(m *Message, until Moment) { q.of(m).UndoExtend(m, until) }

// Lookup is Lane.Lookup.
func (q *Queue) Lookup(t *store.Turn, lane byte, seq uint64) (*Message, error) {
	if int(lane) >= len(q.byLane) || q.byLane[lane] == nil {
		return nil, nil
	}
	return q.byLane[lane].Lookup(t, seq)
}

// NextRound is that of all lanes.
func (q *Queue) NextRound(t *store.Turn) {
	for _, lane := range q.open {
		lane.NextRound(t)
	}
}

// Recalled is that of all lanes.
func (q *Queue) Recalled() bool {
	return !slices.ContainsFunc(q.open, func(lane *Lane) bool { return !lane.crash.recalled() })
}

// Retain is that of all lanes, present and future.
func (q *Queue) Retain(t *store.Turn, lasts time.Duration, each bool) {
	q.lasts, q.each = lasts, each
	for _, lane := range q.open {
		lane.retention.set(t, lasts, each)
	}
}

// Outlived reports whether the retention of a message is over. Take may hand it out
// nevertheless, for the caller to settle it.
func (q *Queue) Outlived(t *store.Turn, m *Message) bool { return q.of(m).retention.over(t, m) }

// Swept is that of all lanes.
func (q *Queue) Swept(t *store.Turn, asOf time.Time) bool {
	swept := true
	for _, lane := range q.open {
		swept = lane.retention.swept(t, asOf) && swept
	}
	return swept
}

// Eldest returns when the oldest message was born that waits or is out, 0 if there is
// none. It is exact as of the call, and must not be called under the baton.
func (q *Queue) Eldest(ctx context.Context, alive func() error) (born int64, err error) {
	var lanes []*Lane
	err = q.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		lanes = slices.Clone(q.open)
		return alive()
	}), store.NoSync)
	for _, lane := range lanes {
		if err != nil {
			return 0, err
		}
		var first int64
		first, err = lane.retention.eldest(ctx, alive)
		born = sooner(born, first)
	}
	return born, err
}

// Purge is Lane.Purge of all lanes.
func (q *Queue) Purge(t *store.Turn, delayedToo bool) (n int) {
	q.freeKeys(t, delayedToo)
	for _, lane := range q.open {
		n += lane.Purge(t, delayedToo)
	}
	q.pins.rewrite(t, q.open)
	return n
}

// Waiting returns what waits or is out now.
func (q *Queue) Waiting() (spans []Span) {
	for _, lane := range q.open {
		spans = append(spans, lane.Waiting()...)
	}
	return spans
}

// Browse begins to browse the queue.
func (q *Queue) Browse(o Query) *Browse {
	return &Browse{s: q.s, query: o, most: browseMessages, lanes: func() []*Lane { return slices.Clone(q.open) }}
}

// Peek is that of the lane.
func (q *Queue) Peek(ctx context.Context, alive func() error, at Position) (*Seen, error) {
	var lane *Lane
	err := fence(ctx, q.s, alive, func(*store.Turn) {
		if int(at.Lane) < len(q.byLane) {
			lane = q.byLane[at.Lane]
		}
	})
	if lane == nil || err != nil {
		return nil, err
	}
	return lane.Peek(ctx, alive, at)
}

// CatchUp returns when all that was done before is visible, and so is what a Purge removes.
func (q *Queue) CatchUp(ctx context.Context, alive func() error) error {
	return fence(ctx, q.s, alive, func(*store.Turn) {})
}

// Cancel is that of the lane.
func (q *Queue) Cancel(t *store.Turn, at Position, id []byte) (*Cancelled, error) {
	if int(at.Lane) >= len(q.byLane) || q.byLane[at.Lane] == nil {
		return nil, nil
	}
	return q.byLane[at.Lane].delays.cancel(t, at, id)
}

// Later is that of all lanes.
func (q *Queue) Later(ctx context.Context, id []byte) (found []Position, err error) {
	var lanes []*Lane
	err = q.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		lanes = slices.Clone(q.open)
		return nil
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	for _, lane := range lanes {
		more, err := lane.delays.later(ctx, id)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found[:min(len(found), MaxLater)], nil
}

// Lean is Lane.Lean.
func (q *Queue) Lean(m *Message, print func([]byte) uint32) { q.of(m).Lean(m, print) }

// Limited says that the layer limits the queue, and looks for the Oldest. What expires makes room
// first, and is in memory for that.
func (q *Queue) Limited() {
	q.limited = true
	for _, lane := range q.open {
		lane.limited = true
	}
}

// Oldest returns the message that waits and is the next to be delivered, or else
// the oldest one of the lowest lane. It returns nil if none waits that can be read. It
// is there to be settled.
func (q *Queue) Oldest(t *store.Turn, lowest bool) *Message {
	for i := range q.open {
		if lowest {
			i = len(q.open) - 1 - i
		}
		if m := q.open[i].oldest(t); m != nil {
			return m
		}
	}
	return nil
}

// Unread returns what was found since the last call that cannot be read, each stretch
// once; nil if there is nothing.
func (q *Queue) Unread() error {
	var errs []error
	for _, lane := range q.open {
		errs = append(errs, lane.bad.untold...)
		lane.bad.untold = nil
	}
	return errors.Join(errs...)
}

// SetAside is Lane.SetAside.
func (q *Queue) SetAside(t *store.Turn, m *Message, err error) { q.of(m).SetAside(t, m, err) }

// Sound returns what is wrong with what is in memory, if anything is: with a place of a message, a
// counter, or a segment. It is for tests, and is called under the baton.
func (q *Queue) Sound() error {
	for _, lane := range q.open {
		if err := sound(lane); err != nil {
			return fmt.Errorf("lane %d: %w", lane.lane, err)
		}
	}
	return nil
}

// Pin returns the lane for a message that is going to be put, with the lane that it
// wants to come to, and counts it. Put must follow.
func (q *Queue) Pin(t *store.Turn, wanted byte, data []byte) (byte, error) {
	return q.pins.add(t, wanted, data)
}

// Patience has a lane go next that waits while n messages in a row were taken of
// higher ones; of several such lanes the highest. Zero is never. It is counted in
// memory.
func (q *Queue) Patience(n int) { q.patience = n }

// pullOvertaken is pull of a lane whose patience is at its end, if there is one.
func (q *Queue) pullOvertaken(t *store.Turn) (m *Message, is bool) {
	if q.patience == 0 {
		return nil, false
	}
	for i, lane := range q.open {
		if lane.overtaken < q.patience {
			continue
		}
		if m := lane.pull(t); m != nil || lane.coming() {
			q.overtake(m, q.open[i+1:])
			return m, true
		}
	}
	return nil, false
}

// overtake counts for the lower lanes that a message was taken, if it was.
func (q *Queue) overtake(m *Message, lower []*Lane) {
	if q.patience == 0 || m == nil {
		return
	}
	q.of(m).overtaken = 0
	for _, lane := range lower {
		if lane.overtaken++; lane.Stats().Ready == 0 {
			lane.overtaken = 0
		}
	}
}
