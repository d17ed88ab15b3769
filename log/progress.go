package log

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/pebblemq/pebblemq/internal/store"
)

// progress is how far a group is in a partition: whatever is below next is finished, and so is
// what lies in above. Its value never changes. So to go back is to keep the former value, and a
// member may read the value that it began with while others acknowledge.
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

// finish returns the progress with more spans finished, which are in order. It goes
// through what was finished before once, however many they are.
func (p progress) finish(more []span) progress {
	q := progress{next: p.next, metadata: p.metadata, above: make([]span, 0, len(p.above)+len(more))}
	for old := p.above; len(old) > 0 || len(more) > 0; {
		if len(more) == 0 || len(old) > 0 && old[0].lo <= more[0].lo {
			q.add(old[0])
			old = old[1:]
			continue
		}
		q.add(more[0])
		more = more[1:]
	}
	return q
}

// add takes the next span in order into a progress in the making.
func (p *progress) add(s span) {
	switch last := len(p.above) - 1; {
	case s.lo <= p.next:
		p.next = max(p.next, s.hi)
	case last >= 0 && s.lo <= p.above[last].hi:
		p.above[last].hi = max(p.above[last].hi, s.hi)
	default:
		p.above = append(p.above, s)
	}
}

// upTo returns the progress with everything below next finished, too.
func (p progress) upTo(next uint64) progress {
	if next <= p.next {
		return p
	}
	p.next = next
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
