package worker_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/worker"
)

// starts returns when the handler was called for each of n messages of k keys, in seconds.
func starts(t *testing.T, n, keys int, change func(*worker.Options[message])) (at map[string][]int) {
	t.Helper()
	at = make(map[string][]int)
	synctest.Test(t, func(t *testing.T) {
		var messages []message
		for i := range n {
			messages = append(messages, message(fmt.Sprintf("k%d/%d", i%keys, i)))
		}
		begin := time.Now()
		o := options(newKernel(), func(_ context.Context, m message) error {
			at[keyOf(m)] = append(at[keyOf(m)], int(time.Since(begin)/time.Second))
			return nil
		}, change)
		require.NoError(t, runFor(time.Hour, o, newFake(messages...)))
	})
	return at
}

func TestARateLimitsAllCalls(t *testing.T) {
	at := starts(t, 6, 1, func(o *worker.Options[message]) { o.Rate = worker.Rate{PerSecond: 0.5} })
	require.Equal(t, []int{0, 2, 4, 6, 8, 10}, at["k0"])
	at = starts(t, 6, 1, func(o *worker.Options[message]) { o.Rate = worker.Rate{PerSecond: 0.5, Burst: 3} })
	require.Equal(t, []int{0, 0, 0, 2, 4, 6}, at["k0"])
}

func TestARatePerKeyLimitsEachOfThem(t *testing.T) {
	at := starts(t, 9, 3, func(o *worker.Options[message]) {
		o.Rate, o.Key, o.InPlace = worker.Rate{PerSecond: 1, PerKey: true}, keyOf, true
	})
	require.Equal(t, map[string][]int{"k0": {0, 1, 2}, "k1": {0, 1, 2}, "k2": {0, 1, 2}}, at)
}

func TestAKeyThatWasQuietIsForgotten(t *testing.T) {
	at := starts(t, 1000, 1000, func(o *worker.Options[message]) {
		o.Rate, o.Key, o.InPlace = worker.Rate{PerSecond: 1000, PerKey: true}, keyOf, true
	})
	require.Len(t, at, 1000)
}

func TestWhatWaitsForTheRateIsGivenBack(t *testing.T) {
	for _, perKey := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake("a/1", "a/2")
			o := options(newKernel(), func(context.Context, message) error { return nil }, func(o *worker.Options[message]) {
				o.Rate, o.Key = worker.Rate{PerSecond: worker.MinRate, PerKey: perKey}, keyOf
			})
			begin := time.Now()
			require.NoError(t, runFor(time.Hour, o, f))
			require.Equal(t, time.Hour, time.Since(begin))
			require.Equal(t, done, f.verdicts("a/1"))
			require.Equal(t, []worker.Verdict{worker.Release}, f.verdicts("a/2"))
		})
	}
}
