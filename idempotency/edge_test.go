package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"
)

// A token that was given out and lost in a crash would be given out again, and would fence
// nothing.
func TestTokensRiseOverACrashUnderNoSync(t *testing.T) {
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	fs := vfs.NewCrashableMem()
	last := uint64(0)
	for round := range 5 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		k := openKeys(t, db, nil)
		var clone *vfs.MemFS
		_, err = k.Do(relaxed, fmt.Append(nil, round), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
			require.Greater(t, c.Token, last)
			last = c.Token
			clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0, RNG: rand.New(rand.NewPCG(1, 1))})
			return nil, nil
		}, nil)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		fs = clone
	}
}

func TestAHandlerThatCallsDoWithItsOwnKeyIsToldSo(t *testing.T) {
	_, k := open(t, nil)
	var runs atomic.Int32
	_, err := k.Do(bg, []byte("a"), func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
		return nil, errors.Join(
			func() error { // another key is fine
				_, err := k.Do(ctx, []byte("b"), func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
					_, err := k.Do(ctx, []byte("a"), returns(&runs, "", nil), nil) // but not the outer one from within it
					require.ErrorIs(t, err, idempotency.ErrInProgress)
					return nil, nil
				}, nil)
				return err
			}(),
			func() error {
				_, err := k.Do(ctx, []byte("a"), returns(&runs, "", nil), nil)
				return err
			}(),
		)
	}, nil)
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	require.Zero(t, runs.Load())
}

// Once that comes second replays what was first, and that is an error if the
// first one failed for good.
func TestOnceReplaysAFinalErrorThatCameInBetween(t *testing.T) {
	_, k := open(t, nil)
	var runs atomic.Int32
	res, err := k.Once(bg, []byte("a"), func(*pebblemq.Tx) ([]byte, error) {
		_, err := k.Do(bg, []byte("a"), returns(&runs, "", idempotency.Final(errors.New("no such account"))), nil)
		require.Error(t, err)
		return []byte("paid"), nil
	}, nil)
	var final *idempotency.FinalError
	require.ErrorAs(t, err, &final)
	require.Equal(t, "no such account", final.Message)
	require.Empty(t, res.Value)
	require.True(t, res.Replayed)
}

func TestANilHandlerIsAnError(t *testing.T) {
	_, k := open(t, nil)
	_, err := k.Do(bg, []byte("a"), nil, nil)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	_, err = k.Once(bg, []byte("a"), nil, nil)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	seen, err := k.Seen(bg, []byte("a"))
	require.NoError(t, err)
	require.False(t, seen)
}

// A key that is completed after the clock went back, while a reclaim is under
// way, is reclaimed in its time like all others.
func TestSpaceComesBackAlsoWhenTheClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shift atomic.Int64
		db := storetest.Open(t, &pebblemq.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }})
		k := openKeys(t, db, &idempotency.Config{Expiry: time.Hour})
		var runs atomic.Int32
		for i := range 1000 {
			_, err := k.Do(bg, fmt.Append(nil, i), returns(&runs, "", nil), nil)
			require.NoError(t, err)
			if i%100 == 0 {
				shift.Add(int64(rand.IntN(40)-20) * int64(time.Minute))
			}
			<-time.After(10 * time.Second)
		}
		<-time.After(24 * time.Hour)
		synctest.Wait()
		n, err := countOf(k)
		require.NoError(t, err)
		require.Zero(t, n)
		for _, kind := range []store.Kind{store.KindIdemRecord, store.KindIdemExpiry} {
			it, err := bridge.Store(db).Iter(bg, []byte{byte(kind)}, []byte{byte(kind) + 1})
			require.NoError(t, err)
			require.False(t, it.First(), "kind %#x", byte(kind))
			require.NoError(t, it.Close())
		}
	})
}
