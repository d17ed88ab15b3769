package idempotency_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"
)

func TestAClaimThatCannotBeWrittenRunsNothing(t *testing.T) {
	if !inChild(t) {
		return
	}
	fs := storetest.NewFS(vfs.NewCrashableMem())
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	k := openKeys(t, db, nil)
	fs.SetHook((&storetest.Fault{Class: storetest.ClassWAL, Op: storetest.OpSync, N: 1, Forever: true}).Hook)
	var runs atomic.Int32
	_, err = k.Do(bg, []byte("k"), returns(&runs, "", nil), nil)
	require.ErrorIs(t, err, pebblemq.ErrFailed)
	require.NotErrorIs(t, err, idempotency.ErrNotStored)
	require.Zero(t, runs.Load())
	require.ErrorIs(t, db.Close(), pebblemq.ErrFailed)
}

func TestAResultThatCannotBeStoredSaysThatTheEffectMayHaveHappened(t *testing.T) {
	if !inChild(t) {
		return
	}
	base := vfs.NewCrashableMem()
	fs := storetest.NewFS(base)
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	k := openKeys(t, db, nil)
	var left *vfs.MemFS
	_, err = k.Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
		left = base.CrashClone(vfs.CrashCloneCfg{})
		fs.SetHook((&storetest.Fault{Class: storetest.ClassWAL, Op: storetest.OpSync, N: 1, Forever: true}).Hook)
		return []byte("v"), nil
	}, nil)
	require.ErrorIs(t, err, idempotency.ErrNotStored)
	require.ErrorIs(t, err, pebblemq.ErrFailed)
	_, _, err = k.Find(bg, []byte("k"))
	require.ErrorIs(t, err, pebblemq.ErrFailed, "nothing is answered from what may be gone")
	require.ErrorIs(t, db.Close(), pebblemq.ErrFailed)

	db, err = storetest.OpenFS(left, store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	_, err = openKeys(t, db, nil).Do(bg, []byte("k"), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
		require.True(t, c.Interrupted)
		return nil, nil
	}, nil)
	require.NoError(t, err)
}

// A caller that is gone does not wait for ever for a disk that is silent, and its
// result is there when the disk answers again.
func TestADiskThatIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		gate := storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		defer storetest.Close(t, db)
		k := openKeys(t, db, nil)
		fs.SetHook(gate.Hook)
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		_, err = k.Do(ctx, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
			gate.Shut()
			return []byte("v"), nil
		}, nil)
		require.ErrorIs(t, err, idempotency.ErrNotStored)
		require.ErrorIs(t, err, pebblemq.ErrUnknownOutcome)
		gate.Open()
		res, ok, err := k.Find(bg, []byte("k"))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "v", string(res.Value))
	})
}
