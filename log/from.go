package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// From says where in a partition to begin. The zero value is Start.
type From struct {
	kind   fromKind
	offset int64
	at     time.Time
	reset  Reset
}

type fromKind uint8

const (
	fromStart fromKind = iota
	fromEnd
	fromOffset
	fromTime
	fromShift
)

// Start is the oldest record that is left.
func Start() From { return From{kind: fromStart} }

// End is behind the newest record: only later records follow.
func End() From { return From{kind: fromEnd} }

// Offset is the record with that offset.
func Offset(n int64) From { return From{kind: fromOffset, offset: n} }

// At is the oldest record whose timestamp is not before t, even if timestamps
// are out of order; if there is none, it is End. Topic.OffsetAt tells the
// difference.
func At(t time.Time) From { return From{kind: fromTime, at: t.Round(0).UTC()} } // no monotonic clock: equal times are equal Froms

// Shift is n records on from where a group stands, or back if n is negative. It is
// for Group.Seek only.
func Shift(n int64) From { return From{kind: fromShift, offset: n} }

// Reset says what to do at a position below the start, whose records have been trimmed. A
// position beyond the end is always an error: it has never existed, or a crash has lost NoSync
// records, and a guess would be wrong in both cases.
type Reset uint8

const (
	None     Reset = iota // an OffsetError; the default, unlike Kafka's
	Earliest              // go on at the start
	Latest                // go on at the end
)

// Or returns f with another way to deal with a position below the start. A Reader
// keeps to it as long as it reads, and counts what it passes over
// (Reader.Skipped). A Group keeps to that of its config, and counts as well (Lag.Skipped).
func (f From) Or(r Reset) From {
	f.reset = r
	return f
}

// String returns "start", "end", "offset 42" or "time 2026-01-02T15:04:05Z", with
// "or earliest" or "or latest" behind it.
func (f From) String() string {
	switch f.reset {
	case None:
		return f.position()
	case Earliest:
		return f.position() + " or earliest"
	case Latest:
		return f.position() + " or latest"
	}
	return fmt.Sprintf("%s or Reset(%d)", f.position(), uint8(f.reset))
}

func (f From) position() string {
	switch f.kind {
	case fromEnd:
		return "end"
	case fromOffset:
		return "offset " + strconv.FormatInt(f.offset, 10)
	case fromTime:
		return "time " + f.at.Format(time.RFC3339Nano)
	case fromShift:
		return fmt.Sprintf("shift %+d", f.offset)
	}
	return "start"
}

// MarshalText returns what String returns, and UnmarshalText reads it. A From is stored
// like this.
func (f From) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (f *From) UnmarshalText(text []byte) (err error) {
	position, reset, any := strings.Cut(string(text), " or ")
	var is From
	word, value, _ := strings.Cut(position, " ")
	switch word {
	case "start":
		is = Start()
	case "end":
		is = End()
	case "offset":
		is.kind = fromOffset
		is.offset, err = strconv.ParseInt(value, 10, 64)
	case "time":
		is.kind = fromTime
		is.at, err = time.Parse(time.RFC3339Nano, value)
	}
	if any {
		is.reset = Earliest
		if reset == "latest" {
			is.reset = Latest
		}
	}
	if err != nil || is.String() != string(text) {
		return store.Invalid("%q is no place to begin", text)
	}
	*f = is
	return nil
}

func (f From) check() error {
	if f.kind == fromOffset && f.offset < 0 {
		return store.Invalid("offset %d is negative", f.offset)
	}
	if f.kind == fromShift {
		return store.Invalid("%v is for the Seek of a group", f)
	}
	if f.reset > Latest {
		return store.Invalid("Reset %d is unknown", uint8(f.reset))
	}
	return nil
}

// exact reports that f names a position, which is an error if it is gone; the
// others move on with the start.
func (f From) exact() bool { return f.kind == fromOffset || f.kind == fromShift }

// resolve turns f into an offset of a partition that is ready. An offset that
// is out of range is an error, unless f says what to do below the start.
func (p *partition) resolve(ctx context.Context, f From) (uint64, error) {
	switch f.kind {
	case fromEnd:
		return p.end.Load(), nil
	case fromOffset:
		start := p.start.Load()
		switch n := uint64(f.offset); {
		case n > p.end.Load() || n < start && f.reset == None:
			return 0, p.outOfRange(f.offset)
		case n < start:
			return p.after(f.reset), nil
		default:
			return n, nil
		}
	case fromTime:
		n, _, err := p.offsetAt(ctx, f.at)
		return n, err
	}
	return p.start.Load(), nil
}

// after is where a reset leads.
func (p *partition) after(r Reset) uint64 {
	if r == Latest {
		return p.end.Load()
	}
	return p.start.Load()
}

// OffsetAt returns the smallest offset of a partition whose record has a
// timestamp that is not before at; ok is false if there is none. It is a search over the
// stored batches that reads few of them if times grow with offsets.
func (t *Topic) OffsetAt(ctx context.Context, partition int, at time.Time) (offset int64, ok bool, err error) {
	p, err := t.partition(partition)
	if err != nil {
		return 0, false, err
	}
	if err := t.readableIn(ctx); err != nil {
		return 0, false, err
	}
	if err := p.ready(ctx); err != nil {
		return 0, false, err
	}
	n, ok, err := p.offsetAt(ctx, at)
	if err == nil && !ok {
		err = p.broken(n)
	}
	if err != nil || !ok {
		return 0, false, err
	}
	return int64(n), true, nil
}

// offsetAt returns the end, and false, if no record is late enough.
func (p *partition) offsetAt(ctx context.Context, at time.Time) (n uint64, ok bool, err error) {
	start, end := p.start.Load(), p.end.Load()
	switch {
	case at.After(lastTime):
		return end, false, nil
	case at.Before(firstTime):
		return start, start < end, nil
	}
	nanos := at.UnixNano()
	for {
		n, ok, err = p.findTime(ctx, start, end, nanos)
		if !errors.Is(err, ErrOffsetOutOfRange) {
			return n, ok, err
		}
		start = p.start.Load() // it was trimmed meanwhile
	}
}

// findTime is offsetAt between two offsets.
func (p *partition) findTime(ctx context.Context, start, end uint64, nanos int64) (n uint64, ok bool, err error) {
	if start >= end {
		return start, false, nil
	}
	if n, err = p.searchTime(ctx, start, end, nanos); err != nil {
		return 0, false, err
	}
	// The running maximum may come from a record that was trimmed: look on.
	r := reader{p: p, next: n}
	for {
		body, offset, err := r.peek(ctx, end)
		if err != nil || body == nil {
			return end, false, err
		}
		if recordTime(body) >= nanos {
			return offset, true, nil
		}
		r.skip()
	}
}

// searchTime returns the first offset of the first batch whose running maximum
// is not below nanos, or end.
func (p *partition) searchTime(ctx context.Context, start, end uint64, nanos int64) (uint64, error) {
	first, err := p.searchAim(ctx, start, end, &aim{nanos: nanos}, func(h header) bool { return h.maxTime >= nanos })
	switch {
	case err != nil:
		return 0, fmt.Errorf("log: look up a time in topic %q: %w", p.topic.name, err)
	case first.before != nil: // it may be there
		return 0, fmt.Errorf("log: look up a time: %w", p.damaged(first.gap, first.from(end), first.before))
	case !first.found:
		return end, p.topic.alive()
	}
	return min(max(start, first.base), end), p.topic.alive()
}

// foundBatch is what a search for a batch has found.
type foundBatch struct {
	header
	found  bool
	before error  // why what stands before it cannot be read, if so: then the batch may be there
	gap    uint64 // where that begins
}

// from returns where the batch begins, end if none was found.
func (f *foundBatch) from(end uint64) uint64 {
	if !f.found {
		return end
	}
	return min(f.base, end)
}

// safe returns the offset below which nothing can be the batch that was searched for.
func (f *foundBatch) safe(end uint64) uint64 {
	if f.before != nil {
		return f.gap
	}
	return f.from(end)
}

// searchBatch returns the first batch with records in [lo, hi) that has reached
// something that no batch before it has and all after it have. It passes over batches
// that cannot be read.
func (p *partition) searchBatch(ctx context.Context, lo, hi uint64, reached func(header) bool) (first foundBatch, err error) {
	return p.searchAim(ctx, lo, hi, nil, reached)
}

// searchAim is searchBatch for a time, if it has an aim.
func (p *partition) searchAim(ctx context.Context, lo, hi uint64, at *aim, reached func(header) bool) (first foundBatch, err error) {
	it, err := p.iter(ctx, lo)
	if err != nil {
		return first, err
	}
	it.PassOver(ctx, store.IsDamage)
	defer func() {
		if err == nil {
			first.gap, first.before = p.gapBefore(it, lo)
		}
		err = errors.Join(err, it.Close())
	}()
	for lo < hi {
		mid := at.next(lo, hi)
		if !it.Seek(batchKey(p.topic.id, p.index, mid)) {
			if it.Missed(batchKey(p.topic.id, p.index, mid)) == nil {
				return first, nil // the topic is being deleted or trimmed
			}
			hi = mid
			continue
		}
		h, last, _, err := batchAt(it)
		switch {
		case err != nil:
			return first, err
		case !reached(h):
			lo = last + 1
			at.below(h)
		case h.base <= lo:
			first.header, first.found = h, true
			return first, nil
		default:
			first.header, first.found, hi = h, true, min(mid, h.base) // its base is above mid if what was there is gone
			at.above(h)
		}
	}
	return first, nil
}

// gapBefore returns the place of the batch that ends at an offset or behind it, and why it
// cannot be read, if so.
func (p *partition) gapBefore(it *store.Iter, at uint64) (from uint64, why error) {
	for _, g := range it.Gaps() {
		if key := batchKey(p.topic.id, p.index, at); bytes.Compare(g.From, key) <= 0 && bytes.Compare(key, g.To) < 0 {
			return at, g.Err
		}
	}
	return 0, nil
}
