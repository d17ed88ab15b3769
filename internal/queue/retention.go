package queue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// A lane may retain its messages for a time that is the same for all: what is older
// is gone, wherever it stands, also what is out. Every queue of a layer has that by
// default, so it must not cost what a time to live of each message does, a key in an
// index (see expiry.go).
//
// Messages are put in the order in which they were born, nearly: so the oldest are at
// the head. Those that are born before one that was put before them, which are dead
// letters, what was delayed, and what a clock does that is set back, are strays. They
// alone are in an index, by birth. Both are read in the background, as far as they are
// over; what was not in memory anyway is only counted, and dropped as a range.
//
// What is stored is the birth and not the end, so that another retention counts for
// all that is there, at the cost of arming a timer.
//
// Invariants:
//
//   - A message that is no stray was born no earlier than any that was put before it
//     and is no stray either, and so no earlier than any stray put before it.
//   - Nothing that is in the lane and shown was born before meta.oldest. What is not
//     shown was not born before meta.oldest or unshown.
type retention struct {
	q        *Lane
	born     func(data []byte) int64
	outlived func(*store.Turn, *Message) func(*store.Turn)
	timer    *store.Timer

	lasts    time.Duration // 0 is for ever
	each     bool          // outlived is told of all
	sweeping bool
	behind   bool  // the sweep before this one has left some that were over
	void     bool  // the lane was purged since the sweep began
	missed   int64 // birth of the oldest that was put or shown since
	unshown  int64 // of the strays that were over and could not be dealt with
}

// Limits of a sweep.
const (
	retireMessages = 8192    // that are counted
	retireBytes    = 8 << 20 // that are read for it
)

// set sets how long messages are kept from their birth, for those that are there as
// well. Options.Outlived is told of those that are out, and with each of all others
// too, which it may then move. It has no Undo.
func (k *retention) set(t *store.Turn, lasts time.Duration, each bool) {
	k.lasts, k.each = lasts, each
	k.arm(t)
}

// over reports whether the retention of a message is over. Take may hand it out
// nevertheless, for the caller to settle it.
func (k *retention) over(t *store.Turn, m *Message) bool {
	return k.lasts != 0 && m.Born <= k.horizon(t)
}

// swept reports that nothing is there any more whose retention was over at a moment in
// the past. Ready is called when that may be so.
func (k *retention) swept(t *store.Turn, asOf time.Time) bool {
	q := k.q
	if k.lasts == 0 || q.meta.oldest == 0 || q.closed || time.Unix(0, q.meta.oldest).Add(k.lasts).After(asOf) {
		return true
	}
	k.start(t)
	return false
}

// horizon is the last moment whose births are over.
func (k *retention) horizon(t *store.Turn) int64 { return t.Now().Add(-k.lasts).UnixNano() }

// BornAt returns when the retention of the message began, in nanoseconds since 1970.
func (m *Message) BornAt() int64 { return m.Born }

func (k *retention) bornOf(c *Content) int64 {
	switch {
	case c.Born != 0:
		return c.Born
	case k.born == nil:
		return 0
	}
	return k.born(c.Data)
}

// append appends a message as a segment has it. Its birth is left out if its data has that.
func (k *retention) append(b []byte, c *Content) []byte {
	stored := *c
	if k.born != nil && c.Born == k.born(c.Data) {
		stored.Born = 0
	}
	return append(stored.appendHead(b), stored.Data...)
}

// note notes the birth of a message that is being put.
func (k *retention) note(t *store.Turn, m *Message) {
	q := k.q
	if k.born == nil {
		return
	}
	if m.Born == k.born(m.Data) {
		m.Born = 0
	}
	born := k.bornOf(&m.Content)
	if m.stray = born < q.meta.youngest; m.stray {
		t.Set(dueKey(q.layout.Stray, q.place, born, m.Seq), nil)
	} else {
		q.meta.youngest = born
	}
	q.meta.oldest = sooner(q.meta.oldest, born)
	if k.sweeping {
		k.missed = sooner(k.missed, born)
	}
}

func (k *retention) unindex(t *store.Turn, m *Message) {
	q := k.q
	if m.stray {
		t.DeleteSingle(dueKey(q.layout.Stray, q.place, m.Born, m.Seq))
	}
}

// mayAge has the clock run for a message that is shown.
func (k *retention) mayAge(t *store.Turn, m *Message) {
	q := k.q
	if k.born == nil || k.lasts == 0 {
		return
	}
	if k.sweeping {
		k.missed = sooner(k.missed, m.Born)
	}
	if q.meta.oldest = sooner(q.meta.oldest, m.Born); !k.timer.Armed() || q.meta.oldest == m.Born {
		k.arm(t)
	}
}

func (k *retention) arm(t *store.Turn) {
	q := k.q
	if k.lasts == 0 || q.meta.oldest == 0 || q.closed {
		t.Disarm(k.timer)
		return
	}
	t.Arm(k.timer, time.Unix(0, q.meta.oldest).Add(k.lasts))
}

// start is what the timer calls.
func (k *retention) start(t *store.Turn) {
	q := k.q
	if k.sweeping || q.closed || k.lasts == 0 || q.meta.oldest == 0 {
		return
	}
	r := retire{q: q, from: q.head(), loaded: q.loaded, shown: q.shown, horizon: k.horizon(t), each: k.each || q.pins != nil}
	if q.meta.oldest > r.horizon {
		k.arm(t)
		return
	}
	k.missed, k.void = 0, false
	k.sweeping = t.Spawn(func(ctx context.Context) {
		q.loader.persist(ctx, func(ctx context.Context, pass func(error) bool) (store.Op, error) {
			found := r
			return &found, found.read(ctx, pass)
		})
	})
}

// retire is the Op that ends what was retained long enough.
type retire struct {
	q       *Lane
	from    uint64 // nothing is there below
	loaded  uint64 // what is below was in memory
	shown   uint64
	horizon int64
	each    bool

	head    []retiree
	missing []missing
	through uint64 // everything below is in head, or missing, or gone
	strays  []retiree
	bytes   int
	next    int64 // birth of the oldest that is left
	unshown int64 // of the strays that are over and not shown
	more    bool  // some that are over were left

	done []func(*store.Turn)
}

// retiree is a message whose time is over. Its data was dropped unless there is a use
// for it.
type retiree struct {
	loadedMessage
	born int64
	size uint64
}

func (r *retire) read(ctx context.Context, pass func(error) bool) (err error) {
	q := r.q
	messages, err := newReader(ctx, q, r.from, pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, messages.close()) }()
	lo, hi := q.span(q.layout.Stray)
	index, err := q.loader.iter(ctx, lo, hi, pass)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	if err := r.readHead(ctx, messages); err != nil {
		return err
	}
	return r.readStrays(index, messages)
}

// full reports that the next sweep is to go on.
func (r *retire) full() bool {
	n, most := len(r.head)+len(r.strays), retireMessages
	if r.each {
		most = sweepMessages // they are moved, one by one
	}
	return n >= most || r.bytes >= retireBytes
}

// readHead reads the messages at the head whose retention is over. The age of a message
// that cannot be read is not known. It stays, and does not hold up those behind it.
func (r *retire) readHead(ctx context.Context, messages *reader) error {
	r.through = r.from
	c := chunk{}
	for {
		l, ok, err := messages.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if l.err != nil && l.seq < r.shown {
			c.add(l)
			continue
		}
		d := r.retiree(l)
		if d.born > r.horizon || l.seq >= r.shown || r.full() {
			r.next = d.born
			r.more = d.born <= r.horizon && l.seq < r.shown
			break
		}
		r.head, r.through = append(r.head, d), l.seq+1
	}
	c.through = r.through
	if err := r.q.bad.search(ctx, messages, &c); err != nil {
		return err
	}
	for _, l := range c.messages {
		r.head = append(r.head, r.retiree(l))
	}
	r.missing = slices.DeleteFunc(c.missing, func(m missing) bool { return m.from >= r.through })
	return nil
}

func (r *retire) retiree(l loadedMessage) retiree {
	d := retiree{loadedMessage: l, born: r.q.retention.bornOf(&l.Content), size: l.size()}
	r.bytes += len(l.Data)
	if !r.each {
		d.Data = nil
	}
	return d
}

// readStrays reads what is over elsewhere.
func (r *retire) readStrays(index *store.Iter, messages *reader) error {
	for ok := index.First(); ok; ok = index.Next() {
		born, seq, err := decodeDueKey(index.Key())
		if err != nil {
			return err
		}
		if seq < r.through {
			continue // it is in head
		}
		if born > r.horizon || r.full() {
			r.next = sooner(r.next, born)
			r.more = r.more || born <= r.horizon
			return nil
		}
		if seq >= r.shown {
			r.unshown = sooner(r.unshown, born)
			continue
		}
		l, err := messages.read(seq)
		if err != nil {
			return err
		}
		d := r.retiree(l)
		d.born, d.Data = born, l.Data
		r.strays = append(r.strays, d)
	}
	return nil
}

// Frees lets it in on a disk that is nearly full.
func (r *retire) Frees() {}
func (r *retire) Undo()  {}

func (r *retire) Run(t *store.Turn) error {
	q, k := r.q, &r.q.retention
	k.sweeping = false
	defer q.order.forgetIdle()
	if q.closed {
		return nil
	}
	t.Touch(q)
	if k.void {
		return nil // and begin again
	}
	q.meta.oldest, k.unshown, k.behind = sooner(r.next, k.missed), r.unshown, r.more
	loaded := q.loaded
	q.bad.miss(t, slices.DeleteFunc(r.missing, func(m missing) bool { return m.to <= loaded })) // else it is in memory, or noted
	for _, d := range r.head {
		if d.seq < loaded || q.order.inMemory(d.seq) != nil || r.each {
			r.end(t, d)
		} else if !q.order.gone(&d.loadedMessage) {
			r.count(t, &d)
		}
	}
	if q.loaded = max(loaded, r.through); q.loaded > loaded {
		q.loader.plan.void = true
	}
	for _, d := range r.strays {
		if !r.end(t, d) {
			t.Delete(dueKey(q.layout.Stray, q.place, d.born, d.seq)) // of what was purged
		}
	}
	return nil
}

// count takes a message off the books that is on disk only.
func (r *retire) count(t *store.Turn, d *retiree) {
	q := r.q
	q.order.settleUnread(t, &d.loadedMessage)
	if d.stray {
		t.DeleteSingle(dueKey(q.layout.Stray, q.place, d.born, d.seq))
	}
	q.release(t, &d.Content, slotEntries)
	t.Hold(q.holder(slotEntries), d.Payload, -1)
	q.meta.entries--
	q.meta.outlived++
	q.meta.bytes -= d.size
	q.bad.onDisk.less(tally{1, d.size})
	if d.mark.out {
		q.crash.cameBack()
	}
}

// end settles a message, unless it is gone. One that cannot be read stays.
func (r *retire) end(t *store.Turn, d retiree) bool {
	q := r.q
	m, new, err := q.waiting(t, &d.loadedMessage)
	switch {
	case err != nil || m == nil && q.bad.stretches.has(d.seq):
		return true
	case m == nil:
		return false
	}
	if m.lean > 0 && d.Data != nil {
		m.fill(d.Data)
	}
	if new { // also if its lease runs
		q.bring(m, &d.loadedMessage)
	}
	if r.done = append(r.done, q.retention.end(t, m)); m.here() {
		q.move(m, out) // nobody is to get it
	}
	return true
}

// end settles a message and returns what shows that.
func (k *retention) end(t *store.Turn, m *Message) func(*store.Turn) {
	q := k.q
	if k.each || m.at == out {
		return k.outlived(t, m)
	}
	q.Drop(t, m)
	return func(t *store.Turn) { q.Settled(t, m) }
}

func (r *retire) Visible(t *store.Turn) {
	q := r.q
	if q.closed {
		return
	}
	for _, shown := range r.done {
		shown(t)
	}
	q.retention.arm(t)
	q.crash.recall(t)
	q.ready(t)
}

// eldest is that of one lane.
func (k *retention) eldest(ctx context.Context, alive func() error) (born int64, err error) {
	q := k.q
	var from, next uint64
	var bound int64
	err = q.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if err := alive(); err != nil {
			return err
		}
		from, next, bound = q.head(), q.meta.next, q.meta.oldest
		if m := q.order.inMemory(from); m != nil {
			born = m.Born
		}
		return nil
	}), store.NoSync)
	if err != nil || from == next || bound == 0 {
		return 0, err
	}
	if born == 0 {
		if born, err = k.firstBirth(ctx, from, next); err != nil {
			return 0, err
		}
	}
	if born != 0 && born <= bound {
		return born, nil
	}
	stray, err := k.firstStray(ctx)
	return sooner(born, stray), err
}

// firstBirth reads the birth of the first message in a range that can be read, 0 if
// there is none.
func (k *retention) firstBirth(ctx context.Context, from, to uint64) (born int64, err error) {
	r, err := newReader(ctx, k.q, from, store.IsDamage)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for {
		l, ok, err := r.next()
		if !ok || err != nil || l.seq >= to {
			return 0, err
		}
		if l.err == nil {
			return k.bornOf(&l.Content), nil
		}
	}
}

// firstStray returns the birth of the oldest in the index that can be read, 0 if there
// is none.
func (k *retention) firstStray(ctx context.Context) (born int64, err error) {
	q := k.q
	lo, hi := q.span(q.layout.Stray)
	index, err := q.loader.iter(ctx, lo, hi, store.IsDamage)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	r, err := newReader(ctx, q, 0, store.IsDamage)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for ok := index.First(); ok; ok = index.Next() {
		born, seq, err := decodeDueKey(index.Key())
		if err != nil {
			return 0, err
		}
		l, err := r.read(seq)
		if err != nil || !l.gone && l.err == nil {
			return born, err
		}
	}
	return 0, nil
}
