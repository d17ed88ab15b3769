package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Bounds of what bridges are for.
const (
	bridgeStep  = 64 // tables that come to be before the next look
	bridgeRun   = 8  // the fewest tables that a bridge merges
	bridgeShare = 16 // of a memtable is a small table
	bridgeTries = 8  // keys that are tried for a tombstone
)

// bridges make the engine merge small tables. Each flush writes a table for each kind of
// key. Where keys only grow, as in a log, tables do not overlap, and the engine merges
// overlapping ones only. A kind that takes a small share of the writes, or all kinds of
// a store that is opened often, would leave a tiny table for each flush, for ever.
//
// A bridge is two tombstones, of keys that do not exist, at the ends of a run of small
// tables. The table that they are flushed to overlaps the run, so the compaction of
// that table merges the run, and the tombstones end there.
//
//	run of small tables   ▪▪ ▪ ▪▪▪ ▪▪
//	flushed bridge        †─────────†──  (with newer keys)
//	compacted             ■■■■■■■■■■■■■
//
// The obvious way is a manual compaction of the run. The engine does not rewrite its
// last level for that, and rotates the WAL in the caller's goroutine; see the invariant
// of gap. Nothing is flushed for a bridge, and only small tables are rewritten.
type bridges struct {
	cuts cuts // where tables end
	mu   struct {
		sync.Mutex
		grown    int  // tables that came to be since the last look
		building bool // a look is under way
	}
}

// tables counts tables that were written and deleted. The engine holds its lock.
func (b *bridges) tables(written, deleted int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.grown = max(0, b.mu.grown+written-deleted)
}

// count counts those that are there. It takes the lock of the engine's manifest.
func (b *bridges) count(db *pebble.DB) { b.tables(int(db.Metrics().Total().TablesCount), 0) }

// compacted counts the tables of a compaction.
func (b *bridges) compacted(i pebble.CompactionInfo) {
	if i.Err != nil {
		return
	}
	deleted := 0
	for _, l := range i.Input {
		deleted += len(l.Tables)
	}
	b.tables(len(i.Output.Tables), deleted)
}

// begin reports whether it is time for a look, which the caller ends.
func (b *bridges) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.building || b.mu.grown < bridgeStep {
		return false
	}
	b.mu.building, b.mu.grown = true, 0
	return true
}

func (b *bridges) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.building = false
}

// buildBridges starts a look for small tables if it is time. Only the committer calls it.
func (s *Store) buildBridges() {
	if !s.bridges.begin() {
		return
	}
	s.Spawn(func(ctx context.Context) {
		defer s.bridges.end()
		if err := s.bridgeRuns(ctx); err != nil && s.Cause() == nil && !errors.Is(err, ErrDiskFull) {
			s.log.Warn("merge small tables", "error", err)
		}
	})
}

func (s *Store) bridgeRuns(ctx context.Context) error {
	tables, err := s.engineTables(ctx)
	if err != nil {
		return err
	}
	runs := smallRuns(tables, uint64(memTableSize(s.opts)/bridgeShare))
	if len(runs) == 0 {
		return nil
	}
	return s.Do(ctx, OpFunc(func(t *Turn) error {
		for _, r := range runs {
			if err := errors.Join(t.bury(r.lo), t.bury(r.hi)); err != nil {
				return err
			}
		}
		return nil
	}), NoSync)
}

// smallRuns returns the first keys of the first and the last table of each run, which
// lies within a kind.
func smallRuns(tables []pebble.SSTableInfo, small uint64) (runs []keyRange) {
	slices.SortFunc(tables, func(a, b pebble.SSTableInfo) int {
		return bytes.Compare(a.Smallest.UserKey, b.Smallest.UserKey)
	})
	for len(tables) > 0 {
		kind, n := tables[0].Smallest.UserKey[0], 0
		for n < len(tables) && tables[n].Size < small && tables[n].Smallest.UserKey[0] == kind {
			n++
		}
		if n >= bridgeRun {
			runs = append(runs, keyRange{tables[0].Smallest.UserKey, tables[n-1].Smallest.UserKey})
		}
		tables = tables[max(n, 1):]
	}
	return runs
}

// bury writes a tombstone of a key right behind the given one that does not exist.
// The keys of most kinds have a fixed length, so the first try is one.
func (t *Turn) bury(key []byte) error {
	key = bytes.Clone(key)
	for range bridgeTries {
		key = append(key, 0)
		v, err := t.Get(key)
		if err != nil {
			return err
		}
		if v == nil {
			t.Delete(key)
			return nil
		}
	}
	return nil
}
