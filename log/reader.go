package log

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"math"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Reader reads one partition, on its own and at its own pace; it commits
// nothing. It is for one goroutine at a time, needs no closing and holds no
// resource of the store between calls, however long it pauses.
type Reader struct {
	r reader
}

// NewReader returns a reader of a partition that begins at from. An offset below
// the start, unless From.Or says otherwise, or beyond the end is an OffsetError;
// at the end the reader waits for what comes.
func (t *Topic) NewReader(partition int, from From) (*Reader, error) {
	p, err := t.partition(partition)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(from.check(), t.readable()); err != nil {
		return nil, err
	}
	ctx := context.Background()
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	next, err := p.resolve(ctx, from)
	if err != nil {
		return nil, err
	}
	r := &Reader{reader{p: p, next: next, reset: from.reset}}
	if from.kind == fromOffset {
		r.r.skipped = next - uint64(from.offset)
	}
	return r, nil
}

// Until makes the reader stop before a position, which is settled now: Records
// then ends without an error, and Fetch returns no records. With End it replays
// what there is at the moment, with At what comes before the first record that
// is not older. Records do not change, and groups do not notice, so a replay is
// as consistent as a copy; if its records are trimmed meanwhile, it is an
// OffsetError, or what From.Or said. A position out of range is an OffsetError; one
// that the reader has reached already leaves it nothing. A later call replaces
// the bound.
func (r *Reader) Until(to From) error {
	if err := errors.Join(to.check(), r.r.p.topic.readable()); err != nil {
		return err
	}
	until, err := r.r.p.resolve(context.Background(), to)
	if err != nil {
		return err
	}
	if to.kind != fromOffset && until == r.r.p.end.Load() && r.r.p.appendable() != nil {
		until = maxOffset // it lies behind what cannot be read, which is to be an error
	}
	r.r.until, r.r.bounded = until, true
	return nil
}

// Skipped returns how many records the reader has passed over because they were
// trimmed before it came to them, or to get to the end. Without From.Or it is 0.
func (r *Reader) Skipped() int64 { return int64(r.r.skipped) }

// Offset returns the offset of the next record.
func (r *Reader) Offset() int64 { return int64(r.r.next) }

// Records returns the records from the reader's position on, in order, waiting for new ones at
// the end. It ends at Until, or with the error of ctx, ErrClosed, ErrTopicDeleted, or
// ErrFailed once all has been read. It ends with an OffsetError if the position
// was trimmed away (see From.Or). The reader stands behind the last record that was handed out;
// Records may be called again.
//
// What the records refer to is never written again, and is shared with their
// neighbours: see Record.Clone.
func (r *Reader) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := store.CheckContext(ctx); err != nil {
			yield(Record{}, err)
			return
		}
		var rec Record
		for {
			ok, err := r.r.read(ctx, &rec)
			if err == nil && !ok {
				if r.r.done() {
					return
				}
				if err = r.r.wait(ctx); err == nil {
					continue
				}
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// Fetch returns the next records without waiting: at most maxRecords of them,
// and no more than fit into maxBytes of keys, values and headers, but always the
// first. Both are at least 1. At the end it returns none. If an error ends the walk
// after some records, these are returned and the next call returns the error.
func (r *Reader) Fetch(ctx context.Context, maxRecords, maxBytes int) ([]Record, error) {
	if err := store.CheckContext(ctx); err != nil {
		return nil, err
	}
	if maxRecords < 1 || maxBytes < 1 {
		return nil, store.Invalid("Fetch of at most %d records and %d bytes, both at least 1", maxRecords, maxBytes)
	}
	if err := r.r.p.topic.readable(); err != nil {
		return nil, err
	}
	var found []Record
	var rec Record
	for left := maxBytes; len(found) < maxRecords; {
		ok, err := r.r.look(ctx, &rec)
		if err != nil && len(found) == 0 {
			return nil, err
		}
		if err != nil || !ok {
			break
		}
		size, _ := rec.payload()
		if left -= size; left < 0 && len(found) > 0 {
			break
		}
		if found == nil {
			found = make([]Record, 0, min(maxRecords, int(r.r.cur.left)))
		}
		found = append(found, rec)
		r.r.skip()
	}
	return found, nil
}

// reader is the walk itself. It opens an iterator of the engine, copies some
// batches out of it and closes it again: a slow reader pins nothing.
type reader struct {
	p     *partition
	next  uint64 // offset of the next record, unless it is gone
	ahead batches
	cur   cursor
	heads headerRoom

	until   uint64 // where to stop, if bounded
	bounded bool
	reset   Reset
	skipped uint64 // records, by resets
}

// done reports whether the reader has come to where it was to stop.
func (r *reader) done() bool { return r.bounded && r.next >= r.until }

// cursor walks the records of one batch.
type cursor struct {
	rest   []byte
	at     uint64 // offset of the first record in rest
	left   uint32 // records in rest
	sparse bool
	stones bool
	due    int64  // the deadline of the record at hand, if it is a tombstone that has one
	base   uint64 // of a sparse batch
	end    uint64 // of all that the batch stands for

	stamped bool  // time is that of every record
	time    int64 // of the append
}

// newCursor stands before the first record of a batch.
func newCursor(k *coders, h header, last uint64, value []byte) (c cursor, err error) {
	c = cursor{at: h.base, left: h.count, sparse: h.sparse, stones: h.stones, base: h.base, end: last + 1, stamped: h.stamped, time: h.retainTime}
	if c.rest, err = k.unpack(h.codec, value[headerLen:]); err != nil {
		return c, err
	}
	return c, c.locate()
}

// locate reads the offset and the deadline of the record at hand, if the batch is sparse.
func (c *cursor) locate() error {
	if !c.sparse || c.left == 0 {
		return nil
	}
	delta, n := binary.Uvarint(c.rest)
	if n <= 0 || delta >= c.end-c.base || c.base+delta < c.at {
		return errRecord
	}
	c.at, c.rest = c.base+delta, c.rest[n:]
	if !c.stones {
		return nil
	}
	due, n := binary.Uvarint(c.rest)
	if n <= 0 || due > math.MaxInt64 {
		return errRecord
	}
	c.due, c.rest = int64(due), c.rest[n:]
	return nil
}

// body returns the record at hand, encoded.
func (c *cursor) body() (body []byte, err error) {
	if body, _, err = cutRecord(c.rest); err == nil && c.stamped {
		stamp(body, c.time)
	}
	return body, err
}

// drop passes over the record at hand without decoding it.
func (c *cursor) drop() (err error) {
	if _, c.rest, err = cutRecord(c.rest); err != nil {
		return err
	}
	c.at++
	c.left--
	return c.locate()
}

// look decodes the next visible record; ok is false at the end.
func (r *reader) look(ctx context.Context, rec *Record) (ok bool, err error) {
	if err := ctx.Err(); err != nil || r.done() {
		return false, err
	}
	end := r.p.end.Load()
	if r.bounded {
		end = min(end, r.until)
	}
	body, offset, err := r.peek(ctx, end)
	if errors.Is(err, ErrOffsetOutOfRange) && r.reset != None {
		r.restart()
		return r.look(ctx, rec)
	}
	if err != nil || body == nil {
		return false, err
	}
	if err := decodeRecord(body, rec, &r.heads); err != nil {
		return false, r.damaged(offset, r.cur.end, err)
	}
	rec.Partition, rec.Offset = int(r.p.index), int64(offset)
	return true, nil
}

// restart goes on where the reset leads, because the next record was trimmed.
func (r *reader) restart() {
	next := r.p.after(r.reset)
	r.skipped += next - r.next
	r.moveTo(next)
}

// moveTo goes on somewhere else.
func (r *reader) moveTo(next uint64) { r.next, r.cur, r.ahead = next, cursor{}, batches{} }

// read is look, and goes behind the record.
func (r *reader) read(ctx context.Context, rec *Record) (ok bool, err error) {
	if ok, err = r.look(ctx, rec); ok {
		r.skip()
	}
	return ok, err
}

// peek returns the next record below end, encoded, or nil.
func (r *reader) peek(ctx context.Context, end uint64) (body []byte, offset uint64, err error) {
	for {
		for r.cur.left > 0 && r.cur.at < r.next {
			if err := r.drop(); err != nil {
				return nil, 0, err
			}
		}
		if r.cur.left == 0 {
			if r.cur.sparse { // over the gap at its end
				r.next = max(r.next, r.cur.end)
			}
			if ok, err := r.load(ctx, end); !ok || err != nil {
				return nil, 0, err
			}
			continue
		}
		if r.cur.at >= end { // nothing is left from next up to there
			r.next = max(r.next, end)
			return nil, 0, nil
		}
		if body, err = r.cur.body(); err != nil {
			return nil, 0, r.damaged(r.cur.at, r.cur.end, err)
		}
		return body, r.cur.at, nil
	}
}

// drop passes over a record without decoding it.
func (r *reader) drop() error {
	if err := r.cur.drop(); err != nil {
		return r.damaged(r.cur.at, r.cur.end, err)
	}
	return nil
}

// skip goes behind the record that peek or look has returned.
func (r *reader) skip() {
	r.next = r.cur.at + 1
	if err := r.drop(); err != nil {
		r.cur = cursor{} // the next load reads, and reports, it again
	}
}

// load makes the next batch current; ok is false at the end.
func (r *reader) load(ctx context.Context, end uint64) (ok bool, err error) {
	if err := r.p.topic.readable(); err != nil {
		return false, err
	}
	if r.ahead.empty() {
		if ok, err := r.fill(ctx, end); !ok || err != nil {
			return false, err
		}
	}
	b := r.ahead.take()
	h, err := decodeHeader(b.value, b.last)
	if err != nil {
		return false, r.damaged(r.next, b.last+1, err)
	}
	if h.base > r.next {
		return false, r.missing(h.base)
	}
	if r.cur, err = newCursor(r.p.topic.coders, h, b.last, b.value); err != nil {
		return false, r.damaged(r.next, b.last+1, err)
	}
	return true, nil
}

// fill reads batches ahead; ok is false at the end. An error waits until the batches
// before it have been walked.
func (r *reader) fill(ctx context.Context, end uint64) (ok bool, err error) {
	if r.next < r.p.start.Load() {
		return false, r.p.outOfRange(int64(r.next))
	}
	if r.next >= end && end < r.p.end.Load() {
		return false, nil // its own end comes before that of the partition
	}
	if r.next >= end {
		return false, r.p.broken(r.next)
	}
	it, err := r.p.iter(ctx, r.next)
	if err != nil {
		return false, err
	}
	err = errors.Join(r.ahead.fill(it, end), it.Close())
	if !r.ahead.empty() {
		r.p.readable(r.next)
		return true, nil
	}
	if err != nil {
		return false, r.p.damagedAt(ctx, r.next, end, err)
	}
	if err := r.p.topic.s.Cause(); err != nil { // what nobody had synced has gone with the store
		return false, err
	}
	return false, r.missing(end)
}

// missing explains why visible records are not there, up to an offset.
func (r *reader) missing(to uint64) error {
	if err := r.p.topic.alive(); err != nil {
		return err
	}
	if r.next < r.p.start.Load() {
		return r.p.outOfRange(int64(r.next))
	}
	return r.damaged(r.next, to, corrupt("record is missing"))
}

func (r *reader) damaged(from, to uint64, err error) error { return r.p.damaged(from, to, err) }

// wait returns when the partition may have more than the reader has seen.
func (r *reader) wait(ctx context.Context) error {
	moved := r.p.moved.C()
	if r.next < r.p.end.Load() || r.next < r.p.start.Load() {
		return nil
	}
	if err := r.p.topic.readable(); err != nil {
		return err
	}
	select {
	case <-moved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.p.topic.s.Down():
		return r.p.topic.s.Cause()
	}
}
