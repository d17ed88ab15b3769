package idempotency

import (
	"context"
	"errors"
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// filter tells of most keys that are new that they are, without a look at the
// engine, whose own filters have to be asked table by table. It is a Bloom filter
// in memory: of a key that is stored it never says so.
//
// Invariant: a filter that is ready holds every key that has a record. Keys are
// added before the operation that stores them is accepted, and none is ever taken
// out: when the filter is full, one is made anew of the keys that are still there.
//
// Those stored before are read from the expiry index, which has an entry for each
// record, by a goroutine beside the baton; until it is through the filter knows
// nothing. All filters of a store share a quarter of its memory, beside the engine. A namespace with
// more keys than fit does without.
type filter struct {
	seed   maphash.Seed
	blooms atomic.Pointer[blooms]
	ready  atomic.Bool
}

const (
	filterShare   = 4 // of the store's memory
	filterBits    = 12
	filterMinKeys = 1024
	filterChunk   = 1 << 13 // keys read with one iterator
)

// filterMemory is what the filters of a store have left, in bytes.
type filterMemory struct{ left atomic.Int64 }

func (m *filterMemory) take(n int64) bool {
	if m.left.Add(-n) >= 0 {
		return true
	}
	m.left.Add(n)
	return false
}

// lacks reports that no record has the key. False means nothing.
func (f *filter) lacks(key []byte) bool {
	if f == nil || !f.ready.Load() {
		return false
	}
	return !f.blooms.Load().has(maphash.Bytes(f.seed, key))
}

// blooms are filters of growing size. One goroutine at a time adds to them.
type blooms []*bloom

func (s blooms) has(h uint64) bool {
	for _, b := range s {
		if b.has(h) {
			return true
		}
	}
	return false
}

// add reports false if there is no memory for the key.
func (s *blooms) add(h uint64, m *filterMemory) bool {
	if n := len(*s); n == 0 || (*s)[n-1].room == 0 {
		keys := filterMinKeys
		if n > 0 {
			keys = 2 * (*s)[n-1].keys
		}
		if !s.grow(keys, m) {
			return false
		}
	}
	(*s)[len(*s)-1].add(h)
	return true
}

func (s *blooms) grow(keys int, m *filterMemory) bool {
	if !m.take(bloomBytes(keys)) {
		return false
	}
	*s = append((*s)[:len(*s):len(*s)], newBloom(keys)) // readers keep what they have
	return true
}

// bloom is a Bloom filter whose bits for a key are all in one line of the
// processor's cache.
type bloom struct {
	words      []atomic.Uint64
	keys, room int
}

const (
	bloomLine   = 8 // words
	bloomProbes = 7
)

func bloomBytes(keys int) int64 { return int64(keys) * filterBits / 8 }

func newBloom(keys int) *bloom {
	lines := (bloomBytes(keys) + 8*bloomLine - 1) / (8 * bloomLine)
	return &bloom{words: make([]atomic.Uint64, lines*bloomLine), keys: keys, room: keys}
}

// line returns the words for a hash, and bits to choose among theirs.
func (b *bloom) line(h uint64) (words []atomic.Uint64, probes uint64) {
	at, _ := bits.Mul64(h, uint64(len(b.words)/bloomLine))
	probes = h * 0x9e3779b97f4a7c15
	return b.words[at*bloomLine:][:bloomLine], probes ^ probes>>32
}

func (b *bloom) add(h uint64) {
	b.room--
	words, p := b.line(h)
	for range bloomProbes {
		words[p>>6&7].Or(1 << (p & 63))
		p >>= 9
	}
}

func (b *bloom) has(h uint64) bool {
	words, p := b.line(h)
	for range bloomProbes {
		if words[p>>6&7].Load()&(1<<(p&63)) == 0 {
			return false
		}
		p >>= 9
	}
	return true
}

// remember adds a key that is about to be stored.
func (n *namespace) remember(t *store.Turn, key []byte) {
	f := n.filter.Load()
	if f == nil {
		return
	}
	if !f.add(key, n.filters) {
		n.dropFilter(f)
		n.makeFilter(t)
		n.remember(t, key)
	}
}

func (f *filter) add(key []byte, m *filterMemory) bool {
	before, h := *f.blooms.Load(), maphash.Bytes(f.seed, key)
	if before.has(h) { // as each key that is completed has, since it was claimed
		return true
	}
	all := before
	if !all.add(h, m) {
		return false
	}
	if len(all) > len(before) {
		f.publish(all)
	}
	return true
}

func (f *filter) publish(all blooms) { f.blooms.Store(&all) }

func (n *namespace) dropFilter(f *filter) {
	n.filter.Store(nil)
	n.giveBack(*f.blooms.Load())
}

func (n *namespace) giveBack(all blooms) {
	for _, b := range all {
		n.filters.left.Add(bloomBytes(b.keys))
	}
}

// makeFilter begins a filter if the keys that are stored fit, with room for as many
// again. It runs under the baton.
func (n *namespace) makeFilter(t *store.Turn) {
	stored := n.meta.records + uint64(len(n.claims))
	if n.filter.Load() != nil || 2*bloomBytes(int(stored)+filterMinKeys) > n.filters.left.Load() {
		return
	}
	f := &filter{seed: maphash.MakeSeed()}
	f.publish(nil)
	n.filter.Store(f)
	if n.meta == (meta{}) { // it is new
		f.ready.Store(true)
		return
	}
	if !t.Spawn(func(ctx context.Context) { n.fill(ctx, f, int(stored)) }) {
		n.filter.Store(nil)
	}
}

// fill adds what was stored before f was begun.
func (n *namespace) fill(ctx context.Context, f *filter, expected int) {
	var all blooms
	err := errFull
	if all.grow(max(expected, filterMinKeys), n.filters) {
		err = n.readKeys(ctx, func(key []byte) bool { return all.add(maphash.Bytes(f.seed, key), n.filters) })
	}
	if err != nil && err != errFull && ctx.Err() == nil {
		n.s.Log().Error("read idempotency keys for their filter", "namespace", n.name, "error", err)
	}
	_ = n.s.Do(ctx, store.QuietFunc(func(*store.Turn) error { // fails only if the store is down
		switch {
		case n.filter.Load() != f: // full meanwhile
			n.giveBack(all)
		case err != nil:
			n.giveBack(all)
			n.dropFilter(f)
		default:
			f.publish(append(all, *f.blooms.Load()...))
			f.ready.Store(true)
		}
		return nil
	}), store.NoSync)
}

// readKeys calls f with each key that has an expiry entry.
func (n *namespace) readKeys(ctx context.Context, f func(key []byte) bool) (err error) {
	lo, hi := store.Span(store.KindIdemExpiry, n.id)
	for err == nil && lo != nil {
		lo, err = n.readSome(ctx, lo, hi, f)
	}
	return err
}

// errFull ends the reading of keys.
var errFull = errors.New("no memory for the filter")

// readSome reads a chunk, and returns where the next one begins or nil.
func (n *namespace) readSome(ctx context.Context, lo, hi []byte, f func(key []byte) bool) (next []byte, err error) {
	it, err := n.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	read := 0
	for ok := it.First(); ok; ok = it.Next() {
		if read++; read > filterChunk {
			return append([]byte(nil), it.Key()...), ctx.Err()
		}
		_, key, err := decodeExpiryKey(it.Key())
		if err != nil {
			return nil, err
		}
		if !f(key) {
			return nil, errFull
		}
	}
	return nil, nil
}
