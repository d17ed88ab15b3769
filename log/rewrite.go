package log

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

// rewriter walks stored batches and stores what is to be kept of them in larger
// ones. Each of these replaces the batches that it was made of in one Op, so that
// whoever reads meanwhile, or after a crash, finds either, and every offset in one.
type rewriter struct {
	p      *partition
	config *TopicConfig // that has keep drop records
	// keep says what is kept, and until when: due is the deadline of a tombstone, 0 if it has
	// none yet. If keep is nil everything is kept, and only small batches are merged.
	keep func(due int64, offset uint64, body []byte) (keep bool, until int64)

	sources   int
	firstLast uint64 // key of the first source
	base      uint64
	head      header // of the last source
	last      uint64
	kept      []keptRecord
	size      int // of kept, encoded
	stones    bool
	changed   bool
	gaps      bool    // something was passed over
	buried    []entry // of the index: tombstones that go
}

type keptRecord struct {
	offset uint64
	due    int64
	body   []byte
}

// errMoved says that the partition was trimmed, or the config changed, under a pass.
var errMoved = errors.New("trimmed meanwhile")

// replaced reports that a pass goes by a config that is the topic's no more; nil is none.
func (t *Topic) replaced(c *TopicConfig) bool { return c != nil && c != t.config.Load() }

// run rewrites the batches that lie in [from, to).
func (w *rewriter) run(ctx context.Context, from, to uint64) error {
	for at := from; at < to; {
		var ahead batches
		it, err := w.p.iter(ctx, at)
		if err != nil {
			return err
		}
		it.PassOver(ctx, store.IsDamage)
		if err := errors.Join(ahead.fill(it, to), it.Close()); err != nil {
			return err
		}
		if err := w.passOver(it.Gaps(), to); err != nil {
			return err
		}
		if ahead.empty() {
			break
		}
		for !ahead.empty() {
			b := ahead.take()
			if at = b.last + 1; at > to {
				break
			}
			if err := w.add(ctx, b); err != nil {
				return err
			}
		}
	}
	return w.flush(ctx)
}

// passOver notes what cannot be read. It stays as it is.
func (w *rewriter) passOver(gaps []store.Gap, to uint64) error {
	for _, g := range gaps {
		from, err := decodeBatchKey(g.From)
		if err != nil {
			return err
		}
		end, err := decodeBatchKey(g.To)
		if err != nil {
			end = to // the end of the partition
		}
		w.gaps = true
		_ = w.p.damaged(from, max(min(end, to), from+1), g.Err) // logs it
	}
	return nil
}

// add takes a batch into the target at hand, or begins another.
func (w *rewriter) add(ctx context.Context, b storedBatch) error {
	if w.keep == nil && len(b.value) >= smallBatch {
		return w.flush(ctx)
	}
	h, err := decodeHeader(b.value, b.last)
	var c cursor
	if err == nil {
		c, err = newCursor(w.p.topic.coders, h, b.last, b.value)
	}
	if err != nil { // it stays as it is
		w.gaps = true
		_ = w.p.damaged(min(h.base, b.last), b.last+1, err)
		return w.flush(ctx)
	}
	behindGap := h.base != w.last+1 // which the target must not replace
	if w.sources > 0 && (behindGap || w.size+len(c.rest) > batchTarget) {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	if w.sources == 0 {
		w.firstLast, w.base = b.last, h.base
	}
	w.sources++
	w.head, w.last = h, b.last
	for ; err == nil && c.left > 0; err = c.drop() {
		var body []byte
		if body, err = c.body(); err != nil {
			break
		}
		w.take(&c, body)
	}
	return err
}

func (w *rewriter) take(c *cursor, body []byte) {
	keep, until := true, c.due
	if w.keep != nil {
		keep, until = w.keep(c.due, c.at, body)
	}
	if !keep {
		w.changed = true
		return
	}
	w.stones = w.stones || until != 0
	w.changed = w.changed || until != c.due
	w.kept = append(w.kept, keptRecord{c.at, until, body})
	w.size += uvarintLen(len(body)) + len(body)
}

// flush stores the target, unless it would be what is there.
func (w *rewriter) flush(ctx context.Context) error {
	if w.sources > 1 || w.changed {
		// First, so that no entry is left that points to nothing.
		if err := w.p.topic.unindex(ctx, w.buried); err != nil {
			return err
		}
		o := &replaceOp{p: w.p, firstLast: w.firstLast, last: w.last, value: w.encode(), config: w.config}
		if err := w.p.topic.s.Do(store.WithDurability(ctx, store.NoSync), o, store.NoSync); err != nil {
			return err
		}
	}
	*w = rewriter{p: w.p, config: w.config, keep: w.keep, gaps: w.gaps, kept: w.kept[:0]}
	return nil
}

// encode makes a batch of what is kept; a sparse one if it has gaps, or tombstones with
// deadlines.
func (w *rewriter) encode() []byte {
	h := w.head
	h.base, h.count, h.stones = w.base, uint32(len(w.kept)), w.stones
	h.sparse = w.stones || uint64(len(w.kept)) != w.last-w.base+1
	h.stamped = false // it is in the records now
	v := make([]byte, headerLen, headerLen+w.size+4*len(w.kept))
	for _, r := range w.kept {
		if h.sparse {
			v = binary.AppendUvarint(v, r.offset-w.base)
		}
		if h.stones {
			v = binary.AppendUvarint(v, uint64(r.due))
		}
		v = binary.AppendUvarint(v, uint64(len(r.body)))
		v = append(v, r.body...)
	}
	v, h.codec = w.p.topic.coders.pack(v, headerLen, w.p.topic.config.Load().Compression)
	h.encode(v)
	return v
}

// replaceOp stores a batch in the place of those that it was made of.
type replaceOp struct {
	p         *partition
	firstLast uint64 // key of the first of them
	last      uint64 // key of the last, and of the new one
	value     []byte
	config    *TopicConfig // that has records dropped; nil if none are
}

// Frees lets it in when the disk is nearly full: it makes room, soon.
func (o *replaceOp) Frees() {}

func (o *replaceOp) Run(t *store.Turn) error {
	p := o.p
	if err := p.topic.alive(); err != nil {
		return err
	}
	if o.firstLast < p.cleared || p.topic.replaced(o.config) {
		return errMoved
	}
	if o.firstLast < o.last {
		t.DeleteRange(batchKey(p.topic.id, p.index, o.firstLast), batchKey(p.topic.id, p.index, o.last))
	}
	t.Set(batchKey(p.topic.id, p.index, o.last), o.value)
	return nil
}

func (o *replaceOp) Undo()               {}
func (o *replaceOp) Visible(*store.Turn) {}
