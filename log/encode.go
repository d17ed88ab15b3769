package log

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// anyPartition leaves the choice to the keys.
const anyPartition = -1

// newAppend is prepare, and brings the partitions into memory that the records
// go to.
func (t *Topic) newAppend(ctx context.Context, partition int, records []Record, alloc func(int) *buffer) (*appendOp, error) {
	if err := t.alive(); err != nil {
		return nil, err
	}
	o, err := t.prepare(partition, records, alloc)
	if err != nil {
		return nil, err
	}
	return o, o.ready(ctx)
}

// prepare validates, routes and encodes the records of a call. It touches
// nothing that the baton guards, and needs no context: an Op that finds out in its
// turn that it has to append may prepare and Run there, if the topic is ready.
func (t *Topic) prepare(partition int, records []Record, alloc func(int) *buffer) (*appendOp, error) {
	if err := t.checkRecords(records); err != nil {
		return nil, err
	}
	return t.encode(partition, records, alloc)
}

// encode is prepare without the limits, for records that have met them before.
func (t *Topic) encode(partition int, records []Record, alloc func(int) *buffer) (*appendOp, error) {
	o := &appendOp{t: t, n: len(records)}
	if err := o.route(partition, records); err != nil {
		return nil, err
	}
	o.index(records)
	o.encode(records, alloc)
	o.pack()
	return o, nil
}

// ready brings the partitions of an append into memory.
func (o *appendOp) ready(ctx context.Context) error {
	for i := range o.pieces {
		if err := o.pieces[i].p.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topic) checkRecords(records []Record) error {
	c := t.config.Load()
	switch {
	case len(records) == 0:
		return store.Invalid("append of no records")
	case len(records) > MaxBatchRecords:
		return store.TooLarge("records of one append", int64(len(records)), MaxBatchRecords)
	}
	sum := 0
	for i := range records {
		n, err := records[i].check(c.MaxRecordBytes)
		if err != nil {
			return &RecordError{Index: i, Err: err}
		}
		if c.Compact && records[i].Key == nil {
			return &RecordError{Index: i, Err: store.Invalid("record has no key, and topic %q is compacted", t.name)}
		}
		if sum += n; sum > MaxBatchBytes && len(records) > 1 {
			return &RecordError{Index: i, Err: store.TooLarge("append in bytes", int64(sum), MaxBatchBytes)}
		}
	}
	return nil
}

// route makes the pieces and notes how much goes into each. The topic may grow at
// any time: what counts is how many partitions it has now.
func (o *appendOp) route(partition int, records []Record) error {
	r := router{t: o.t, list: o.t.partitions(), keyless: anyPartition}
	if len(r.list) == 1 {
		partition = 0
	}
	if partition == anyPartition {
		if err := r.choose(records); err != nil {
			return err
		}
		if len(records) > 1 {
			o.routeEach(&r, records)
			return nil
		}
		partition = r.place(0, &records[0])
	}
	o.pieces = o.one[:1]
	c := &o.pieces[0]
	c.p, c.count = r.list[partition], uint64(len(records))
	for i := range records {
		c.bytes += records[i].encodedLen()
	}
	c.left = c.bytes
	return nil
}

func (o *appendOp) routeEach(r *router, records []Record) {
	o.pieces = o.one[:0]
	pieceOf := make([]uint16, len(r.list)) // + 1; 0 is none
	o.routes = make([]uint16, len(records))
	for i := range records {
		p := r.place(i, &records[i])
		if pieceOf[p] == 0 {
			o.pieces = append(o.pieces, piece{p: r.list[p]})
			pieceOf[p] = uint16(len(o.pieces))
		}
		o.routes[i] = pieceOf[p] - 1
		c := &o.pieces[o.routes[i]]
		c.count++
		c.bytes += records[i].encodedLen()
		c.left = c.bytes
	}
	if len(o.pieces) == 1 {
		o.routes = nil
	}
}

// encode fills the segments of the pieces. Here the caller's bytes are copied.
func (o *appendOp) encode(records []Record, alloc func(int) *buffer) {
	var now int64
	stamped := o.t.config.Load().TimestampType == AppendTime
	for i := range records {
		r := &records[i]
		nanos := now
		if stamped {
			nanos = 0 // the header will say
		} else if !r.Timestamp.IsZero() {
			nanos = r.Timestamp.UnixNano()
		} else if now == 0 {
			now = o.t.s.Now().UnixNano()
			nanos = now
		}
		c := &o.pieces[0]
		if o.routes != nil {
			c = &o.pieces[o.routes[i]]
		}
		c.add(r, nanos, stamped, alloc)
	}
}

// pack compresses the segments that are large enough to be batches of their own.
func (o *appendOp) pack() {
	c := o.t.config.Load().Compression
	if c == NoCompression {
		return
	}
	for i := range o.pieces {
		for j := range o.pieces[i].segments {
			if s := &o.pieces[i].segments[j]; len(s.records()) >= packAlone {
				s.pack(o.t.coders, c)
			}
		}
	}
}

func (c *piece) add(r *Record, nanos int64, stamped bool, alloc func(int) *buffer) {
	size := r.encodedLen()
	left := c.left
	c.left -= size
	if n := len(c.segments); n > 0 && c.segments[n-1].len()+size <= headerLen+batchTarget {
		c.segments[n-1].add(r, nanos)
		return
	}
	if c.segments == nil {
		c.segments = c.one[:0]
	}
	room := max(size, min(left, batchTarget))
	c.segments = append(c.segments, newSegment(alloc(headerLen+room), stamped))
	c.segments[len(c.segments)-1].add(r, nanos)
}
