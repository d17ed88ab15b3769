package store

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A deleted range gives tables back once the memtable that holds it is flushed. The flush is
// forced a second after the range was written, if it is worth it. It is if the ranges of the
// memtable cover enough bytes of tables, or are so many that reads get slow. A flush for every
// range would write a few tiny tables each time, one for each kind of key.
const (
	trimDelay = time.Second
	trimShare = 4   // of a memtable is worth a flush
	trimMost  = 512 // ranges; the engine sorts them at the first read after each new one
)

// trim makes the engine flush a memtable that deletes ranges. The engine has an option
// for that, but would rotate the WAL in a goroutine of its own; see the invariant
// of gap.
type trim struct {
	timer     *time.Timer
	armed     bool
	rotations uint64     // of the WAL when the last range was applied
	count     int        // ranges since then
	unknown   []keyRange // of these, those that are not in dead yet
	dead      uint64     // bytes of tables that the others cover
}

// keyRange holds the keys in [lo, hi).
type keyRange struct{ lo, hi []byte }

func newTrim() trim {
	t := trim{timer: time.NewTimer(trimDelay)}
	t.timer.Stop()
	return t
}

// add notes the deleted ranges of a group that was applied.
func (t *trim) add(ranges []keyRange, rotations uint64) {
	if t.rotations != rotations {
		t.reset()
		t.rotations = rotations
	}
	if t.count += len(ranges); t.count < trimMost {
		t.unknown = append(t.unknown, ranges...)
	}
	if !t.armed {
		t.armed = true
		t.timer.Reset(trimDelay)
	}
}

// reset forgets the ranges, which are no longer in the memtable.
func (t *trim) reset() { t.count, t.unknown, t.dead = 0, nil, 0 }

// flushTrim starts the flush if it is worth it, unless the memtable with the last range
// went already. Only the committer calls it.
func (s *Store) flushTrim(t *trim) (err error) {
	t.armed = false
	if s.failure.Load() != nil || s.gap.rotations() != t.rotations {
		return nil
	}
	defer caught(&err)
	if !s.worthFlush(t) {
		return nil
	}
	t.reset()
	_, err = s.db.AsyncFlush()
	return err
}

// deleteEmpty has the engine delete ranges that are empty. Only the committer calls it.
func (s *Store) deleteEmpty(ranges []keyRange) error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	for _, r := range ranges {
		if err := b.DeleteRange(r.lo, r.hi, nil); err != nil {
			return err
		}
	}
	s.gap.applying()
	err := s.db.Apply(b, pebble.NoSync)
	if err == nil {
		s.gap.published()
	}
	return err
}

func (s *Store) worthFlush(t *trim) bool {
	if t.count >= trimMost {
		return true
	}
	for _, r := range t.unknown {
		n, err := s.db.EstimateDiskUsage(r.lo, r.hi)
		if err != nil {
			return true
		}
		t.dead += n
	}
	t.unknown = t.unknown[:0]
	return t.dead >= uint64(memTableSize(s.opts)/trimShare)
}
