package store

import (
	"bytes"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// mostCuts bounds the tables that one flush is split into.
const mostCuts = 16

// cuts says where the engine ends one table and begins the next.
//
// It keeps tables from spanning kinds. Small records that every group writes again would
// otherwise stretch each flushed table over the whole key space, and appends that need never be
// compacted would be, again and again.
//
// It also ends a table where a deleted range ends. A log appends at one end and is trimmed at the
// other, so a flush has newer records and a range far below. One table with both would span all
// that is kept: the engine would rewrite it for each flush, and drop what is dead in between.
//
//	kept          ▪▪▪▪ ▪▪▪▪ ▪▪▪▪ ▪▪▪▪
//	flushed  †───†                    ▪▪▪   two tables that overlap nothing that is kept
//	         †───┴────────────────────▪▪▪   one table that overlaps it all
type cuts struct {
	mu struct {
		sync.Mutex
		ends []keyRange // the newest deleted ranges, the oldest first, each with another start
	}
}

// add notes the deleted ranges of a group that is about to be applied.
func (c *cuts) add(ranges []keyRange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ends = joinRanges(c.mu.ends, ranges, mostCuts)
}

// policy is asked by the engine how to write a table that begins with a key.
//
// The values of older versions, which a view keeps, stay beside their keys: the suffix
// of a key is no version here, and Verify and Salvage read no value blocks.
func (c *cuts) policy(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	policy.DisableValueSeparationBySuffix = true
	if len(start) == 0 {
		return policy, nil, nil
	}
	end = PrefixEnd(start[:1])
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.mu.ends {
		if bytes.Compare(r.hi, start) > 0 && (end == nil || bytes.Compare(r.hi, end) < 0) {
			end = r.hi
		}
	}
	return policy, end, nil
}
