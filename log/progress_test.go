package log

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestProgress holds progress against a plain set of offsets.
func TestProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p progress
		finished := map[uint64]bool{}
		const end = 40
		t.Repeat(map[string]func(*rapid.T){
			"finish": func(t *rapid.T) {
				var more []span
				for range rapid.IntRange(1, 4).Draw(t, "spans") {
					lo := rapid.Uint64Range(0, end-1).Draw(t, "offset")
					more = append(more, span{lo, min(end, lo+rapid.SampledFrom([]uint64{1, 1, 1, 2, 5}).Draw(t, "records"))})
				}
				slices.SortFunc(more, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
				before := p
				p = p.finish(more)
				for n := range uint64(end) {
					require.Equal(t, finished[n], before.finished(n), "what was is not changed")
				}
				for _, s := range more {
					for n := s.lo; n < s.hi; n++ {
						finished[n] = true
					}
				}
			},
			"up to": func(t *rapid.T) {
				n := rapid.Uint64Range(p.next, end).Draw(t, "next")
				p = p.upTo(n)
				for i := range n {
					finished[i] = true
				}
			},
			"": func(t *rapid.T) {
				require.NoError(t, p.checkInvariants(math.MaxInt64))
				from := rapid.Uint64Range(0, end).Draw(t, "from")
				left := uint64(0)
				for n := range uint64(end) {
					require.Equal(t, finished[n], p.finished(n), "%d", n)
					if n >= from && !finished[n] {
						left++
					}
				}
				require.Equal(t, left, p.left(from, end))
				back, err := decodeProgress(p.encode())
				require.NoError(t, err)
				require.Equal(t, p.encode(), back.encode())
			},
		})
	})
}

// All of the store stands still while an acknowledgement is worked in.
func TestManyAcknowledgementsCostAsMuchAsOne(t *testing.T) {
	spans := make([]span, MaxGaps)
	for i := range spans {
		spans[i] = span{uint64(2*i + 1), uint64(2*i + 2)}
	}
	var p progress
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { p = progress{}.finish(spans) }), 1.0)
	require.Len(t, p.above, MaxGaps)
}
