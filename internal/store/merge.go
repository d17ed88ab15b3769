package store

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// change is an entry of a table or WAL: a key that was set or deleted.
type change struct {
	key   []byte
	seq   uint64
	set   bool
	value []byte
}

// compare orders changes by key, and those of one key from the newest on.
func (c *change) compare(d *change) int {
	return cmp.Or(bytes.Compare(c.key, d.key), cmp.Compare(d.seq, c.seq))
}

// changes are read in order from one source.
type changes interface {
	// next returns the next change, nil at the end. It is valid until the following
	// call. An error is one of the context, and never damage.
	next() (*change, error)
	// rank tells which of two sources is newer, if they have changes of the same number.
	rank() uint64
}

// merge brings the changes of all sources together, as the engine would: of each key the
// newest counts, unless a later deletion of a range covers it. Its memory does not depend
// on the size of the sources.
type merge struct {
	sources    mergeHeap
	tombstones []tombstone // by their beginnings
	active     []tombstone // those that reach the key at hand
}

// mergeSource is a source and the change that it stands on.
type mergeSource struct {
	changes
	at *change
}

type mergeHeap []*mergeSource

func (h mergeHeap) Len() int { return len(h) }
func (h mergeHeap) Less(i, j int) bool {
	c := h[i].at.compare(h[j].at)
	return c < 0 || c == 0 && h[i].rank() > h[j].rank()
}
func (h mergeHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *mergeHeap) Push(x any)   { *h = append(*h, x.(*mergeSource)) }

func (h *mergeHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

func newMerge(sources []changes, tombstones []tombstone) (*merge, error) {
	m := &merge{tombstones: slices.Clone(tombstones)}
	slices.SortFunc(m.tombstones, func(a, b tombstone) int { return bytes.Compare(a.lo, b.lo) })
	for _, s := range sources {
		at, err := s.next()
		if err != nil {
			return nil, err
		}
		if at != nil {
			m.sources = append(m.sources, &mergeSource{s, at})
		}
	}
	heap.Init(&m.sources)
	return m, nil
}

// run calls emit with every key that is there, in order, and its value. Both are valid
// during the call.
func (m *merge) run(emit func(key, value []byte) error) error {
	var last []byte
	for first := true; len(m.sources) > 0; first = false {
		s := m.sources[0]
		if first || !bytes.Equal(s.at.key, last) {
			last = append(last[:0], s.at.key...)
			if s.at.set && !m.deleted(s.at) {
				if err := emit(s.at.key, s.at.value); err != nil {
					return err
				}
			}
		}
		at, err := s.next()
		if err != nil {
			return err
		}
		if s.at = at; at == nil {
			heap.Pop(&m.sources)
			continue
		}
		heap.Fix(&m.sources, 0)
	}
	return nil
}

// deleted reports whether a later deletion of a range covers a change.
func (m *merge) deleted(c *change) bool {
	for len(m.tombstones) > 0 && bytes.Compare(m.tombstones[0].lo, c.key) <= 0 {
		m.active, m.tombstones = append(m.active, m.tombstones[0]), m.tombstones[1:]
	}
	m.active = slices.DeleteFunc(m.active, func(t tombstone) bool { return bytes.Compare(t.hi, c.key) <= 0 })
	return slices.ContainsFunc(m.active, func(t tombstone) bool { return t.seq > c.seq })
}

// walChanges are those of all WALs together. They are in memory: the engine had them in
// memory too.
type walChanges struct {
	list       []change
	tombstones []tombstone
	above      uint64 // batches with lower numbers are passed over
}

func (w *walChanges) next() (*change, error) {
	if len(w.list) == 0 {
		return nil, nil
	}
	c := &w.list[0]
	w.list = w.list[1:]
	return c, nil
}

func (w *walChanges) rank() uint64 { return 1<<64 - 1 }

// sort is called once all WALs were read.
func (w *walChanges) sort() {
	slices.SortStableFunc(w.list, func(a, b change) int { return a.compare(&b) })
}

var errBatch = errors.New("malformed batch")

// add takes over a record of a WAL, which is a batch.
func (w *walChanges) add(record []byte) (err error) {
	defer catchDamage(&err)
	h, ok := batchrepr.ReadHeader(record)
	if !ok {
		return errBatch
	}
	seq := uint64(h.SeqNum)
	if seq <= w.above {
		return nil
	}
	record = bytes.Clone(record)
	var list []change
	var tombstones []tombstone
	for r := batchrepr.Read(record); ; {
		kind, key, value, ok, err := r.Next()
		if err != nil {
			return errBatch
		}
		if !ok {
			break
		}
		switch kind {
		case pebble.InternalKeyKindSet:
			list = append(list, change{key: key, seq: seq, set: true, value: value})
		case pebble.InternalKeyKindDelete, pebble.InternalKeyKindSingleDelete, pebble.InternalKeyKindDeleteSized:
			list = append(list, change{key: key, seq: seq})
		case pebble.InternalKeyKindRangeDelete:
			tombstones = append(tombstones, tombstone{key, value, seq})
		case pebble.InternalKeyKindLogData:
			continue // which has no number
		default:
			return errBatch
		}
		seq++
	}
	w.list, w.tombstones = append(w.list, list...), append(w.tombstones, tombstones...)
	return nil
}
