package log

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// damage is the unreadable stretches that readers have found in a partition. Each stretch is
// logged once, however many readers meet it.
type damage struct {
	tail atomic.Pointer[DamageError] // the end of the partition cannot be read; see broken
	some atomic.Bool                 // found is not empty

	mu    sync.Mutex
	found map[uint64]*DamageError // by From
}

// Damage returns the stretches of records that readers, groups and the topic's own
// passes have found unreadable since the store was opened, by partition and offset. One
// that could be read since is not among them.
func (t *Topic) Damage() []*DamageError {
	var list []*DamageError
	for _, p := range t.partitions() {
		p.damage.mu.Lock()
		for _, e := range p.damage.found {
			list = append(list, e)
		}
		p.damage.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b *DamageError) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.From, b.From))
	})
	return list
}

// damaged makes an error of what was found, and notes it.
func (p *partition) damaged(from, to uint64, err error) error {
	e := &DamageError{Topic: p.topic.name, Partition: int(p.index), From: int64(from), To: int64(to), Err: err}
	d := &p.damage
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found == nil {
		d.found = make(map[uint64]*DamageError)
	}
	_, known := d.found[from]
	d.found[from] = e
	d.some.Store(true)
	if !known {
		p.topic.s.Log().Error("records cannot be read", "topic", e.Topic, "partition", e.Partition, "from", e.From, "to", e.To-1, "error", err)
	}
	return e
}

// readable notes that the record at an offset can be read.
func (p *partition) readable(offset uint64) {
	d := &p.damage
	if !d.some.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found[offset] == nil {
		return
	}
	delete(d.found, offset)
	d.some.Store(len(d.found) > 0)
	p.topic.s.Log().Info("records can be read again", "topic", p.topic.name, "partition", p.index, "from", offset)
}

// damagedAt finds out how far the records from an offset on cannot be read, after a read
// that failed there.
func (p *partition) damagedAt(ctx context.Context, from, end uint64, failure error) (err error) {
	if !store.IsUnread(failure) {
		return failure
	}
	it, err := p.iter(ctx, from)
	if err != nil {
		return err
	}
	it.PassOver(ctx, func(error) bool { return true })
	to := end
	if it.First() {
		if h, _, _, err := batchAt(it); err == nil {
			to = min(max(h.base, from+1), end)
		}
	}
	if err := it.Close(); err != nil { // of ctx
		return errors.Join(failure, err)
	}
	return p.damaged(from, to, failure)
}

// broken returns the error of a reader at the end of a partition whose last batches cannot be
// read. Such a reader cannot wait for more.
func (p *partition) broken(at uint64) error {
	if e := p.damage.tail.Load(); e != nil {
		return p.damaged(at, at+1, e.Err)
	}
	return nil
}

// appendable refuses appends to a partition whose last batches cannot be read, because
// their offsets would be given a second time.
func (p *partition) appendable() error {
	if e := p.damage.tail.Load(); e != nil {
		return e
	}
	return nil
}

// beforeTail brings a partition into memory whose last batches cannot be read: up to
// there it can be read.
func (p *partition) beforeTail(ctx context.Context, from startRecord, failure error) (end tail, err error) {
	last, found, err := p.lastReadable(ctx, from.cleared, maxOffset)
	if err != nil {
		return end, err
	}
	end = emptyTail()
	end.next = max(from.start, from.tidy)
	if found {
		end = tail{next: max(last.end, end.next), maxTime: last.maxTime, retainTime: last.retainTime, bytes: last.bytes}
	}
	e := &DamageError{Topic: p.topic.name, Partition: int(p.index), From: int64(end.next), To: int64(end.next) + 1, Err: failure}
	p.damage.tail.Store(e)
	_ = p.damaged(end.next, end.next+1, failure) // logs it
	return end, nil
}

// endHeader is the header of a batch, and the offset behind it.
type endHeader struct {
	header
	end uint64
}

// lastReadable returns the header of the last batch that lies wholly in [lo, hi) and can
// be read, where the last of all cannot. A search backwards finds the beginning of a
// stretch that cannot be read. If something can be read behind it, that is not the
// stretch, and the search goes on from there.
func (p *partition) lastReadable(ctx context.Context, lo, hi uint64) (last endHeader, found bool, err error) {
	for lo < hi {
		h, some, err := p.beforeGap(ctx, lo, hi)
		if err != nil {
			return last, found, err
		}
		if some {
			last, found, lo = h, true, h.end
		}
		behind, some, err := p.firstReadable(ctx, lo)
		if err != nil || !some || behind.end > hi {
			return last, found, err
		}
		last, found, lo = behind, true, behind.end
	}
	return last, found, nil
}

// beforeGap returns the last batch in [lo, hi) before a stretch that cannot be read.
func (p *partition) beforeGap(ctx context.Context, lo, hi uint64) (last endHeader, found bool, err error) {
	it, err := p.iter(ctx, lo)
	if err != nil {
		return last, false, err
	}
	defer func() { _ = it.Close() }() // an error that was passed by
	for lo < hi {
		mid := lo + (hi-lo)/2
		ok := it.SeekBelow(batchKey(p.topic.id, p.index, mid+1))
		if err := it.Err(); err != nil {
			if !store.IsDamage(err) {
				return last, false, err
			}
			hi = mid
			continue
		}
		if lo = mid + 1; ok {
			h, end, _, err := batchAt(it)
			if err != nil {
				return last, false, err
			}
			last, found, lo = endHeader{h, end + 1}, true, max(lo, end+1)
		}
	}
	return last, found, nil
}

// firstReadable returns the first batch from an offset on that can be read.
func (p *partition) firstReadable(ctx context.Context, from uint64) (first endHeader, found bool, err error) {
	it, err := p.iter(ctx, from)
	if err != nil {
		return first, false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	it.PassOver(ctx, store.IsDamage)
	if !it.First() {
		return first, false, nil
	}
	h, end, _, err := batchAt(it)
	return endHeader{h, end + 1}, err == nil, err
}
