package log

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Nack gives a record back that the member has received and the group has not finished. Poll
// returns it again, to this member, after the delay: with 0, before anything newer of the
// partition. Later records of the same key wait for it, so their order is kept. Records without
// a key do not wait. Until the record is returned again, no Commit passes it. The committed
// offset stays at the record, and records committed above it are remembered as by Ack. If the
// partition goes to another member, the store is closed or the group seeks, the record is due
// at once.
//
// Giving back is not counted, and costs no write. Nack returns a FencedError if the member has
// lost the partition, and ErrTooLarge beyond MaxGaps records of a partition. It returns
// ErrInvalid if the group has finished the record or has given it back already.
func (m *Member) Nack(ctx context.Context, r Record, delay time.Duration) error {
	o, err := m.nack(r, delay)
	if err != nil {
		return err
	}
	return m.g.topic.s.Do(unsynced(ctx), store.PromptFunc{OpFunc: func(turn *store.Turn) error {
		err := o.Run(turn)
		if err == nil {
			o.Visible(turn) // it need not wait for what is on its way to the disk
		}
		return err
	}}, store.NoSync)
}

// Nack is Member.Nack as a part of the transaction.
func (x MemberTx) Nack(r Record, delay time.Duration) error {
	o, err := x.m.nack(r, delay)
	if err != nil {
		return x.x.Fail(err)
	}
	return x.x.Add(o, 0)
}

// MaxNackDelay is the longest delay of a Nack.
const MaxNackDelay = MaxRetryDelay

func (m *Member) nack(r Record, delay time.Duration) (*nackOp, error) {
	if r.tenure == nil || r.tenure.member != m || r.Offset < 0 {
		return nil, store.Invalid("the record to give back was not received by this member of %s", m.g.named())
	}
	if delay < 0 || delay > MaxNackDelay {
		return nil, store.Invalid("delay %v of a Nack in %s is not between 0 and %v", delay, m.g.named(), MaxNackDelay)
	}
	return &nackOp{t: r.tenure, r: heldRecord{Record: r.Clone(), due: time.Now().Add(delay)}}, nil
}

// nackOp gives a record back.
type nackOp struct {
	t *tenure
	r heldRecord
}

// Frees lets it in on a full disk.
func (o *nackOp) Frees() {}

func (o *nackOp) String() string {
	return fmt.Sprintf("give back record %d/%d of %s", o.r.Partition, o.r.Offset, o.t.claim.g.named())
}

func (o *nackOp) Run(*store.Turn) error {
	c, offset := o.t.claim, uint64(o.r.Offset)
	if err := c.g.alive(); err != nil {
		return err
	}
	if c.tenure != o.t {
		return c.fenced(o.t)
	}
	if c.done.finished(offset) {
		return store.Invalid("record %d/%d is finished in %s, and cannot be given back", o.r.Partition, o.r.Offset, c.g.named())
	}
	return o.t.back.expect(offset, c)
}

func (o *nackOp) Undo() { o.t.back.returned(uint64(o.r.Offset)) }

func (o *nackOp) Visible(*store.Turn) {
	o.t.back.put(o.r)
	o.t.member.wake.Fire()
}

// givenBack are the records of a tenure that were given back, and those that wait for them.
type givenBack struct {
	mu     sync.Mutex
	absent []uint64     // the offsets, in order, of those that are not with the receiver
	inbox  []heldRecord // of these, what the cursor has not seen
	full   atomic.Bool  // the inbox is not empty: a read of a record looks at no more
}

// expect notes that a record is going to come.
func (b *givenBack) expect(offset uint64, c *claim) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i, found := slices.BinarySearch(b.absent, offset)
	switch {
	case found:
		return store.Invalid("record %d/%d has been given back to %s already", c.p.index, offset, c.g.named())
	case len(b.absent) >= MaxGaps:
		return store.TooLarge(fmt.Sprintf("number of records given back to %s, partition %d", c.g.named(), c.p.index), int64(len(b.absent))+1, MaxGaps)
	}
	b.absent = slices.Insert(b.absent, i, offset)
	return nil
}

// hold notes that a record was read and is not returned yet.
func (b *givenBack) hold(offset uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i, found := slices.BinarySearch(b.absent, offset); !found {
		b.absent = slices.Insert(b.absent, i, offset)
	}
}

// returned notes that a record is with the receiver again.
func (b *givenBack) returned(offset uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i, found := slices.BinarySearch(b.absent, offset); found {
		b.absent = slices.Delete(b.absent, i, i+1)
	}
}

func (b *givenBack) put(r heldRecord) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inbox = append(b.inbox, r)
	b.full.Store(true)
}

func (b *givenBack) take() []heldRecord {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.inbox
	b.inbox = nil
	b.full.Store(false)
	return list
}

// between returns the spans of [from, to) that leave out what was given back, if any was.
func (b *givenBack) between(from, to uint64) (spans []span, any bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lo := from
	for _, offset := range b.absent {
		if offset < from || offset >= to {
			continue
		}
		if any = true; lo < offset {
			spans = append(spans, span{lo, offset})
		}
		lo = offset + 1
	}
	if any && lo < to {
		spans = append(spans, span{lo, to})
	}
	return spans, any
}

// heldRecord waits in a cursor: it was given back, or comes after one of its key that was.
type heldRecord struct {
	Record
	due time.Time // zero: when those before it are returned
}

// heldBack are the held records of a cursor, in the order of their offsets.
//
// Invariant: of each key, records are returned in order. So a record that is read is held
// as long as one of its key is, and only the first of a key may be returned.
type heldBack struct {
	list   []heldRecord
	behind int            // of these, how many wait for another one
	keys   map[string]int // how many of each key
	due    time.Time      // when one may be returned
}

// maxBehind is how many records a cursor reads that wait for another one. Each of them may be a
// gap in what is committed; the other half is for those that are given back.
const maxBehind = MaxGaps / 2

func (h *heldBack) put(r heldRecord) {
	i, _ := slices.BinarySearchFunc(h.list, r.Offset, func(o heldRecord, at int64) int { return cmp.Compare(o.Offset, at) })
	h.list = slices.Insert(h.list, i, r)
	if r.due.IsZero() {
		h.behind++
	}
	if r.Key != nil {
		if h.keys == nil {
			h.keys = make(map[string]int)
		}
		h.keys[string(r.Key)]++
	}
}

// blocks reports whether a record that was read must wait.
func (h *heldBack) blocks(r *Record) bool {
	return len(h.list) > 0 && r.Key != nil && h.keys[string(r.Key)] > 0
}

// take removes the first record that may be returned, if one is due.
func (h *heldBack) take(now time.Time) (r Record, ok bool) {
	if len(h.list) == 0 || now.Before(h.due) {
		return r, false
	}
	for i := range h.firsts() {
		if !h.list[i].due.After(now) {
			r = h.list[i].Record
			h.remove(i)
			h.plan()
			return r, true
		}
	}
	h.plan()
	return r, false
}

func (h *heldBack) remove(i int) {
	if h.list[i].due.IsZero() {
		h.behind--
	}
	if key := h.list[i].Key; key != nil {
		if h.keys[string(key)]--; h.keys[string(key)] == 0 {
			delete(h.keys, string(key))
		}
	}
	h.list = slices.Delete(h.list, i, i+1)
}

// firsts walks the records that are the first of their keys.
func (h *heldBack) firsts() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		seen := make(map[string]bool)
		for i := range h.list {
			key := h.list[i].Key
			if key != nil && seen[string(key)] {
				continue
			}
			if key != nil {
				seen[string(key)] = true
			}
			if !yield(i) {
				return
			}
		}
	}
}

// plan finds out when a record is due next.
func (h *heldBack) plan() {
	first := true
	for i := range h.firsts() {
		if due := h.list[i].due; first || due.Before(h.due) {
			h.due, first = due, false
		}
	}
}
