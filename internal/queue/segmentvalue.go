package queue

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// A segment is what one commit group puts into a lane: one value, under the number of
// the last of its messages. What has become of them since stands in its state, see state.go.
//
//	version 1 B | flags 1 B | first 8 B | messages 4 B | gap and length of each | the messages
//
// Flag 1 says that the segment was written anew, without what was settled. A gap is how many
// numbers are left out before a message, because what had them was settled before the group
// was sealed; both it and the length are varints. A message is as Content.encode has it.
//
// Limits of a segment; a single message may be larger.
const (
	segmentMessages = 512
	segmentBytes    = 64 << 10
)

const (
	segmentHeadLen   = 14
	segmentRewritten = 1
)

// item is a message in the value of a segment.
type item struct {
	seq  uint64
	data []byte // as Content.encode has it
}

// segmentValue is what the value of a segment says. Its messages are parts of the value.
type segmentValue struct {
	first     uint64
	rewritten bool
	items     []item
}

// find returns the place of a message among the items.
func (s *segmentValue) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(s.items, seq, func(m item, seq uint64) int { return cmp.Compare(m.seq, seq) })
}

// encode returns the value.
func (s segmentValue) encode() []byte {
	var d draft
	for _, m := range s.items {
		d.add(m.seq, m.data)
	}
	v := make([]byte, d.len(s.first))
	d.encode(v, s.first, s.rewritten)
	return v
}

// draft is a segment that is being written. It is reused.
type draft struct {
	seqs []uint64
	ends []int // of the messages in body
	body []byte
}

// add adds a message as the next.
func (d *draft) add(seq uint64, data []byte) { d.end(seq, append(d.body, data...)) }

// end takes over a body with one more message in it.
func (d *draft) end(seq uint64, body []byte) {
	d.body = body
	d.seqs, d.ends = append(d.seqs, seq), append(d.ends, len(body))
}

// reset empties it, and keeps no more memory than most segments need.
func (d *draft) reset() {
	if d.seqs, d.ends, d.body = d.seqs[:0], d.ends[:0], d.body[:0]; cap(d.body) > 2*segmentBytes {
		d.body = nil
	}
}

// each calls f with the gap before each message, and its length.
func (d *draft) each(first uint64, f func(gap, size uint64)) {
	next, from := first, 0
	for i, seq := range d.seqs {
		f(seq-next, uint64(d.ends[i]-from))
		next, from = seq+1, d.ends[i]
	}
}

// len is the length of the value.
func (d *draft) len(first uint64) int {
	n := segmentHeadLen + len(d.body)
	d.each(first, func(gap, size uint64) { n += varintLen(gap) + varintLen(size) })
	return n
}

func varintLen(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

// encode writes the value to v, which has len.
func (d *draft) encode(v []byte, first uint64, rewritten bool) {
	b := append(v[:0], version, 0)
	if rewritten {
		b[1] = segmentRewritten
	}
	b = binary.BigEndian.AppendUint64(b, first)
	b = binary.BigEndian.AppendUint32(b, uint32(len(d.seqs)))
	d.each(first, func(gap, size uint64) { b = binary.AppendUvarint(binary.AppendUvarint(b, gap), size) })
	copy(v[len(b):], d.body)
}

// decodeSegment reads the value of the segment whose last message has a number. It reuses the room
// of items.
func decodeSegment(v []byte, last uint64, items []item) (s segmentValue, err error) {
	if err := checkVersion("segment", v, segmentHeadLen); err != nil {
		return s, err
	}
	n := int(binary.BigEndian.Uint32(v[10:]))
	s.first, s.rewritten, s.items = binary.BigEndian.Uint64(v[2:]), v[1] == segmentRewritten, items[:0]
	if v[1] > segmentRewritten || s.first > last || last-s.first >= segmentMessages || n == 0 || n > segmentMessages {
		return s, damaged("segment", v)
	}
	rest, next := v[segmentHeadLen:], s.first
	for range n {
		gap, a := binary.Uvarint(rest)
		if a <= 0 || next > last || gap > last-next {
			return s, damaged("segment", v)
		}
		size, b := binary.Uvarint(rest[a:])
		if b <= 0 || size > uint64(len(v)) {
			return s, damaged("segment", v)
		}
		rest = rest[a+b:]
		s.items = append(s.items, item{seq: next + gap, data: v[:size]}) // of that length; cut below
		next += gap + 1
	}
	for i := range s.items {
		size := len(s.items[i].data)
		if size > len(rest) {
			return s, damaged("segment", v)
		}
		s.items[i].data, rest = rest[:size:size], rest[size:]
	}
	if len(rest) > 0 {
		return s, damaged("segment", v)
	}
	return s, nil
}
