package idempotency

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// absent is a Bloom filter over the keys of a namespace. It answers "no record" for most new
// keys without a read. Most keys are new, and a read of the engine searches its memtables and
// the filters of several tables, often while all other changes wait.
//
// Added keys are never removed, so a forgotten or expired key costs a lookup. The filter grows
// by layers, each twice as large as all before it. When a layer is full and more than half of
// what was added has gone, or when the namespace is opened, the filter is made anew from the
// disk, beside the baton. Until it has seen everything it tells nothing.
//
// All filters of a store take a quarter of Options.MemoryBytes, which is about 2 M keys
// for the default. A namespace that would need more does without.
//
// Invariant: once complete, every key with a record is in it. Keys are added under the baton,
// where their records are written, so that no visible record is missing.
type absent struct {
	seed   maphash.Seed
	budget *atomic.Int64 // bytes left for the filters of the store

	layers atomic.Pointer[[]*layer] // nil: there is no filter
	added  uint64                   // to the newest layer, or more; under the baton
	total  uint64                   // to all layers; under the baton
}

const (
	blockWords   = 8 // 512 bits: what a key sets lies in one cache line
	keyBits      = 12
	keyProbes    = 6
	leastKeys    = 1024
	filterShare  = 4 // of the store's memory
	filterChunk  = 4096
	blockedBits  = blockWords * 64
	probeBits    = 9 // log2 of blockedBits
	layersGrowBy = 2
)

// layer is a Bloom filter of a fixed size.
type layer struct {
	words []atomic.Uint64
	keys  uint64 // it is made for

	// Of a first layer: it and those that follow have all keys. It is here so that
	// who reads beside the baton cannot take it for that of other layers.
	complete atomic.Bool
}

func newLayer(keys uint64) *layer {
	blocks := (keys*keyBits + blockedBits - 1) / blockedBits
	return &layer{words: make([]atomic.Uint64, blocks*blockWords), keys: keys}
}

func (l *layer) bytes() int64 { return int64(len(l.words)) * 8 }

// block returns the words that a hash belongs to.
func (l *layer) block(hash uint64) []atomic.Uint64 {
	blocks := uint64(len(l.words)) / blockWords
	at := (hash >> 32) * blocks >> 32 * blockWords
	return l.words[at : at+blockWords]
}

// probes calls f with the bits of a hash until it returns false.
func probes(hash uint64, f func(word int, bit uint64) bool) bool {
	h := hash * 0x9e3779b97f4a7c15 // the high bits have chosen the block
	for range keyProbes {
		bit := h >> (64 - probeBits)
		if !f(int(bit/64), 1<<(bit%64)) {
			return false
		}
		h <<= probeBits
	}
	return true
}

func (l *layer) add(hash uint64) {
	b := l.block(hash)
	probes(hash, func(word int, bit uint64) bool {
		b[word].Or(bit)
		return true
	})
}

func (l *layer) has(hash uint64) bool {
	b := l.block(hash)
	return probes(hash, func(word int, bit uint64) bool { return b[word].Load()&bit != 0 })
}

type budgetKey struct{}

func newAbsent(s *store.Store) *absent {
	budget := s.Local(budgetKey{}, func() any {
		b := new(atomic.Int64)
		b.Store(s.MemoryBytes() / filterShare)
		return b
	}).(*atomic.Int64)
	return &absent{seed: maphash.MakeSeed(), budget: budget}
}

// sure reports that a key has no record. It may be called by anyone.
func (a *absent) sure(key []byte) bool {
	layers := a.layers.Load()
	if layers == nil || !(*layers)[0].complete.Load() {
		return false
	}
	hash := maphash.Bytes(a.seed, key)
	for _, l := range *layers {
		if l.has(hash) {
			return false
		}
	}
	return true
}

// begin makes a filter for that many keys, in the place of the one there is, and
// reports whether there is memory for it.
func (a *absent) begin(keys uint64) bool {
	a.drop()
	return a.grow(max(keys, leastKeys))
}

// drop gives the filter up.
func (a *absent) drop() {
	if old := a.layers.Swap(nil); old != nil {
		for _, l := range *old {
			a.budget.Add(l.bytes())
		}
	}
	a.added, a.total = 0, 0
}

// grow adds a layer, or drops all if it does not fit.
func (a *absent) grow(keys uint64) bool {
	if room := a.budget.Load(); keys > uint64(max(room, 0)) { // a key takes more than a byte
		a.drop()
		return false
	}
	l := newLayer(keys)
	if a.budget.Add(-l.bytes()) < 0 {
		a.budget.Add(l.bytes())
		a.drop()
		return false
	}
	var layers []*layer
	if old := a.layers.Load(); old != nil {
		layers = append(layers, *old...)
	}
	layers = append(layers, l)
	a.layers.Store(&layers)
	a.added = 0
	return true
}

// addKey is called for each record that is written. It reports whether the filter is
// full and is to be made anew, for a namespace of so many records.
func (a *absent) addKey(key []byte, records uint64) (full bool) {
	layers := a.layers.Load()
	if layers == nil {
		return false
	}
	newest := (*layers)[len(*layers)-1]
	newest.add(maphash.Bytes(a.seed, key))
	a.added, a.total = a.added+1, a.total+1
	if a.added < newest.keys {
		return false
	}
	if a.total > 2*max(records, leastKeys) {
		return true
	}
	a.grow(layersGrowBy * newest.keys)
	return false
}

// set writes the record of a key.
func (n *keys) set(t *store.Turn, key, value []byte) {
	t.Set(recordKey(n.id, key), value)
	n.cache.drop(key)
	if n.absent.addKey(key, n.meta.records) {
		n.learn(t)
		n.absent.addKey(key, n.meta.records) // learn may have found nothing to read
	}
}

// learn makes the filter from the disk.
func (n *keys) learn(t *store.Turn) {
	records := n.meta.records
	if !n.absent.begin(records + records/4) {
		return
	}
	first := (*n.absent.layers.Load())[0]
	if records == 0 && n.meta.token == 0 {
		first.complete.Store(true)
		return
	}
	t.Spawn(func(ctx context.Context) {
		err := n.addStored(ctx, first)
		if err == nil {
			err = n.s.Do(store.WithDurability(ctx, store.NoSync), store.QuietFunc(func(*store.Turn) error {
				n.absent.finish(first)
				return nil
			}), store.NoSync)
		}
		if err != nil && n.s.Cause() == nil && ctx.Err() == nil {
			n.s.Log().Warn("idempotency keys are looked for on disk", "namespace", n.name, "error", err)
		}
	})
}

// finish lets a filter speak whose first layer has all that was stored when it began,
// if it is still the one in use.
func (a *absent) finish(first *layer) {
	if layers := a.layers.Load(); layers != nil && (*layers)[0] == first {
		first.complete.Store(true)
	}
}

// addStored adds the keys on disk to a layer. Iterators are not held for long.
func (n *keys) addStored(ctx context.Context, to *layer) error {
	lo, hi := store.Span(store.KindIdemRecord, n.id)
	for lo != nil {
		var err error
		if lo, err = n.addChunk(ctx, lo, hi, to); err != nil {
			return err
		}
	}
	return nil
}

// addChunk returns where the next chunk begins, nil at the end.
func (n *keys) addChunk(ctx context.Context, lo, hi []byte, to *layer) (next []byte, err error) {
	it, err := n.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	prefix := len(recordKey(0, nil))
	i := 0
	for ok := it.First(); ok; ok = it.Next() {
		if i++; i > filterChunk {
			return bytes.Clone(it.Key()), nil
		}
		to.add(maphash.Bytes(n.absent.seed, it.Key()[prefix:]))
	}
	return nil, nil
}
