package log

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// partition is one totally ordered sequence of records.
//
// Appends are accepted one by one, but a key for each would waste most of the
// disk's and the engine's work. So an accepted append only gets its offsets
// and leaves its encoded records in pending; when the kernel seals the group,
// each pending segment is written as one batch. Between the two, a refused
// transaction cuts pending back to where it was.
//
// Invariant: start <= end <= next, and every record in [start, next) is in a
// stored batch or in pending. Readers see [start, end).
type partition struct {
	store.Sealed
	topic *Topic
	index uint32

	loaded atomic.Bool
	start  atomic.Uint64 // moves in Run of a trim: nobody trims to keep
	end    atomic.Uint64 // moves in Visible of an append
	moved  store.Signal  // fires when start or end moves

	// Under the baton from here on.
	next         uint64    // offset of the next record
	pending      []segment // accepted, in no sealed group yet
	tail         tail
	cleared      uint64 // batches below have been dropped
	clearedBytes uint64 // of these, or fewer
	reach        uint64 // where the next range begins; at 0 after a start
	reachBytes   uint64 // of the batches below, or fewer
	floor        uint64 // bytes before the start, or fewer
	tidy         uint64 // batches below have been merged and compacted
	untidy       untidy // what has come since
	compacted    *compacted
	swept        uint64   // the start when the index was swept last
	owned        []*claim // those that have an owner
	damage       damage
}

// tail is the end of what is stored: the running fields of the last batch.
type tail struct {
	next       uint64
	maxTime    int64
	retainTime int64
	bytes      uint64
}

// ready brings the partition into memory, at its first use: one seek and one
// read, and one seek more in a compacted topic.
func (p *partition) ready(ctx context.Context) error {
	if p.loaded.Load() {
		return p.topic.alive()
	}
	end, from, err := p.read(ctx)
	if err != nil {
		return fmt.Errorf("log: open topic %q, partition %d: %w", p.topic.name, p.index, err)
	}
	left := p.leftUntidy(ctx, max(from.start, from.tidy), end)
	install := store.QuietFunc(func(*store.Turn) error {
		if p.topic.gone.Load() || p.loaded.Load() { // another caller was faster
			return p.topic.alive()
		}
		p.tail, p.next, p.cleared, p.tidy, p.swept = end, end.next, from.cleared, from.tidy, from.swept
		if from.due != 0 {
			p.compacted = &compacted{due: from.due}
		}
		p.untidy = left
		p.start.Store(from.start)
		p.end.Store(end.next)
		p.loaded.Store(true)
		return nil
	})
	return p.topic.s.Do(ctx, install, store.NoSync)
}

// read finds the tail and the start on disk.
func (p *partition) read(ctx context.Context) (end tail, from startRecord, err error) {
	end = emptyTail()
	v, err := p.topic.s.Get(ctx, partitionKey(store.KindLogMeta, p.topic.id, p.index))
	if err != nil {
		return end, from, err
	}
	if v != nil {
		if from, err = decodeStart(v); err != nil {
			return end, from, err
		}
	}
	if end, err = p.readTail(ctx, from); store.IsDamage(err) {
		end, err = p.beforeTail(ctx, from, err)
	}
	if err == nil && (from.start > end.next || from.tidy > end.next) {
		err = corrupt("start %d, tidy up to %d, end %d", from.start, from.tidy, end.next)
	}
	return end, from, err
}

// readTail reads the last batch.
func (p *partition) readTail(ctx context.Context, from startRecord) (end tail, err error) {
	end = emptyTail()
	it, err := p.iter(ctx, from.cleared)
	if err != nil {
		return end, err
	}
	if it.Last() {
		var h header
		var last uint64
		if h, last, _, err = batchAt(it); err == nil {
			end = tail{next: last + 1, maxTime: h.maxTime, retainTime: h.retainTime, bytes: h.bytes}
		}
	}
	return end, errors.Join(err, it.Close())
}

// leftUntidy estimates what earlier lives wrote to a compacted topic from an offset on:
// each may have written too little for a pass. The number of batches would take a walk,
// so records are counted. Reads report damage, so an error is no estimate.
func (p *partition) leftUntidy(ctx context.Context, from uint64, end tail) (left untidy) {
	if !p.topic.config.Load().Compact || from >= end.next {
		return left
	}
	it, err := p.iter(ctx, from)
	if err != nil {
		return left
	}
	if it.First() {
		if h, _, _, err := batchAt(it); err == nil {
			left = untidy{small: int32(min((end.next-from)/usualBatch, mergeAt)), stones: true, bytes: int(end.bytes - h.bytes)}
		}
	}
	_ = it.Close()
	return left
}

// writeStart stores where the partition begins.
func (p *partition) writeStart(t *store.Turn) {
	t.Set(partitionKey(store.KindLogMeta, p.topic.id, p.index), startRecord{p.start.Load(), p.cleared, p.tidy, p.swept, p.firstDue()}.encode())
}

// iter walks the stored batches that hold the offset from and all after it.
func (p *partition) iter(ctx context.Context, from uint64) (*store.Iter, error) {
	return p.topic.s.Iter(ctx, batchKey(p.topic.id, p.index, from),
		store.PrefixEnd(partitionKey(store.KindLogBatch, p.topic.id, p.index)))
}

// batchAt reads the batch that an iterator stands on. The value is valid until
// the iterator moves.
func batchAt(it *store.Iter) (h header, last uint64, value []byte, err error) {
	if last, err = decodeBatchKey(it.Key()); err != nil {
		return h, 0, nil, err
	}
	if value, err = it.Value(); err != nil {
		return h, 0, nil, err
	}
	h, err = decodeHeader(value, last)
	return h, last, value, err
}

// mark is a state of the accepted end to go back to.
type mark struct {
	next     uint64
	segments int
	last     segment // as it was
	length   int     // of last
}

func (p *partition) mark() mark {
	m := mark{next: p.next, segments: len(p.pending)}
	if m.segments > 0 {
		m.last = p.pending[m.segments-1]
		m.length = m.last.len()
	}
	return m
}

// rewind drops what was accepted since m.
func (p *partition) rewind(m mark) {
	clear(p.pending[m.segments:])
	p.pending = p.pending[:m.segments]
	if m.segments > 0 {
		last := &p.pending[m.segments-1]
		last.buf.b = last.buf.b[:m.length] // of the buffer it has now
		last.count, last.maxTime = m.last.count, m.last.maxTime
	}
	p.next = m.next
}

// accept gives encoded records the next offset. The segment is the partition's
// from here on.
func (p *partition) accept(t *store.Turn, s segment) {
	p.next += uint64(s.count)
	if s.stamped {
		s.maxTime = t.Now().UnixNano()
	}
	t.Touch(p)
	t.Promise(s.len())
	if n := len(p.pending); n > 0 && p.pending[n-1].takes(&s) {
		p.pending[n-1].absorb(&s)
		return
	}
	p.pending = append(p.pending, s)
}

// Seal writes what is pending into the group that is about to go.
func (p *partition) Seal(t *store.Turn) {
	for i := range p.pending {
		p.write(t, &p.pending[i])
	}
	p.dropPending()
}

// keepSegments bounds the memory that an idle partition keeps.
const keepSegments = 2

func (p *partition) dropPending() {
	clear(p.pending)
	p.pending = p.pending[:0]
	if cap(p.pending) > keepSegments {
		p.pending = nil
	}
}

func (p *partition) write(t *store.Turn, s *segment) {
	s.pack(p.topic.coders, p.topic.config.Load().Compression)
	base := p.tail.next
	p.tail.next += uint64(s.count)
	p.tail.bytes += uint64(len(s.records()))
	p.tail.maxTime = max(p.tail.maxTime, s.maxTime)
	p.tail.retainTime = max(p.tail.retainTime, min(s.maxTime, t.Now().UnixNano()))
	header{
		codec: s.codec, stamped: s.stamped, count: s.count, base: base,
		maxTime: p.tail.maxTime, retainTime: p.tail.retainTime, bytes: p.tail.bytes,
	}.encode(s.buf.b)
	k, v := t.SetDeferred(batchKeyLen, s.len())
	putBatchKey(k, p.topic.id, p.index, p.tail.next-1)
	copy(v, s.buf.b)
	s.buf.free()
	p.topic.retainMore(t, p)
	p.topic.tidyLater(t, p, len(v))
	if s.stones {
		p.untidy.stones = true
		p.topic.armTidy(t, t.Now())
	}
}

// show lets readers see everything below end.
func (p *partition) show(end uint64) {
	p.end.Store(end)
	p.fire()
	for _, c := range p.owned {
		c.wake()
	}
}

// outOfRange reports a bad position.
func (p *partition) outOfRange(offset int64) error {
	if e := p.damage.tail.Load(); e != nil && offset >= e.From { // it may be in range
		return e
	}
	return &OffsetError{
		Topic: p.topic.name, Partition: int(p.index), Offset: offset,
		Start: int64(p.start.Load()), End: int64(p.end.Load()),
	}
}

// drop forgets what is not written yet, because the topic goes.
func (p *partition) drop() {
	for i := range p.pending {
		p.pending[i].buf.free()
	}
	p.dropPending()
	p.fire()
}

// fire wakes those who wait at the end of the partition, or of the topic.
func (p *partition) fire() {
	p.moved.Fire()
	p.topic.tellFollowers()
}
