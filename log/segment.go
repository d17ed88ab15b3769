package log

import (
	"math"
	"sync"
)

// batchTarget is the size up to which appends are gathered in one stored batch.
// A single larger record makes a batch of its own.
const batchTarget = 128 << 10

// segment is a stored batch in the making: room for the header, then records.
// It is encoded outside the baton, by the caller of Append, and either becomes
// the partition's open segment as it is or is copied to the end of that.
type segment struct {
	buf     *buffer
	count   uint32
	maxTime int64
	codec   Compression // how the records are compressed already
	stones  bool        // there is a tombstone among the records
	stamped bool        // the records get their time with their offsets
}

func newSegment(buf *buffer, stamped bool) segment {
	buf.b = buf.b[:headerLen]
	return segment{buf: buf, maxTime: math.MinInt64, stamped: stamped}
}

func (s *segment) len() int { return len(s.buf.b) }

func (s *segment) records() []byte { return s.buf.b[headerLen:] }

func (s *segment) add(r *Record, nanos int64) {
	s.buf.b = appendRecord(s.buf.b, r, nanos)
	s.count++
	s.maxTime = max(s.maxTime, nanos)
	s.stones = s.stones || r.Value == nil && r.Key != nil
}

// takes reports whether the records of o may follow in the same batch.
func (s *segment) takes(o *segment) bool {
	return s.codec == NoCompression && o.codec == NoCompression && s.stamped == o.stamped && s.len()+len(o.records()) <= headerLen+batchTarget
}

// absorb copies the records of o, which is given up.
func (s *segment) absorb(o *segment) {
	s.buf = s.buf.grow(len(o.records()))
	s.buf.b = append(s.buf.b, o.records()...)
	s.count += o.count
	s.maxTime = max(s.maxTime, o.maxTime)
	s.stones = s.stones || o.stones
	o.buf.free()
}

// buffer is memory for a segment. The sizes are few and far apart: an open
// segment must not take many times more memory than it holds, as ten thousand
// partitions may have one each.
type buffer struct{ b []byte }

var bufferSizes = [...]int{1 << 10, 16 << 10, headerLen + batchTarget}

var buffers [len(bufferSizes)]sync.Pool

// newBuffer returns an empty buffer with room for n bytes.
func newBuffer(n int) *buffer {
	for i, size := range bufferSizes {
		if n > size {
			continue
		}
		if b, ok := buffers[i].Get().(*buffer); ok {
			return b
		}
		return &buffer{make([]byte, 0, size)}
	}
	return &buffer{make([]byte, 0, n)}
}

// exactBuffer returns one that takes no more memory than it must, for segments
// that wait for the end of a transaction.
func exactBuffer(n int) *buffer { return &buffer{make([]byte, 0, n)} }

// free gives a buffer back for use by others.
func (f *buffer) free() {
	for i, size := range bufferSizes {
		if cap(f.b) == size {
			f.b = f.b[:0]
			buffers[i].Put(f)
			return
		}
	}
}

// grow makes room for n more bytes, if need be in another buffer.
func (f *buffer) grow(n int) *buffer {
	if len(f.b)+n <= cap(f.b) {
		return f
	}
	g := newBuffer(len(f.b) + n)
	g.b = append(g.b[:0], f.b...)
	f.free()
	return g
}
