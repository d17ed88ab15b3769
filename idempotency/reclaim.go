package idempotency

import (
	"bytes"
	"context"
	"errors"
	"math"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// reclaim gives the space of expired records back. Whether a record answers is
// told by its expiry; this may come later, and does so for many at a time.
//
// The naive way is an index entry for the expiry of each record, and one for each claim in case
// its process dies: a Do then writes two and removes one. Here a record is indexed once, when
// it is claimed, under a time that is rounded up to a grain and leaves room for the handler to
// run. Records of a grain are removed together, and their part of the index as one range, so
// that no walk passes over removed keys.
//
// The index is read beside the baton, by a goroutine that lives only while there
// is something to remove. What changes meanwhile is noted, and looked at again
// when the removal has its turn.
//
// What cannot be read stays, as it may answer yet, and its entries stay with it. They
// are looked at again from time to time.
type reclaim struct {
	timer   *store.Timer
	running bool
	noted   map[string]struct{} // keys that changed since the chunk was begun
	lowest  int64               // due time indexed since then
	unread  error               // the first of the run under way, or of the last one
	told    bool                // the log has it
	retry   time.Time           // what cannot be read waits until then
}

const (
	reclaimChunk = 1024
	reclaimRetry = time.Second
	unreadRetry  = time.Minute // or a grain, if that is longer
	grains       = 64          // in the life of a record
	never        = math.MaxInt64
)

func (r *reclaim) init(n *keys) {
	r.timer = store.NewTimer(n.startReclaim)
	r.begin()
}

// begin notes changes from here on.
func (r *reclaim) begin() { r.noted, r.lowest = make(map[string]struct{}), never }

// note is called for each change of a record.
func (n *keys) note(key []byte) {
	if n.reclaim.running {
		n.reclaim.noted[string(key)] = struct{}{}
	}
}

func (n *keys) grain() int64 { return max(int64(n.config().Expiry)/grains, int64(time.Millisecond)) }

// dueFor returns when a record that answers until at is to be removed.
func (n *keys) dueFor(at int64) int64 {
	g := n.grain()
	return (at + g - 1) / g * g
}

// addEntry has the record of a key looked at when due.
func (n *keys) addEntry(t *store.Turn, due int64, key []byte) {
	t.Set(expiryKey(n.id, due, key), nil)
	n.reclaim.lowest = min(n.reclaim.lowest, due)
	if n.meta.nextDue == 0 || due < n.meta.nextDue {
		n.meta.nextDue = due
		n.arm(t)
	}
	n.note(key)
	t.Touch(n)
}

// arm sets the timer for the next removal. That of an operation which is undone
// comes to nothing.
func (n *keys) arm(t *store.Turn) {
	if n.meta.nextDue == 0 || n.reclaim.running {
		t.Disarm(n.reclaim.timer)
		return
	}
	due := time.Unix(0, n.meta.nextDue)
	if due.Before(n.reclaim.retry) {
		due = n.reclaim.retry
	}
	t.Arm(n.reclaim.timer, due)
}

// startReclaim runs when the timer fires.
func (n *keys) startReclaim(t *store.Turn) {
	if n.reclaim.running {
		return
	}
	now := t.Now().UnixNano()
	n.reclaim.begin()
	n.reclaim.unread = nil
	n.reclaim.running = t.Spawn(func(ctx context.Context) { n.reclaimUntil(ctx, now) })
}

// reclaimUntil removes what was due by now, a chunk at a time.
func (n *keys) reclaimUntil(ctx context.Context, now int64) {
	var from []byte
	for {
		op, err := n.collect(ctx, from, now)
		if err == nil {
			err = n.s.Do(store.WithDurability(ctx, store.NoSync), op, store.NoSync)
		}
		switch {
		case n.s.Cause() != nil:
			return
		case err != nil:
			n.s.Log().Error("reclaim idempotency keys", "namespace", n.name, "error", err)
			if !store.Pause(ctx, reclaimRetry) {
				return
			}
		case op.last:
			return
		default:
			from = op.resume
		}
	}
}

// reclaimOp removes one chunk of what is due.
type reclaimOp struct {
	n       *keys
	entries []entry
	next    int64  // due time of the first entry left, or never
	resume  []byte // where the next chunk begins; nil for the first entry of all
	last    bool
	unread  error // the first
}

// entry is one of the expiry index, with the record that it had when it was
// read.
type entry struct {
	due    int64
	key    []byte
	r      record
	unread bool // the record, so that the entry stays
	behind bool // an entry that cannot be read, and stays
}

// collect reads the next chunk of the expiry index.
func (n *keys) collect(ctx context.Context, from []byte, now int64) (op *reclaimOp, err error) {
	lo, hi := store.Span(store.KindIdemExpiry, n.id)
	if from == nil {
		from = lo
	}
	it, err := n.s.Iter(ctx, from, hi)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	op = &reclaimOp{n: n, next: never, last: true}
	behind := false
	it.PassOver(ctx, func(err error) bool {
		behind = store.IsUnread(err)
		op.missed(err)
		return behind
	})
	for ok := it.First(); ok; ok = it.Next() {
		due, key, err := decodeExpiryKey(it.Key())
		if err != nil {
			behind = true
			op.missed(err)
			continue
		}
		if full := len(op.entries) == reclaimChunk; full || due > now {
			op.next, op.last, op.resume = due, !full, bytes.Clone(it.Key())
			return op, nil
		}
		e := entry{due: due, key: bytes.Clone(key), behind: behind}
		if e.r, err = n.peek(ctx, e.key); err != nil {
			e.unread = true
			op.missed(n.about(e.key, err))
		}
		op.entries, behind = append(op.entries, e), false
	}
	return op, nil
}

// missed notes what could not be read.
func (o *reclaimOp) missed(err error) {
	if o.unread == nil {
		o.unread = err
	}
}

// peek reads a record beside the baton, of an outcome only what reclaiming needs.
func (n *keys) peek(ctx context.Context, key []byte) (record, error) {
	v, err := n.s.Get(ctx, recordKey(n.id, key))
	if err != nil || v == nil {
		return record{}, err
	}
	r, err := decodeRecord(v)
	if r.state != claimed {
		r.fingerprint, r.result = nil, nil
	}
	return r, err
}

// Frees lets it in on a disk that is nearly full.
func (o *reclaimOp) Frees() {}

func (o *reclaimOp) Run(t *store.Turn) error {
	n := o.n
	if o.last = o.last || n.deleted; n.deleted {
		return nil
	}
	if len(o.entries) > 0 && n.reclaim.lowest <= o.entries[len(o.entries)-1].due { // the clock was set back
		o.last, o.resume = false, nil
		n.reclaim.begin()
		return nil
	}
	o.reread(t)
	o.unindex(t)
	if n.reclaim.unread == nil {
		n.reclaim.unread = o.unread
	}
	next := min(o.next, n.reclaim.lowest)
	switch {
	case n.reclaim.unread != nil: // the earliest entry may be one that stays
	case next == never:
		n.meta.nextDue = 0
	default:
		n.meta.nextDue = next
	}
	for _, e := range o.entries {
		o.remove(t, e)
	}
	t.Touch(n)
	n.reclaim.begin()
	if o.last {
		o.end(t)
	}
	return nil
}

// end ends the run that the chunk is the last of.
func (o *reclaimOp) end(t *store.Turn) {
	r := &o.n.reclaim
	r.running = false
	if r.unread != nil {
		r.retry = t.Now().Add(max(unreadRetry, time.Duration(o.n.grain())))
		if !r.told {
			o.n.s.Log().Error("expired idempotency keys cannot be read and stay", "namespace", o.n.name, "error", r.unread)
		}
	}
	r.told = r.unread != nil
	o.n.arm(t)
}

// reread brings the entries up to date whose records have changed.
func (o *reclaimOp) reread(t *store.Turn) {
	for i := range o.entries {
		e := &o.entries[i]
		if _, changed := o.n.reclaim.noted[string(e.key)]; !changed {
			continue
		}
		var err error
		if e.r, _, err = o.n.read(t, e.key); err != nil {
			o.missed(err)
		}
		e.unread = err != nil
	}
}

// unindex removes the entries, but for what cannot be read, as few ranges. A range
// reaches from its first entry on: ranges that nest make reads slower and slower.
func (o *reclaimOp) unindex(t *store.Turn) {
	var first, last *entry
	remove := func() {
		if first != nil {
			t.DeleteRange(expiryKey(o.n.id, first.due, first.key), append(expiryKey(o.n.id, last.due, last.key), 0))
		}
		first = nil
	}
	for i := range o.entries {
		e := &o.entries[i]
		if e.unread || e.behind {
			remove()
		}
		if e.unread {
			continue
		}
		if first == nil {
			first = e
		}
		last = e
	}
	remove()
}

// remove drops the record of an entry that is not stale. A claim that is still
// held, or that a dead process has left under a lease, is indexed anew.
func (o *reclaimOp) remove(t *store.Turn, e entry) {
	n := o.n
	switch c := n.current(e.key); {
	case e.unread || e.r.state == 0 || e.r.due != e.due:
		return
	case c != nil:
		n.index(t, c)
		return
	case e.r.state == claimed && n.leased(e.r):
		n.index(t, &claim{key: e.key, token: e.r.token, fingerprint: e.r.fingerprint})
		return
	case e.r.state != claimed:
		n.meta.records--
	}
	n.unset(t, e.key)
}

func (o *reclaimOp) Undo()               {}
func (o *reclaimOp) Visible(*store.Turn) {}
