package idempotency_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
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

var nosync = pebblemq.WithDurability(bg, pebblemq.NoSync)

func TestADoInsideItsOwnHandlerIsRefused(t *testing.T) {
	_, k := open(t, nil)
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	var runs atomic.Int32
	_, err := k.Do(ctx, []byte("outer"), func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
		_, err := k.Do(ctx, []byte("inner"), func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
			_, err := k.Do(ctx, []byte("outer"), returns(&runs, "", nil), nil)
			return nil, err
		}, nil)
		return nil, err
	}, nil)
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	require.Zero(t, runs.Load())
}

func TestANilHandlerIsRefused(t *testing.T) {
	_, k := open(t, nil)
	_, err := k.Do(bg, []byte("k"), nil, nil)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	_, err = k.Once(bg, []byte("k"), nil, nil)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}

// A caller that prefers NoSync gives up the result, not the fence.
func TestAClaimIsOnDiskBeforeItsHandlerRunsWhateverTheCallerPrefers(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{SyncInterval: time.Minute})
	require.NoError(t, err)
	var crashed *vfs.MemFS
	first, err := openKeys(t, db, nil).Do(nosync, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
		crashed = fs.CrashClone(vfs.CrashCloneCfg{})
		return nil, nil
	}, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	db, err = storetest.OpenFS(crashed, store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	var runs atomic.Int32
	second, err := openKeys(t, db, nil).Do(bg, []byte("k"), returns(&runs, "", nil), nil)
	require.NoError(t, err)
	require.Greater(t, second.Token, first.Token)
}

// A caller that was told that a key is done may rely on it for good.
func TestWhatALookupAnswersSurvivesACrash(t *testing.T) {
	for name, look := range map[string]func(*idempotency.Namespace) (bool, error){
		"Do": func(k *idempotency.Namespace) (bool, error) {
			var runs atomic.Int32
			res, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), nil)
			return res.Replayed, err
		},
		"Once": func(k *idempotency.Namespace) (bool, error) {
			res, err := k.Once(nosync, []byte("k"), func(*pebblemq.Tx) ([]byte, error) { return nil, nil }, nil)
			return res.Replayed, err
		},
		"Seen": func(k *idempotency.Namespace) (bool, error) { return k.Seen(nosync, []byte("k")) },
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			db, err := storetest.OpenFS(fs, store.Options{SyncInterval: time.Minute})
			require.NoError(t, err)
			k := openKeys(t, db, nil)
			var runs atomic.Int32
			_, err = k.Do(nosync, []byte("k"), returns(&runs, "v", nil), nil)
			require.NoError(t, err)
			done, err := look(k)
			require.NoError(t, err)
			require.True(t, done)
			seen, err := openKeys(t, afterCrash(t, fs, db), nil).Seen(bg, []byte("k"))
			require.NoError(t, err)
			require.True(t, seen)
		})
	}
}

func TestAHandlerDoesNotBeginForACallerThatIsGone(t *testing.T) {
	fs := storetest.NewFS(vfs.NewCrashableMem())
	gate := storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	k := openKeys(t, db, nil)
	fs.SetHook(gate.Hook)
	gate.Shut()
	ctx, cancel := context.WithCancel(bg)
	var runs atomic.Int32
	done := make(chan error)
	go func() {
		_, err := k.Do(ctx, []byte("k"), returns(&runs, "", nil), nil)
		done <- err
	}()
	for gate.Held() == 0 {
		runtime.Gosched()
	}
	cancel()
	gate.Open()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Zero(t, runs.Load())
	_, err = k.Do(bg, []byte("k"), returns(&runs, "", nil), nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, runs.Load(), "the key is free")
}

// fullDisk runs f with a function that leaves no room at all on the disk.
func fullDisk(t *testing.T, f func(t *testing.T, k *idempotency.Namespace, fill func(reserve int), heal func())) {
	synctest.Test(t, func(t *testing.T) {
		fs, quota := storetest.NewFS(vfs.NewCrashableMem()), storetest.NewQuota(1<<30, false)
		fs.SetHook(quota.Hook)
		fs.Usage = quota.Usage
		db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
		require.NoError(t, err)
		defer storetest.Close(t, db)
		fill := func(room int) {
			quota.Resize(quota.Used() + room)
			for {
				err := db.Update(nosync, func(tx *pebblemq.Tx) error { return tx.Set([]byte("big"), make([]byte, 64<<10)) })
				if errors.Is(err, pebblemq.ErrDiskFull) {
					return
				}
				require.NoError(t, err)
			}
		}
		heal := func() {
			quota.Resize(1 << 30)
			<-time.After(time.Second)
		}
		f(t, openKeys(t, db, nil), fill, heal)
	})
}

const halfReserve = 12 << 20 // of a small store, and some

func TestWhatIsDoneIsReplayedOnAFullDisk(t *testing.T) {
	fullDisk(t, func(t *testing.T, k *idempotency.Namespace, fill func(int), _ func()) {
		var runs atomic.Int32
		_, err := k.Do(bg, []byte("k"), returns(&runs, "v", nil), nil)
		require.NoError(t, err)
		fill(halfReserve)
		res, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), nil)
		require.NoError(t, err)
		require.True(t, res.Replayed)
		_, err = k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{Fingerprint: []byte("x")})
		require.ErrorIs(t, err, idempotency.ErrMismatch)
		res, err = k.Once(bg, []byte("k"), func(*pebblemq.Tx) ([]byte, error) { return nil, nil }, nil)
		require.NoError(t, err)
		require.True(t, res.Replayed)
		n, err := countOf(k)
		require.NoError(t, err)
		require.EqualValues(t, 1, n)
		_, err = k.Do(bg, []byte("new"), returns(&runs, "v", nil), nil)
		require.ErrorIs(t, err, pebblemq.ErrDiskFull, "a new key is refused before its handler runs")
		require.EqualValues(t, 1, runs.Load())
	})
}

func TestAResultIsStoredOnADiskThatFillsUpMeanwhile(t *testing.T) {
	fullDisk(t, func(t *testing.T, k *idempotency.Namespace, fill func(int), _ func()) {
		_, err := k.Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
			fill(halfReserve)
			return []byte("v"), nil
		}, nil)
		require.NoError(t, err, "the reserve is for what has happened already")
		seen, err := k.Seen(bg, []byte("k"))
		require.NoError(t, err)
		require.True(t, seen)
	})
}

func TestAKeyThatCouldNotBeFreedOnAFullDiskIsFree(t *testing.T) {
	no := errors.New("no")
	for name, end := range map[string]struct {
		value []byte
		err   error
		want  error
	}{
		"after an error":             {nil, no, no},
		"after a result, not stored": {[]byte("v"), nil, idempotency.ErrNotStored},
	} {
		t.Run(name, func(t *testing.T) {
			fullDisk(t, func(t *testing.T, k *idempotency.Namespace, fill func(int), heal func()) {
				_, err := k.Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
					fill(0)
					return end.value, end.err
				}, nil)
				require.ErrorIs(t, err, end.want)
				heal()
				ctx, cancel := context.WithTimeout(bg, time.Hour)
				defer cancel()
				var runs atomic.Int32
				_, err = k.Do(ctx, []byte("k"), returns(&runs, "", nil), nil)
				require.NoError(t, err)
				require.EqualValues(t, 1, runs.Load())
			})
		})
	}
}

func TestOnceAnswersWhatIsStored(t *testing.T) {
	_, k := open(t, nil)
	key := []byte("k")
	t.Run("a final error that came first", func(t *testing.T) {
		_, err := k.Once(bg, key, func(*pebblemq.Tx) ([]byte, error) {
			var runs atomic.Int32
			_, err := k.Do(bg, key, returns(&runs, "", idempotency.Final(errors.New("closed"))), nil)
			require.Error(t, err)
			return []byte("v"), nil
		}, nil)
		var final *idempotency.FinalError
		require.ErrorAs(t, err, &final)
	})
	t.Run("nothing, if its function completed the key itself", func(t *testing.T) {
		res, err := k.Once(bg, []byte("twice"), func(tx *pebblemq.Tx) ([]byte, error) {
			return []byte("outer"), k.In(tx).Complete([]byte("twice"), []byte("inner"))
		}, nil)
		require.ErrorIs(t, err, idempotency.ErrDuplicate)
		require.Equal(t, idempotency.Result{}, res)
		seen, err := k.Seen(bg, []byte("twice"))
		require.NoError(t, err)
		require.False(t, seen)
	})
	t.Run("nothing, with an error", func(t *testing.T) {
		no := errors.New("no")
		res, err := k.Once(bg, []byte("err"), func(*pebblemq.Tx) ([]byte, error) { return []byte("v"), no }, nil)
		require.ErrorIs(t, err, no)
		require.Equal(t, idempotency.Result{}, res)
	})
}

func TestAFinalErrorIsTheSameTheSecondTime(t *testing.T) {
	_, k := open(t, nil)
	h := func(context.Context, idempotency.Claim) ([]byte, error) {
		return []byte("beside"), fmt.Errorf("charge 7: %w", idempotency.Final(errors.New("account closed")))
	}
	first, err := k.Do(bg, []byte("k"), h, nil)
	require.EqualError(t, err, "charge 7: account closed")
	second, err := k.Do(bg, []byte("k"), h, nil)
	require.EqualError(t, err, "charge 7: account closed")
	require.Equal(t, first.Value, second.Value)
	require.True(t, second.Replayed)
}

func TestKeyOfRefusesTextThatItCannotTellApart(t *testing.T) {
	for _, v := range []any{"a\xff", map[string]any{"id": "\xfe"}, map[string]int{"\xff": 1}} {
		_, err := idempotency.KeyOf(v)
		require.ErrorIs(t, err, pebblemq.ErrInvalid, "%q", v)
	}
	for _, v := range []any{"\ufffd", `\ufffd`, `\\ufffd`, "\\\ufffd"} {
		_, err := idempotency.KeyOf(v)
		require.NoError(t, err, "%q", v)
	}
}

func TestKeyOfNothingIsNoKey(t *testing.T) {
	for _, v := range []any{nil, "", []int{}, map[string]any{}, map[string]any{"id": nil}, []any{nil}, (*int)(nil)} {
		_, err := idempotency.KeyOf(v)
		require.ErrorIs(t, err, idempotency.ErrNoKey, "%#v", v)
	}
	seen := map[string]any{}
	for _, v := range []any{0, false, map[string]any{"id": 0}, []any{nil, 1}, "0"} {
		key, err := idempotency.KeyOf(v)
		require.NoError(t, err)
		require.NotContains(t, seen, string(key))
		seen[string(key)] = v
	}
}

func TestHandlersThatDiedWithTheirProcessLeaveNothingForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		o := store.Options{}
		db, err := storetest.OpenFS(fs, o)
		require.NoError(t, err)
		c := &idempotency.Config{Expiry: time.Hour}
		var crashed *vfs.MemFS
		_, err = openKeys(t, db, c).Do(bg, bytes.Repeat([]byte("needle"), 10), func(context.Context, idempotency.Claim) ([]byte, error) {
			crashed = fs.CrashClone(vfs.CrashCloneCfg{})
			return nil, nil
		}, nil)
		require.NoError(t, err)
		require.NoError(t, db.Close())

		o.FS, o.Dir = crashed, "data"
		s, err := store.Open(o)
		require.NoError(t, err)
		require.Equal(t, 1, keysOnDisk(t, s, store.KindIdemRecord))
		db = wrap(s)
		defer storetest.Close(t, db)
		openKeys(t, db, c)
		<-time.After(3 * time.Hour)
		synctest.Wait()
		require.Zero(t, keysOnDisk(t, s, store.KindIdemRecord))
		require.Zero(t, keysOnDisk(t, s, store.KindIdemExpiry))
	})
}

func keysOnDisk(t *testing.T, s *store.Store, kind store.Kind) (n int) {
	t.Helper()
	lo := []byte{byte(kind)}
	it, err := s.Iter(bg, lo, store.PrefixEnd(lo))
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}

// A key that was freed or forgotten with NoSync, and then forgotten with Sync, does not come
// back.
func TestAKeyThatIsForgottenStaysForgotten(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{SyncInterval: time.Minute})
	require.NoError(t, err)
	k := openKeys(t, db, nil)
	var runs atomic.Int32
	_, err = k.Do(bg, []byte("freed"), returns(&runs, "", errors.New("no")), nil)
	require.Error(t, err)
	_, err = k.Do(bg, []byte("forgotten"), returns(&runs, "", nil), nil)
	require.NoError(t, err)
	require.NoError(t, k.Forget(nosync, []byte("forgotten")))
	require.NoError(t, k.Forget(bg, []byte("freed")))
	require.NoError(t, k.Forget(bg, []byte("forgotten")))
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, db.Close())
	db, err = storetest.OpenFS(crashed, store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	require.Empty(t, list(t, openKeys(t, db, nil), ""))
}
