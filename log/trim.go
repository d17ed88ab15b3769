package log

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// TrimTo makes offset the start of a partition: the records below are gone at
// once. Their space returns in the background, in pieces of some hundred KiB. An offset beyond the end is an
// OffsetError and changes nothing; one at or below the start is fine and changes
// nothing either. Groups whose committed offset falls below the start get an
// OffsetError when they read on: move them with Group.Seek.
func (t *Topic) TrimTo(ctx context.Context, partition int, offset int64) error {
	p, err := t.partition(partition)
	if err != nil {
		return err
	}
	if offset < 0 {
		return store.Invalid("offset %d is negative", offset)
	}
	if err := p.ready(ctx); err != nil {
		return err
	}
	floor, err := p.bytesBelow(ctx, uint64(offset))
	if err != nil {
		return err
	}
	return t.s.Do(ctx, &trimOp{p: p, to: uint64(offset), floor: floor}, store.Default)
}

// trimChunk is how much is trimmed before the engine is told. It pays for each
// range that is deleted at every read nearby until it has compacted it, so a reader
// that trims behind each record must not make a range of each.
const trimChunk = 256 << 10

// trimOp is never part of a transaction.
type trimOp struct {
	p     *partition
	to    uint64
	floor uint64 // bytes of the batches that lie wholly below to
}

func (o *trimOp) Frees() {}

func (o *trimOp) String() string {
	return fmt.Sprintf("trim topic %q, partition %d to %d", o.p.topic.name, o.p.index, o.to)
}

func (o *trimOp) Run(t *store.Turn) error {
	p := o.p
	if err := p.topic.alive(); err != nil {
		return err
	}
	if o.to > p.end.Load() {
		return p.outOfRange(int64(o.to))
	}
	p.floor = max(p.floor, o.floor)
	if o.to <= p.start.Load() {
		return nil
	}
	p.Seal(t) // so that what is pending lies in the range, too
	// The last batch stays even if all is trimmed: it has the next offset and
	// the running fields.
	if clear := min(o.to, p.tail.next-1); clear > p.cleared && o.floor >= p.clearedBytes+trimChunk {
		t.DeleteRange(batchKey(p.topic.id, p.index, p.cleared), batchKey(p.topic.id, p.index, clear))
		p.cleared, p.clearedBytes = clear, o.floor
	}
	trimmed := o.to - p.start.Load()
	p.start.Store(o.to)
	p.topic.sweepLater(t, trimmed)
	p.writeStart(t)
	return nil
}

func (o *trimOp) Undo() {}

func (o *trimOp) Visible(*store.Turn) { o.p.moved.Fire() }
