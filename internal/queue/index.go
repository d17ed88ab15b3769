package queue

import "slices"

// blockSize is how many numbers a block of an index has.
const blockSize = 64

// index finds the segments that are known by the numbers of their messages. Segments do not
// overlap.
//
// Invariant: a segment stands in the block of each of its numbers, in order.
type index struct {
	blocks map[uint64][]*segment
	first  uint64 // no block before this one has a segment; see firstLive
}

func newIndex() index { return index{blocks: make(map[uint64][]*segment)} }

// at returns the segment that has a number, or nil.
func (x *index) at(seq uint64) *segment {
	list := x.blocks[seq/blockSize]
	at, _ := find(list, seq)
	if at == len(list) || list[at].first > seq {
		return nil
	}
	return list[at]
}

// find returns where the segment that has a number is in a list, or belongs.
func find(list []*segment, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(list, seq, func(s *segment, seq uint64) int {
		switch {
		case s.last < seq:
			return -1
		case s.first > seq:
			return 1
		}
		return 0
	})
}

func (x *index) add(s *segment) {
	for b := s.first / blockSize; b <= s.last/blockSize; b++ {
		list := x.blocks[b]
		at, _ := find(list, s.first)
		x.blocks[b] = slices.Insert(list, at, s)
	}
}

func (x *index) remove(s *segment) {
	for b := s.first / blockSize; b <= s.last/blockSize; b++ {
		list := x.blocks[b]
		if len(list) == 1 {
			delete(x.blocks, b)
			continue
		}
		at, _ := find(list, s.first)
		x.blocks[b] = slices.Delete(list, at, at+1)
	}
}

// all returns the segments in order.
func (x *index) all() (list []*segment) {
	blocks := make([]uint64, 0, len(x.blocks))
	for b := range x.blocks {
		blocks = append(blocks, b)
	}
	slices.Sort(blocks)
	for _, b := range blocks {
		for _, s := range x.blocks[b] {
			if s.first/blockSize == b { // not again
				list = append(list, s)
			}
		}
	}
	return list
}

// firstLive returns the number of the first message that is not settled, of those below a bound, or
// the bound. What comes to be known later has no lower one: it was not in memory, and the bound is
// the lowest of that.
func (x *index) firstLive(bound uint64) uint64 {
	if len(x.blocks) == 0 {
		return bound
	}
	for (x.first+1)*blockSize <= bound && len(x.blocks[x.first]) == 0 {
		x.first++
	}
	for b := x.first; b*blockSize < bound; b++ {
		for _, s := range x.blocks[b] {
			if seq := s.firstLive(); seq != none {
				return min(seq, bound)
			}
		}
	}
	return bound
}
