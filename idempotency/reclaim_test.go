package idempotency

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/stretchr/testify/require"
)

// A key that is stored while expired ones are being removed, under a clock that
// was set back in between, is removed in its time.
func TestReclaimSparesNobodyWhenTheClockIsSetBack(t *testing.T) {
	between(t, func(k *Namespace, back func(), do func(string)) {
		back()
		do("new")
	}, 2) // the old one answers again
}

func TestAKeyThatRunsAgainWhileItIsBeingReclaimedIsKept(t *testing.T) {
	between(t, func(_ *Namespace, _ func(), do func(string)) { do("old") }, 1)
}

func TestAKeyThatIsForgottenWhileItIsBeingReclaimedCountsOnce(t *testing.T) {
	between(t, func(k *Namespace, _ func(), _ func(string)) {
		require.NoError(t, k.Forget(context.Background(), []byte("old")))
	}, 0)
}

// between runs f after the expired key "old" was found by a removal and before
// it is removed. Then left keys must be counted, and none some hours later.
func between(t *testing.T, f func(k *Namespace, back func(), do func(string)), left uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		bg := context.Background()
		var offset atomic.Int64
		db, err := pebblemq.OpenMemory(&pebblemq.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
		require.NoError(t, err)
		defer db.Close()
		k, err := OpenNamespace(context.Background(), db, "keys", &Config{Expiry: time.Hour})
		require.NoError(t, err)
		do := func(key string) {
			_, err := k.Do(bg, []byte(key), func(context.Context, Claim) ([]byte, error) { return nil, nil }, nil)
			require.NoError(t, err)
		}
		do("old")
		require.NoError(t, k.answer(bg, func() { k.n.reclaim.running = true })) // this test does it
		<-time.After(3 * time.Hour)
		synctest.Wait()
		for op := (&reclaimOp{}); !op.last; {
			op, err = k.n.collect(bg, nil, k.s.Now().UnixNano())
			require.NoError(t, err)
			if f != nil {
				require.Len(t, op.entries, 1)
				f(k, func() { offset.Store(int64(-3 * time.Hour)) }, do)
				f = nil
			}
			require.NoError(t, k.s.Do(bg, op, 0))
		}
		n, err := countOf(k)
		require.NoError(t, err)
		require.Equal(t, left, n)
		for range 8 {
			<-time.After(time.Hour)
			synctest.Wait()
		}
		n, err = countOf(k)
		require.NoError(t, err)
		require.Zero(t, n)
		lo := []byte{0x40}
		it, err := k.s.Iter(bg, lo, []byte{0x42})
		require.NoError(t, err)
		require.False(t, it.First())
		require.NoError(t, it.Close())
	})
}

// countOf returns how many keys have an outcome.
func countOf(k *Namespace) (uint64, error) {
	info, err := k.Info(context.Background())
	return info.Completed, err
}
