package store

import (
	"slices"
	"time"
)

// SyncBounds are the bounds of SyncBuckets.
var SyncBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	200 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// SyncBuckets counts fsyncs by their duration: those of bucket i took at most SyncBounds[i],
// and longer than the bound before. The last bucket has those that took longer than all.
type SyncBuckets [len(SyncBounds) + 1]uint64

func (b *SyncBuckets) add(took time.Duration) {
	i, _ := slices.BinarySearch(SyncBounds[:], took)
	b[i]++
}
