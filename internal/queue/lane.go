package queue

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Lane keeps messages of a queue in one order. Its methods are called under the baton unless
// they say otherwise.
type Lane struct {
	store.Sealed
	*shared
	place

	meta   meta
	shown  uint64 // messages below are visible
	loaded uint64 // messages below are in memory or gone
	closed bool

	overtaken int // by messages of higher lanes, in a row

	line      line
	out       tally // with someone
	returning int
	order     order

	loader loader
	crash  crash

	groups    *groups // nil if it has none
	delays    delays
	expiry    expiry
	retention retention
	bad       unreadable

	limited  bool   // see Queue.Limited
	leanFrom uint64 // see Lean
}

// Options are the layer's side of a lane.
type Options struct {
	// Name is that of the queue, for errors and the log.
	Name string
	// Lane tells the lanes of one object apart.
	Lane byte
	// Ready is called under the baton when Take may have something that it
	// did not have before. It may be called for nothing.
	Ready func(*store.Turn)
	// Leased, if set, says that what was taken when the process ended stays
	// taken until its lease ends, instead of being ready again. It is called
	// under the baton with each such message as it is loaded.
	Leased func(*store.Turn, *Message)
	// Added, if set, is called under the baton when a delayed message has been
	// put into the queue; what it returns is called when that can be shown.
	Added func(*store.Turn, *Message) func(*store.Turn)
	// Promoted, if set, is called under the baton with each delayed message that is
	// put into the queue, and where it was.
	Promoted func(t *store.Turn, was Position, m *Message)
	// Expired, if set, is called under the baton with each message that waits
	// and whose time is over, and settles it; what it returns, if anything, is
	// called when that can be shown. A message that it does not settle counts
	// as taken and is the layer's to settle later; at the next start it expires
	// again. Take may come before it, so see Message.Expired.
	Expired func(*store.Turn, *Message) func(*store.Turn)
	// Born, if set, returns when a message was born, in nanoseconds since 1970: the
	// lane has a retention. It is called under the baton and must be quick.
	Born func(data []byte) int64
	// Outlived is called under the baton with each message whose retention is over
	// and that is out, or has a place to go to: see Retain. It settles it. What it
	// returns is called when that can be shown. Take may come before it, so see
	// Lane.Outlived.
	Outlived func(*store.Turn, *Message) func(*store.Turn)
	// Numbered has messages bear a number of the whole queue, if it has several
	// lanes: see Message.Sequence.
	Numbered bool
	// Group, if set, returns the group of a message, or nothing if it is in
	// none: see groups. It is called under the baton and must be quick.
	Group func(data []byte) []byte
	// ID, if set, returns the id of a message, or nothing if it has none: see
	// Later. It is called under the baton and must be quick.
	ID func(data []byte) []byte
	// Fair says that groups are tenants, which are served fairly and are in no
	// order of their own: see fair.go.
	Fair bool
}

// restoreMeta takes over what the disk says.
func (q *Lane) restoreMeta(ctx context.Context, v []byte) (err error) {
	if q.meta, err = decodeMeta(v); err != nil {
		return err
	}
	q.shown, q.loaded, q.order.dropped = q.meta.next, q.meta.low, q.meta.low
	q.order.known.first = q.meta.low / blockSize
	q.expiry.next, q.expiry.from = q.meta.expires, q.meta.expires
	if q.s.Unclean() {
		q.crash.below = min(q.meta.frontier, q.meta.next) // not what is put from now on
	}
	q.number += q.meta.next
	q.bad.onDisk = tally{q.meta.entries, q.meta.bytes}
	q.keyed = q.keyed || q.layout.Unique != 0 && q.meta.entries+q.meta.delayed > 0
	if q.crash.leased != nil {
		q.crash.unloaded, q.crash.end = q.meta.taken, q.meta.next
	}
	if q.groups != nil {
		q.groups.passing.backlog.restart(q.meta.next)
		return q.groups.lookForIndex(ctx)
	}
	return nil
}

func newLane(o Options, h *shared) *Lane {
	q := &Lane{place: place{h.object, o.Lane}, shared: h, leanFrom: leanFrom}
	if o.Group != nil {
		q.groups = newGroups(q, o.Group, o.Fair)
	}
	q.line = line{q: q, window: window{free: freeOf(h.s)}}
	q.loader.q = q
	q.order, q.meta.frontier = newOrder(q), frontierStep // and so on disk before any message
	q.crash = crash{q: q, leased: o.Leased, frontier: frontier{step: frontierStep}}
	q.delays = delays{q: q, identify: o.ID, added: o.Added, promoted: o.Promoted, timer: store.NewTimer(q.loader.start)}
	q.expiry = expiry{q: q, expired: o.Expired, timer: store.NewTimer(q.expiry.start)}
	q.bad = unreadable{q: q, timer: store.NewTimer(q.bad.readAgain)}
	q.retention = retention{q: q, born: o.Born, outlived: o.Outlived, timer: store.NewTimer(q.retention.start)}
	return q
}

// Start arms the timer for what is delayed, and brings the leases back.
func (q *Lane) Start(t *store.Turn) {
	q.groups.start(t)
	q.delays.arm(t)
	q.expiry.arm(t)
	q.retention.arm(t)
	q.crash.recall(t)
}

// Close ends the lane in memory: nothing is handed out any more. The layer
// drops the keys.
func (q *Lane) Close(t *store.Turn) {
	q.groups.close(t)
	q.closed = true
	q.line.window.empty()
	t.Disarm(q.delays.timer)
	t.Disarm(q.expiry.timer)
	t.Disarm(q.retention.timer)
	t.Disarm(q.bad.timer)
	t.Disarm(q.survived)
}

// holder is whom the lane holds payloads as.
func (q *Lane) holder(slot uint16) store.Holder {
	return store.Holder{ID: q.id, Slot: 2*uint16(q.lane) + slot}
}

// span bounds all keys of a kind.
func (q *Lane) span(k store.Kind) (lo, hi []byte) {
	lo = laneKey(k, q.place, 0)
	return lo, store.PrefixEnd(lo)
}

// Put adds a message at the end.
func (q *Lane) Put(t *store.Turn, c Content) *Message {
	m := &Message{Content: c, Seq: q.meta.next, Lane: q.lane}
	q.retention.note(t, m)
	if m.number = 0; q.numbered {
		m.number = q.number
	}
	q.number++
	c = m.Content
	q.order.put(t, m)
	m.Born = q.retention.bornOf(&c)
	q.expiry.index(t, m)
	q.claim(t, &m.Content, slotEntries, m.position())
	t.Hold(q.holder(slotEntries), c.Payload, 1)
	q.meta.next++
	q.meta.entries++
	q.meta.bytes += m.size()
	if c.Count > 0 {
		q.order.mark(t, m)
	}
	t.Touch(q)
	return m
}

// UndoPut takes the last Put back.
func (q *Lane) UndoPut(m *Message) {
	q.s.UndoHold(q.holder(slotEntries), m.Payload, 1)
	q.order.undoPut(m)
	q.number--
	q.meta.next--
	q.meta.entries--
	q.meta.bytes -= m.size()
}

// Show makes a message that was Put deliverable. Messages are shown in the
// order in which they were put.
func (q *Lane) Show(t *store.Turn, m *Message) {
	q.shown = m.Seq + 1
	upToDate := q.loaded == m.Seq
	switch {
	case m.at == gone:
		if upToDate {
			q.loaded = q.shown
		}
		return
	case q.groups.passes(t, m, false):
		if upToDate {
			q.loaded = q.shown
		}
	case upToDate && q.line.room():
		q.loaded = q.shown
		q.move(m, inWindow)
	default:
		q.move(m, onDisk)
	}
	q.expiry.mayEnd(t, m)
	q.retention.mayAge(t, m)
	q.ready(t)
}

// Busy reports that Take, having returned nil, will have something soon that
// was there already: it is being read from disk, or waits for the frontier, or
// for a prime suspect that has just been settled or given back, or was put and
// is shown when the disk has caught up. Ready is called then.
func (q *Lane) Busy() bool {
	through := q.solo != nil && q.solo.at != out && len(q.crash.primes) > 0
	held := q.crash.frontier.raising && (len(q.line.returned) > 0 || q.groups.waiting() > 0)
	return !q.closed && (q.loader.loading || q.retention.behind || q.line.window.len() > 0 || through || held || q.shown < q.meta.next || q.groups.busy())
}

// coming reports that Take, having returned nil, will have something that is
// deliverable and was there first. What waits for its trial does not count: that
// may take seconds.
func (q *Lane) coming() bool {
	return !q.closed && (q.retention.behind || q.loaded < q.shown || q.line.window.len() > 0)
}

// Stats returns the counters, exact as of the last accepted operation. Until
// Recalled, a lease that ended while the store was closed counts as taken. Of what
// cannot be read, Unreadable has those that were come to; it is exact once all that
// waits was.
func (q *Lane) Stats() Stats {
	taken := q.out.messages + q.crash.unloaded
	lost, late := q.bad.lost(), q.delays.lost
	return Stats{
		Ready:   q.meta.entries - taken - lost.messages,
		Taken:   taken,
		Delayed: q.meta.delayed - late,
		Bytes:   q.meta.bytes + q.meta.delayedBytes,

		Unreadable: lost.messages + late,
		Untried:    q.crash.countUntried(),
		Outlived:   q.meta.outlived,

		ReadyBytes: q.meta.bytes - q.out.bytes - lost.bytes,
	}
}

// Seal writes the meta record.
func (q *Lane) Seal(t *store.Turn) {
	if q.closed {
		return
	}
	q.order.seal(t)
	q.meta.low = min(q.lowest(), q.order.late.low)
	q.meta.taken = q.out.messages + q.crash.unloaded
	q.meta.expires = sooner(q.expiry.next, q.expiry.retained)
	q.order.dropRange(t)
	m := q.meta // as of the states on disk
	m.entries, m.bytes = m.entries+q.order.late.settled.messages, m.bytes+q.order.late.settled.bytes
	m.nextDue = q.delays.earliest(m.nextDue)
	m.frontier, m.oldest = max(m.frontier, q.crash.frontier.raisedTo), sooner(m.oldest, q.retention.unshown)
	t.Set(laneKey(q.layout.Meta, q.place, 0), m.encode())
}

// lowest returns the sequence number below which nothing is left.
func (q *Lane) lowest() uint64 {
	return min(q.head(), q.bad.stretches.first(), q.expiry.passed.first())
}

// head returns the sequence number below which nothing is left that can be read.
func (q *Lane) head() uint64 { return q.order.firstLive(min(q.loaded, q.groups.lowest())) }
