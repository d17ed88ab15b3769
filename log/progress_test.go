package log

import (
	"math"
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
				n := rapid.Uint64Range(0, end-1).Draw(t, "offset")
				before := p
				p = p.finish(n)
				for n := range uint64(end) {
					require.Equal(t, finished[n], before.finished(n), "what was is not changed")
				}
				finished[n] = true
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
