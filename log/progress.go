package log

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/pebblemq/pebblemq/internal/store"
)

// progress is how far a group is in a partition: whatever is below next is
// finished, and so is what lies in above. It is a value that is never changed, so
// that to go back is to keep the one of before, and a member may read the one that
// it began with while others acknowledge.
//
// Invariant: above is in order; its spans are not empty, do not touch one another
// and do not touch next.
type progress struct {
	next     uint64
	above    []span
	metadata string // of the last commit
}

// span is the offsets in [lo, hi).
type span struct{ lo, hi uint64 }

// MaxGaps is how many unfinished stretches a group may leave behind in a
// partition, below records that were acknowledged.
const MaxGaps = 4096

// MaxMetadataBytes is the longest metadata of a commit.
const MaxMetadataBytes = 4 << 10

// finished reports whether the record at an offset needs no more work.
func (p progress) finished(offset uint64) bool {
	if offset < p.next || len(p.above) == 0 {
		return offset < p.next
	}
	i := p.find(offset)
	return i < len(p.above) && p.above[i].lo <= offset
}

// find returns the first span that ends above an offset.
func (p progress) find(offset uint64) int {
	return sort.Search(len(p.above), func(i int) bool { return p.above[i].hi > offset })
}

// finish returns the progress with one more record finished.
func (p progress) finish(offset uint64) progress {
	if p.finished(offset) {
		return p
	}
	if offset == p.next {
		return p.upTo(offset + 1)
	}
	i := sort.Search(len(p.above), func(i int) bool { return p.above[i].hi >= offset }) // may touch it from below
	above := slices.Clone(p.above)
	switch {
	case i < len(above) && above[i].hi == offset:
		above[i].hi++
		if i+1 < len(above) && above[i+1].lo == above[i].hi {
			above[i].hi = above[i+1].hi
			above = slices.Delete(above, i+1, i+2)
		}
	case i < len(above) && above[i].lo == offset+1:
		above[i].lo = offset
	default:
		above = slices.Insert(above, i, span{offset, offset + 1})
	}
	p.above = above
	return p
}

// upTo returns the progress with everything below next finished, too.
func (p progress) upTo(next uint64) progress {
	p.next = max(p.next, next)
	i := p.find(p.next)
	if p.above = p.above[i:]; len(p.above) > 0 && p.above[0].lo <= p.next {
		p.next, p.above = p.above[0].hi, p.above[1:]
	}
	return p
}

// left returns how many records in [from, end) are not finished.
func (p progress) left(from, end uint64) uint64 {
	from = max(from, p.next)
	if from >= end {
		return 0
	}
	n := end - from
	for _, s := range p.above[p.find(from):] {
		n -= s.hi - max(s.lo, from)
	}
	return n
}

func (p progress) encode() []byte {
	v := make([]byte, 0, 1+8+binary.MaxVarintLen16+len(p.metadata)+len(p.above)*4)
	v = binary.BigEndian.AppendUint64(append(v, commitVersion), p.next)
	v = binary.AppendUvarint(v, uint64(len(p.metadata)))
	v = append(v, p.metadata...)
	at := p.next
	for _, s := range p.above {
		v = binary.AppendUvarint(v, s.lo-at)
		v = binary.AppendUvarint(v, s.hi-s.lo)
		at = s.hi
	}
	return v
}

func decodeProgress(v []byte) (p progress, err error) {
	if len(v) > 0 && v[0] != commitVersion {
		return p, fmt.Errorf("%w: log: commit has version %d", store.ErrFormat, v[0])
	}
	if len(v) < 1+8+1 {
		return p, corrupt("commit %x", v)
	}
	p.next = binary.BigEndian.Uint64(v[1:])
	size, n := minimalUvarint(v[9:])
	rest := v[9+max(n, 0):]
	if n <= 0 || size > uint64(min(len(rest), MaxMetadataBytes)) || p.next > maxOffset {
		return p, corrupt("commit %x", v[:min(len(v), 32)])
	}
	p.metadata, rest = string(rest[:size]), rest[size:]
	for at := p.next; len(rest) > 0; at = p.above[len(p.above)-1].hi {
		gap, n := minimalUvarint(rest)
		length, m := minimalUvarint(rest[max(n, 0):])
		if n <= 0 || m <= 0 || gap == 0 || length == 0 || gap > maxOffset-at || length > maxOffset-at-gap {
			return progress{}, corrupt("commit %x", v[:min(len(v), 32)])
		}
		rest = rest[n+m:]
		p.above = append(p.above, span{at + gap, at + gap + length})
	}
	return p, nil
}

// minimalUvarint refuses a second encoding of the same number.
func minimalUvarint(b []byte) (uint64, int) {
	n, size := binary.Uvarint(b)
	if size > 1 && b[size-1] == 0 {
		return 0, -1
	}
	return n, size
}
