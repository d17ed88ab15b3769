package pebblemq_test

import (
	"math"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/stretchr/testify/require"
)

func TestBackoffGrowsUpToItsMaximum(t *testing.T) {
	b, err := pebblemq.Backoff{Min: time.Second, Max: 10 * time.Second, Jitter: pebblemq.NoJitter}.WithDefaults()
	require.NoError(t, err)
	var pauses []time.Duration
	for _, n := range []int{1, 2, 3, 4, 5, 1000, math.MaxInt} {
		pauses = append(pauses, b.Delay(n)/time.Second)
	}
	require.Equal(t, []time.Duration{1, 2, 4, 8, 10, 10, 10}, pauses)

	b, err = pebblemq.Backoff{Min: time.Second, Max: time.Second, Jitter: 0.5}.WithDefaults()
	require.NoError(t, err)
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		least, most = min(least, b.Delay(1)), max(most, b.Delay(1))
	}
	require.Less(t, least, 600*time.Millisecond)
	require.Greater(t, least, 499*time.Millisecond)
	require.Greater(t, most, 900*time.Millisecond)
	require.LessOrEqual(t, most, time.Second)
}

func TestTheZeroBackoffIsTheDefaultOne(t *testing.T) {
	for range 100 {
		d := pebblemq.Backoff{}.Delay(3)
		require.LessOrEqual(t, d, 400*time.Millisecond)
		require.GreaterOrEqual(t, d, 320*time.Millisecond)
	}
	require.Equal(t, 400*time.Millisecond, pebblemq.Backoff{Jitter: pebblemq.NoJitter}.Delay(3))
	require.Zero(t, pebblemq.Backoff{Factor: 0.5}.Delay(3), "a bad one")
}

func TestBackoffDefaults(t *testing.T) {
	b, err := pebblemq.Backoff{}.WithDefaults()
	require.NoError(t, err)
	require.Equal(t, pebblemq.Backoff{Min: 100 * time.Millisecond, Max: time.Minute, Factor: 2, Jitter: 0.2}, b)
	b, err = pebblemq.Backoff{Min: 2 * time.Minute}.WithDefaults()
	require.NoError(t, err)
	require.Equal(t, 2*time.Minute, b.Max)
}

func TestABadBackoffIsRefused(t *testing.T) {
	for name, b := range map[string]pebblemq.Backoff{
		"negative":         {Min: -1},
		"max below min":    {Min: 2, Max: 1},
		"absurd":           {Max: pebblemq.MaxBackoff + 1},
		"shrinking":        {Factor: 0.5},
		"no factor":        {Factor: math.NaN()},
		"infinite factor":  {Factor: math.Inf(1)},
		"jitter over one":  {Jitter: 1.1},
		"jitter below":     {Jitter: -0.5},
		"jitter no number": {Jitter: math.NaN()},
	} {
		_, err := b.WithDefaults()
		require.ErrorIs(t, err, pebblemq.ErrInvalid, name)
	}
}
