package store

import (
	"fmt"
	"time"
)

// trimDelay is how long a deleted range may wait in the memtable. Its space comes
// back when it is flushed.
const trimDelay = time.Second

// trim makes the engine flush a memtable that deletes ranges. The engine has an option
// for that, but would rotate the WAL in a goroutine of its own; see the invariant
// of gap.
type trim struct {
	timer     *time.Timer
	armed     bool
	rotations uint64 // of the WAL when the last range was applied
}

func newTrim() trim {
	t := trim{timer: time.NewTimer(trimDelay)}
	t.timer.Stop()
	return t
}

// arm notes that a group with a deleted range was applied.
func (t *trim) arm(rotations uint64) {
	t.rotations = rotations
	if !t.armed {
		t.armed = true
		t.timer.Reset(trimDelay)
	}
}

// flushTrim starts the flush, unless the memtable with the last range went already.
// Only the committer calls it.
func (s *Store) flushTrim(t *trim) (err error) {
	t.armed = false
	if s.failure.Load() != nil || s.gap.rotations() != t.rotations {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("engine panic: %v", r)
		}
	}()
	_, err = s.db.AsyncFlush()
	return err
}
