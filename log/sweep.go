package log

import (
	"bytes"
	"context"
	"errors"

	"github.com/pebblemq/pebblemq/internal/store"
)

const (
	sweepAt    = 64 << 10 // trimmed records, and as many as the half of those that are left
	sweepChunk = 512      // entries of one Op
)

// sweeping is what a topic knows of useless entries of its index. It is under the
// baton.
type sweeping struct {
	background
	least uint64 // of these for a sweep; smaller in tests
}

func newSweeping() sweeping {
	return sweeping{background: background{what: "sweep the index"}, least: sweepAt}
}

// sweepLater is called for each trim, before the partition's start is written: at most
// as many entries are useless as records were trimmed since the last sweep.
func (t *Topic) sweepLater(turn *store.Turn) {
	if !t.config.Load().IndexKeys {
		return
	}
	trimmed, left := uint64(0), uint64(0)
	for _, p := range t.partitions() {
		trimmed += p.start.Load() - p.swept
		left += p.next - p.start.Load()
	}
	if t.sweeping.running || trimmed < max(t.sweeping.least, left/2) {
		return
	}
	for _, p := range t.partitions() {
		p.swept = p.start.Load()
	}
	t.sweeping.start(t, turn, t.sweep, nil)
}

// sweep removes the entries that point to trimmed records.
func (t *Topic) sweep(ctx context.Context) error {
	if err := t.ready(ctx); err != nil {
		return err
	}
	lo, hi := store.Span(store.KindLogIndex, t.id)
	for lo != nil {
		var found []entry
		var err error
		if found, lo, err = t.useless(ctx, lo, hi); err != nil {
			return err
		}
		if err := t.unindex(ctx, found); err != nil {
			return err
		}
	}
	return nil
}

// entry is one of the index, as it was seen.
type entry struct{ key, value []byte }

// useless looks at some entries from lo on, and returns where to go on, nil at the
// end. Iterators are not held for long.
func (t *Topic) useless(ctx context.Context, lo, hi []byte) (found []entry, next []byte, err error) {
	it, err := t.s.Iter(ctx, lo, hi)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	it.PassOver(ctx, store.IsDamage) // entries that cannot be read stay
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n > 16*sweepChunk || len(found) == sweepChunk {
			return found, bytes.Clone(it.Key()), nil
		}
		v, err := it.Value()
		if err != nil {
			return nil, nil, err
		}
		at, err := t.newest(v)
		if err != nil {
			return nil, nil, err
		}
		if at == Nowhere {
			found = append(found, entry{bytes.Clone(it.Key()), bytes.Clone(v)})
		}
	}
	return found, nil, nil
}

// unindex removes entries that are still what they were.
func (t *Topic) unindex(ctx context.Context, entries []entry) error {
	for len(entries) > 0 {
		some := entries[:min(sweepChunk, len(entries))]
		entries = entries[len(some):]
		remove := store.FreeingFunc{OpFunc: func(turn *store.Turn) error {
			if err := t.alive(); err != nil {
				return err
			}
			for _, e := range some {
				v, err := turn.Get(e.key)
				if store.IsDamage(err) {
					continue
				}
				if err != nil {
					return err
				}
				if bytes.Equal(v, e.value) {
					turn.Delete(e.key)
				}
			}
			return nil
		}}
		if err := t.s.Do(store.WithDurability(ctx, store.NoSync), remove, store.NoSync); err != nil {
			return err
		}
	}
	return nil
}
