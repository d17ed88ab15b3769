package log

import (
	"math"
	"math/bits"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever the times of batches are, a search finds the first that is late enough, with three
// times the looks of a binary search at most.
func TestAnAimFindsAnyTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.OneOf(rapid.Int64(), rapid.Int64Range(0, 100)), 1, 200).Draw(t, "times")
		slices.Sort(times)
		nanos := rapid.OneOf(rapid.SampledFrom(times), rapid.Int64()).Draw(t, "nanos")
		at, lo, hi := &aim{nanos: nanos}, uint64(0), uint64(len(times))
		for lo < hi {
			mid := at.next(lo, hi)
			require.True(t, lo <= mid && mid < hi)
			if h := (header{maxTime: times[mid]}); h.maxTime < nanos {
				lo = mid + 1
				at.below(h)
			} else {
				hi = mid
				at.above(h)
			}
		}
		require.Equal(t, sort.Search(len(times), func(i int) bool { return times[i] >= nanos }), int(hi))
		require.LessOrEqual(t, at.looks, 3*bits.Len(uint(len(times)))+3)
	})
}

// Where times grow evenly, a few looks find one among ten million.
func TestAnAimFindsAnEvenTimeAtOnce(t *testing.T) {
	const batches = 10_000_000
	for _, nanos := range []int64{0, 1, 5_000_000_001, 123_456_789, math.MaxInt64} {
		at, lo, hi := &aim{nanos: nanos}, uint64(0), uint64(batches)
		for lo < hi {
			mid := at.next(lo, hi)
			h := header{maxTime: int64(mid)*1000 + int64(mid%7)*100}
			if h.maxTime < nanos {
				lo = mid + 1
				at.below(h)
			} else {
				hi = mid
				at.above(h)
			}
		}
		require.Less(t, at.looks, 12, "%d", nanos)
	}
}
