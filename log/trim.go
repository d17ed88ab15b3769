package log

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// TrimTo makes a position the start of a partition: the records below are gone at once. Their
// space returns in the background within a minute, in pieces of 256 KiB to 4 MiB. End removes all
// records that can be read, and At those before the first one that is not older. An Offset beyond
// the end is an OffsetError and changes nothing; one at or below the start is fine and changes
// nothing either. Groups that are behind the trimmed records continue as their GroupConfig says.
func (t *Topic) TrimTo(ctx context.Context, partition int, to From) error {
	p, err := t.partition(partition)
	if err != nil {
		return err
	}
	if err := to.check(); err != nil {
		return err
	}
	if to.reset != None {
		return store.Invalid("TrimTo %v of topic %q, partition %d: a trim has no Or", to, t.name, partition)
	}
	if err := p.ready(ctx); err != nil {
		return err
	}
	offset := uint64(to.offset)
	if to.kind != fromOffset {
		if offset, err = p.resolve(ctx, to); err != nil {
			return err
		}
	}
	floor, err := p.bytesBelow(ctx, offset)
	if err != nil {
		return err
	}
	return t.s.Do(ctx, &trimOp{p: p, to: offset, floor: floor}, store.Default)
}

// Trimmed batches are deleted by ranges, whose cost is paid at every read nearby
// until the engine has compacted them: a reader that trims behind each record must
// not make a range of each. And the engine drops at once only tables that one range
// covers from their start on, so a range reaches back over those before it, as far
// as tables are likely to.
const (
	trimChunk = 256 << 10 // the least that is trimmed before the engine is told
	trimReach = 64 << 20  // the most that a range covers
	trimShare = 16        // of the range that is the least that a longer one adds
)

// deleteTrimmed has the engine drop the batches below an offset, which have so many
// bytes, if it is time to.
func (p *partition) deleteTrimmed(t *store.Turn, to, floor uint64) {
	least := max(trimChunk, (p.clearedBytes-p.reachBytes)/trimShare)
	if to <= p.cleared || floor < p.clearedBytes+least {
		return
	}
	t.DeleteRange(batchKey(p.topic.id, p.index, p.reach), batchKey(p.topic.id, p.index, to))
	p.cleared, p.clearedBytes = to, floor
	if floor-p.reachBytes >= trimReach {
		p.reach, p.reachBytes = to, floor
	}
}

// trimOp is never part of a transaction.
type trimOp struct {
	p     *partition
	to    uint64
	floor uint64 // bytes of the batches that lie wholly below to

	config *TopicConfig // that asks for it, if one does
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
	if p.topic.replaced(o.config) {
		return errMoved
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
	p.deleteTrimmed(t, min(o.to, p.tail.next-1), o.floor)
	p.start.Store(o.to)
	p.topic.sweepLater(t)
	p.writeStart(t)
	return nil
}

func (o *trimOp) Undo() {}

func (o *trimOp) Visible(*store.Turn) { o.p.fire() }
