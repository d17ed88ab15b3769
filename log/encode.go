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
	for i := range o.pieces {
		if err := o.pieces[i].p.ready(ctx); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// prepare validates, routes and encodes the records of a call. It touches
// nothing that the baton guards, and needs no context: an Op that finds out in its
// turn that it has to append may prepare and Run there, if the topic is ready.
func (t *Topic) prepare(partition int, records []Record, alloc func(int) *buffer) (*appendOp, error) {
	if err := checkRecords(records, t.config.MaxRecordBytes); err != nil {
		return nil, err
	}
	o := &appendOp{t: t, n: len(records)}
	o.route(partition, records)
	o.encode(records, alloc)
	o.pack()
	return o, nil
}

func checkRecords(records []Record, maxRecord int) error {
	switch {
	case len(records) == 0:
		return store.Invalid("append of no records")
	case len(records) > MaxBatchRecords:
		return store.TooLarge("records of one append", int64(len(records)), MaxBatchRecords)
	}
	sum := 0
	for i := range records {
		n, err := records[i].check(maxRecord)
		if err != nil {
			return &RecordError{Index: i, Err: err}
		}
		if sum += n; sum > MaxBatchBytes && len(records) > 1 {
			return &RecordError{Index: i, Err: store.TooLarge("append in bytes", int64(sum), MaxBatchBytes)}
		}
	}
	return nil
}

// route makes the pieces and notes how much goes into each.
func (o *appendOp) route(partition int, records []Record) {
	if len(o.t.partitions) == 1 {
		partition = 0
	}
	o.pieces = o.one[:0]
	if partition != anyPartition || len(records) == 1 {
		if partition == anyPartition {
			partition = o.t.place(records[0].Key, o.t.sticky)
		}
		o.pieces = o.one[:1]
		c := &o.pieces[0]
		c.p, c.count = &o.t.partitions[partition], uint64(len(records))
		for i := range records {
			c.bytes += records[i].encodedLen()
		}
		c.left = c.bytes
		return
	}
	o.routeEach(records)
}

func (o *appendOp) routeEach(records []Record) {
	t, keyless := o.t, -1
	sticky := func() int {
		if keyless < 0 {
			keyless = t.sticky()
		}
		return keyless
	}
	pieceOf := make([]uint16, len(t.partitions)) // + 1; 0 is none
	o.routes = make([]uint16, len(records))
	for i := range records {
		p := t.place(records[i].Key, sticky)
		if pieceOf[p] == 0 {
			o.pieces = append(o.pieces, piece{p: &t.partitions[p]})
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

// place chooses the partition of a record; sticky does for one without a key.
func (t *Topic) place(key []byte, sticky func() int) int {
	if key == nil {
		return sticky()
	}
	return partitionOf(key, len(t.partitions))
}

// sticky chooses the partition for the keyless records of one call.
func (t *Topic) sticky() int {
	return int((t.turn.Add(1) - 1) % uint32(len(t.partitions)))
}

// encode fills the segments of the pieces. Here the caller's bytes are copied.
func (o *appendOp) encode(records []Record, alloc func(int) *buffer) {
	var now int64
	stamped := o.t.config.TimestampType == AppendTime
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
		c.add(r, nanos, alloc)
	}
}

// pack compresses the segments that are large enough to be batches of their own.
func (o *appendOp) pack() {
	c := o.t.config.Compression
	if c == NoCompression {
		return
	}
	for i := range o.pieces {
		for j := range o.pieces[i].segments {
			if s := &o.pieces[i].segments[j]; len(s.records()) >= packAlone {
				s.pack(c)
			}
		}
	}
}

func (c *piece) add(r *Record, nanos int64, alloc func(int) *buffer) {
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
	c.segments = append(c.segments, newSegment(alloc(headerLen+room)))
	c.segments[len(c.segments)-1].add(r, nanos)
}
