package queue

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestPositionsAreInTheOrderOfABrowse(t *testing.T) {
	ordered := []Position{{2, 0, 5}, {1, 0, 0}, {1, 0, 9}, {0, 0, 3}, {2, 7, 1}, {0, 6, 9}, {0, 7, 2}, {0, 7, 3}}
	shuffled := slices.Clone(ordered)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, Position.compare)
	require.Equal(t, ordered, shuffled)
}

func TestPositionsAsText(t *testing.T) {
	for text, p := range map[string]Position{"0.0": {}, "3.17": {3, 0, 17}, "255.1@9223372036854775807": {255, math.MaxInt64, 1}} {
		require.Equal(t, text, p.String())
	}
	for _, bad := range []string{"", "1", "1.", ".1", "256.0", "0.-1", "0.1@", "0.1@0", "0.1@-5", "00.1", "0.1 ", "0.18446744073709551615", "0.1@2@3"} {
		_, err := ParsePosition(bad)
		require.ErrorIs(t, err, store.ErrInvalid, bad)
	}
}

func FuzzParsePosition(f *testing.F) {
	f.Add("3.17@5")
	f.Add("0.0")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePosition(s); err == nil {
			require.Equal(t, s, p.String())
		}
	})
}
