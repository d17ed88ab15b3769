package idempotency

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func testAbsent(budget int64) *absent {
	a := &absent{seed: maphash.MakeSeed(), budget: new(atomic.Int64)}
	a.budget.Store(budget)
	return a
}

func numbered(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }

func TestAFilterKnowsEveryKeyAndFewOthers(t *testing.T) {
	const keys = 100_000
	a := testAbsent(1 << 20)
	require.True(t, a.begin(0))
	a.finish((*a.layers.Load())[0])
	for i := range keys {
		require.False(t, a.addKey(numbered(i), uint64(i)), "nothing has gone, so it grows")
	}
	require.Greater(t, len(*a.layers.Load()), 3)
	for i := range keys {
		require.False(t, a.sure(numbered(i)))
	}
	vain := 0
	for i := range keys {
		if !a.sure(numbered(keys + i)) {
			vain++
		}
	}
	require.Less(t, vain, keys/20)
}

func TestAFilterThatIsNotCompleteTellsNothing(t *testing.T) {
	a := testAbsent(1 << 20)
	require.True(t, a.begin(0))
	require.False(t, a.sure([]byte("k")))
	first := (*a.layers.Load())[0]
	require.True(t, a.begin(0))
	a.finish(first)
	require.False(t, a.sure([]byte("k")), "another filter has taken its place")
	a.finish((*a.layers.Load())[0])
	require.True(t, a.sure([]byte("k")))
}

func TestAFilterThatDoesNotFitIsGivenUp(t *testing.T) {
	const budget = 4 << 10
	a := testAbsent(budget)
	require.False(t, a.begin(1<<62))
	require.True(t, a.begin(0))
	a.finish((*a.layers.Load())[0])
	for i := range 10_000 {
		a.addKey(numbered(i), uint64(i))
	}
	require.False(t, a.sure([]byte("k")))
	require.EqualValues(t, budget, a.budget.Load(), "what it took is given back")
}

func TestAFilterOfKeysThatHaveGoneIsMadeAnew(t *testing.T) {
	a := testAbsent(1 << 20)
	require.True(t, a.begin(0))
	full := 0
	for i := range 4 * leastKeys {
		if a.addKey(numbered(i), 1) {
			full++
			a.begin(1)
		}
	}
	require.Positive(t, full)
	require.Len(t, *a.layers.Load(), 2)
}

// Whatever the filter does, the answers are right: keys come, expire and come again,
// the namespace is opened again, and memory is short.
func TestAnswersAreTheSameWithAndWithoutTheFilter(t *testing.T) {
	for name, memory := range map[string]int64{"room": 0, "none": store.MinMemoryBytes} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, fs := pebblemq.WithDurability(context.Background(), pebblemq.NoSync), vfs.NewMem()
				const keys = 3000
				lives := 3
				if testing.Short() {
					lives = 2
				}
				for life := range lives {
					db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: memory})
					require.NoError(t, err)
					k, err := OpenNamespace(context.Background(), db, "n", &Config{Expiry: time.Hour})
					require.NoError(t, err)
					if memory != 0 {
						k.n.absent.budget.Store(0)
					}
					synctest.Wait() // the filter has been made
					require.True(t, memory != 0 || (*k.n.absent.layers.Load())[0].complete.Load())
					for round := range 3 {
						for i := range keys {
							key := fmt.Appendf(nil, "%d", i)
							seen, err := k.Seen(ctx, key)
							require.NoError(t, err)
							require.False(t, seen, "round %d of life %d", round, life)
							r, err := k.Do(ctx, key, func(context.Context, Claim) ([]byte, error) { return key, nil }, nil)
							require.NoError(t, err)
							require.False(t, r.Replayed)
							seen, err = k.Seen(ctx, key)
							require.NoError(t, err)
							require.True(t, seen)
						}
						synctest.Wait()
						<-time.After(3 * time.Hour)
						synctest.Wait()
					}
					require.NoError(t, db.Close())
				}
			})
		})
	}
}

// All keys but the one that fills the filter have expired: a filter that is made
// anew must not forget the key that it is made for.
func TestTheKeyThatFillsAFilterIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := pebblemq.WithDurability(context.Background(), pebblemq.NoSync)
		db := storetest.Open(t, nil)
		k, err := OpenNamespace(context.Background(), db, "n", &Config{Expiry: time.Hour})
		require.NoError(t, err)
		complete := func(i int) {
			require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return k.In(tx).Complete(numbered(i), nil) }))
		}
		last := leastKeys + layersGrowBy*leastKeys - 1
		for i := range last {
			complete(i)
		}
		<-time.After(3 * time.Hour)
		synctest.Wait()
		require.Zero(t, k.n.meta.records)
		complete(last)
		synctest.Wait()
		seen, err := k.Seen(ctx, numbered(last))
		require.NoError(t, err)
		require.True(t, seen)
	})
}

func TestWhoAsksWhileAFilterIsMadeAnewIsToldNothingWrong(t *testing.T) {
	a, key := testAbsent(1<<20), []byte("stored")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100_000 {
			a.begin(0)
			a.addKey(key, 0)
			a.finish((*a.layers.Load())[0])
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
			require.False(t, a.sure(key))
		}
	}
}
