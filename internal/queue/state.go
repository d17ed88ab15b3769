package queue

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// The state of a segment is one value for all its messages, however many of them are settled
// or delivered in a commit group:
//
//	version 1 B | first 8 B | length 2 B | settled, a bit each | marks
//	mark: gap varint | flags 1 B | count varint | until 8 B | first 8 B | since 8 B | note with its length, a varint
//
// Flag 1 of a mark says that the message is out, flag 2 that it is not, but was when the process
// died, and has not been out since. Flag 4 says that until, first and since are those of the mark
// before, and left out; so those that one call has taken cost few bytes each. Flag 8 says that there
// is a note. A gap is how many messages without a mark are left out.
const (
	markOut     = 1
	markAccused = 2
	markSame    = 4
	markNote    = 8
	marksKnown  = 2*markNote - 1
)

const (
	stateHeadLen = 11
	markLen      = 32 // of most, at most
)

// mark is what is known of the deliveries of a message.
type mark struct {
	out     bool
	accused bool // not out, but was when the process died, and not since
	count   uint32
	until   int64
	first   int64 // delivery, if the layer keeps it
	since   int64 // the latest delivery, if the layer keeps it
	note    string
}

// seqMark is the mark of a message.
type seqMark struct {
	seq uint64
	mark
}

// marks are those of several messages, in order.
type marks []seqMark

// find returns where the mark of a message is, or belongs, and whether there is one.
func (l marks) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(l, seq, func(m seqMark, seq uint64) int { return cmp.Compare(m.seq, seq) })
}

// of returns the mark of a message; none is the zero mark.
func (l marks) of(seq uint64) (m mark) {
	if i, marked := l.find(seq); marked {
		m = l[i].mark
	}
	return m
}

// bitmap is a set of small numbers.
type bitmap []byte

func newBitmap(n int) bitmap { return make(bitmap, (n+7)/8) }

func (b bitmap) has(i int) bool { return b[i/8]&(1<<(i%8)) != 0 }
func (b bitmap) set(i int)      { b[i/8] |= 1 << (i % 8) }
func (b bitmap) clear(i int)    { b[i/8] &^= 1 << (i % 8) }

// firstClear returns the least number that is not in the set.
func (b bitmap) firstClear() int {
	for i, v := range b {
		if v != 0xff {
			return 8*i + bits.TrailingZeros8(^v)
		}
	}
	return 8 * len(b)
}

func (b bitmap) len() (n int) {
	for _, v := range b {
		n += bits.OnesCount8(v)
	}
	return n
}

// segmentState is what the state of a segment says.
type segmentState struct {
	first   uint64
	settled bitmap
	marks   marks
}

// encode returns the value of the state of n messages, settled or not.
func (s *segmentState) encode(n int) []byte {
	v := append(make([]byte, 0, stateHeadLen+len(s.settled)+16*len(s.marks)), version)
	v = binary.BigEndian.AppendUint64(v, s.first)
	v = binary.BigEndian.AppendUint16(v, uint16(n))
	v = append(v, s.settled...)
	next, before := s.first, mark{}
	for _, m := range s.marks {
		v = binary.AppendUvarint(v, m.seq-next)
		v = m.append(v, &before)
		next, before = m.seq+1, m.mark
	}
	return v
}

func (m *mark) append(v []byte, before *mark) []byte {
	flags := byte(0)
	switch {
	case m.out:
		flags = markOut
	case m.accused:
		flags = markAccused
	}
	same := m.until == before.until && m.first == before.first && m.since == before.since
	if same {
		flags |= markSame
	}
	if m.note != "" {
		flags |= markNote
	}
	v = binary.AppendUvarint(append(v, flags), uint64(m.count))
	if !same {
		v = binary.BigEndian.AppendUint64(v, uint64(m.until))
		v = binary.BigEndian.AppendUint64(v, uint64(m.first))
		v = binary.BigEndian.AppendUint64(v, uint64(m.since))
	}
	if m.note != "" {
		v = append(binary.AppendUvarint(v, uint64(len(m.note))), m.note...)
	}
	return v
}

// decodeState reads the state of the segment whose last message has a number.
func decodeState(v []byte, last uint64) (s segmentState, err error) {
	if err := checkVersion("state", v, stateHeadLen); err != nil {
		return s, err
	}
	s.first = binary.BigEndian.Uint64(v[1:])
	n := int(binary.BigEndian.Uint16(v[9:]))
	size := (n + 7) / 8
	if s.first > last || last-s.first >= segmentMessages || uint64(n) != last-s.first+1 || len(v) < stateHeadLen+size {
		return s, damaged("state", v)
	}
	s.settled = slices.Clone(v[stateHeadLen : stateHeadLen+size])
	if n%8 != 0 && s.settled[size-1]>>(n%8) != 0 {
		return s, damaged("state", v)
	}
	rest, next, before := v[stateHeadLen+size:], s.first, mark{}
	for len(rest) > 0 {
		gap, a := binary.Uvarint(rest)
		if a <= 0 || next > last || gap > last-next {
			return s, damaged("state", v)
		}
		m, left, ok := cutMark(rest[a:], &before)
		if !ok {
			return s, damaged("state", v)
		}
		s.marks = append(s.marks, seqMark{next + gap, m})
		rest, before, next = left, m, next+gap+1
	}
	return s, nil
}

func cutMark(v []byte, before *mark) (m mark, rest []byte, ok bool) {
	if len(v) < 2 || v[0] > marksKnown || v[0]&markOut != 0 && v[0]&markAccused != 0 {
		return m, nil, false
	}
	flags := v[0]
	count, n := binary.Uvarint(v[1:])
	if n <= 0 || count > 1<<32-1 {
		return m, nil, false
	}
	v = v[1+n:]
	m = mark{out: flags&markOut != 0, accused: flags&markAccused != 0, count: uint32(count), until: before.until, first: before.first, since: before.since}
	if flags&markSame == 0 {
		if len(v) < 24 {
			return m, nil, false
		}
		m.until = int64(binary.BigEndian.Uint64(v))
		m.first = int64(binary.BigEndian.Uint64(v[8:]))
		m.since = int64(binary.BigEndian.Uint64(v[16:]))
		v = v[24:]
	}
	if flags&markNote != 0 {
		size, n := binary.Uvarint(v)
		if n <= 0 || size == 0 || size > uint64(len(v)-n) {
			return m, nil, false
		}
		m.note, v = string(v[n:n+int(size)]), v[n+int(size):]
	}
	return m, v, true
}
