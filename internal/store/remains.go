package store

import (
	"bytes"
	"slices"
	"time"
)

// remains are deleted ranges whose tables may still be there.
//
// The engine drops the tables that a deleted range covers once, when it meets the range. It
// passes over a table that a compaction is just writing anew, and keeps it until there is so much
// of it that its level is due. So the kernel looks again, and deletes a range that still takes
// much room once more: the engine then meets it again. Only a range that is empty is deleted
// again, so nothing changes for whoever reads.
type remains struct {
	timer  *time.Timer
	armed  bool
	ranges []keyRange // the oldest first, each with another start
	wait   time.Duration
}

// Bounds of looking again. The waits add up to less than a minute.
const (
	remainsDelay = 2 * time.Second
	remainsLast  = 16 * time.Second // the longest wait; whatever is left then waits for more of its kind
	mostRemains  = 64
)

func newRemains() remains {
	r := remains{timer: time.NewTimer(remainsDelay), wait: remainsDelay}
	r.timer.Stop()
	return r
}

// add notes the deleted ranges of a group that was applied.
func (r *remains) add(ranges []keyRange) {
	r.ranges = joinRanges(r.ranges, ranges, mostRemains)
	r.wait = remainsDelay
	if !r.armed {
		r.arm()
	}
}

func (r *remains) arm() {
	r.armed = true
	r.timer.Reset(r.wait)
}

// joinRanges adds ranges to a list of so many at most. Of those with the same start, the last
// one stays.
func joinRanges(list, more []keyRange, most int) []keyRange {
	for _, m := range more {
		list = slices.DeleteFunc(list, func(o keyRange) bool { return bytes.Equal(o.lo, m.lo) })
		list = append(list, m)
	}
	return slices.Delete(list, 0, max(0, len(list)-most))
}

// deleteAgain deletes the ranges that still take room, if that is worth a flush. Only the
// committer calls it: nothing comes between its look at a range and the deletion.
func (r *remains) deleteAgain(s *Store) (err error) {
	r.armed = false
	if s.failure.Load() != nil {
		return nil
	}
	defer caught(&err)
	var left uint64
	r.ranges = slices.DeleteFunc(r.ranges, func(k keyRange) bool {
		n, err := s.db.EstimateDiskUsage(k.lo, k.hi)
		if first, failed := s.engineFirst(k.lo, k.hi); n == 0 || err != nil || failed != nil || first != nil {
			return true
		}
		left += n
		return false
	})
	if left < uint64(memTableSize(s.opts)/trimShare) || r.wait > remainsLast {
		r.ranges = nil
		return nil
	}
	if err := s.deleteEmpty(r.ranges); err != nil {
		return err
	}
	r.wait *= 2
	r.arm()
	_, err = s.db.AsyncFlush()
	return err
}
