package spool

import (
	"cmp"
	"encoding/binary"
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
	size := segmentHeadLen
	for _, m := range s.items {
		size += 2*binary.MaxVarintLen32 + len(m.data)
	}
	v := append(make([]byte, 0, size), version, 0)
	if s.rewritten {
		v[1] = segmentRewritten
	}
	v = binary.BigEndian.AppendUint64(v, s.first)
	v = binary.BigEndian.AppendUint32(v, uint32(len(s.items)))
	next := s.first
	for _, m := range s.items {
		v = binary.AppendUvarint(v, m.seq-next)
		v = binary.AppendUvarint(v, uint64(len(m.data)))
		next = m.seq + 1
	}
	for _, m := range s.items {
		v = append(v, m.data...)
	}
	return v
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
