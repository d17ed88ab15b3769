package log

import (
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// How much a reader reads at a time.
const (
	readFirst = 64 << 10 // about; twice as much each time
	readAhead = 1 << 20  // up to this
	roomFirst = 1 << 10
	roomMax   = 1 << 20
	roomIdle  = 64 << 10 // what a reader keeps that has reached the end
)

// batches are stored batches that a reader has copied out of the engine and not
// walked yet. Large ones have a buffer of their own, small ones share one; none
// is written twice, because the records that were handed out refer to it.
type batches struct {
	list []storedBatch
	next int
	room []byte // its unused capacity takes further small batches
	want int    // bytes to be read next; who looks for one record needs few
}

type storedBatch struct {
	value []byte
	last  uint64 // offset
}

func (b *batches) empty() bool { return b.next == len(b.list) }

func (b *batches) take() storedBatch {
	s := b.list[b.next]
	b.list[b.next] = storedBatch{}
	b.next++
	return s
}

// fill copies batches from the beginning of it on, until they are enough or hold
// everything below end.
func (b *batches) fill(it *store.Iter, end uint64) error {
	b.list, b.next = b.list[:0], 0
	b.want = min(max(2*b.want, readFirst), readAhead)
	size := 0
	for ok := it.First(); ok && size < b.want; ok = it.Next() {
		last, err := decodeBatchKey(it.Key())
		if err != nil {
			return err
		}
		v, err := it.Value()
		if err != nil {
			return err
		}
		b.list = append(b.list, storedBatch{b.copy(v), last})
		size += len(v)
		if last+1 >= end {
			b.shrink()
			break
		}
	}
	return nil
}

// shrink lets a large buffer go, so that a reader that waits does not hold it.
func (b *batches) shrink() {
	if cap(b.room) > roomIdle {
		b.room = nil
	}
}

func (b *batches) copy(v []byte) []byte {
	if len(v) >= roomMax/2 {
		return slices.Clone(v)
	}
	n := len(b.room)
	if len(v) > cap(b.room)-n {
		b.room = make([]byte, 0, max(len(v), min(2*cap(b.room), roomMax), roomFirst))
		n = 0
	}
	b.room = append(b.room, v...)
	return b.room[n:len(b.room):len(b.room)]
}
