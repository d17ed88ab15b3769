package idempotency_test

import (
	"context"
	"errors"
	"sync"
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

// dies runs a handler under key "k" whose process crashes in the middle, and
// returns the store of the next one.
func dies(t *testing.T, c *idempotency.Config, o *idempotency.DoOptions) (*pebblemq.DB, *idempotency.Namespace) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	var crashed *vfs.MemFS
	_, err = openKeys(t, db, c).Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
		crashed = fs.CrashClone(vfs.CrashCloneCfg{})
		return nil, nil
	}, o)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	db, err = storetest.OpenFS(crashed, store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { storetest.Close(t, db) })
	return db, openKeys(t, db, c)
}

func TestAfterACrashTheNextRunIsToldOfTheOneBefore(t *testing.T) {
	_, k := dies(t, nil, nil)
	var told []bool
	failing := errors.New("not yet")
	for _, err := range []error{failing, nil} {
		_, got := k.Do(bg, []byte("k"), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
			told = append(told, c.Interrupted)
			return nil, err
		}, nil)
		require.Equal(t, err, got)
	}
	require.Equal(t, []bool{true, false}, told, "the second follows a run whose end is known")
}

func TestAfterAResultThatCouldNotBeStoredTheNextRunIsTold(t *testing.T) {
	_, k := open(t, &idempotency.Config{MaxResultBytes: 4})
	var runs atomic.Int32
	_, err := k.Do(bg, []byte("k"), returns(&runs, "too long", nil), nil)
	require.ErrorIs(t, err, idempotency.ErrNotStored)
	_, err = k.Do(bg, []byte("k"), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
		require.True(t, c.Interrupted)
		return nil, nil
	}, nil)
	require.NoError(t, err)
}

func TestAfterACrashTheKeyIsTakenForItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, k := dies(t, &idempotency.Config{Lease: time.Minute}, nil)
		var runs atomic.Int32
		_, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{NoWait: true})
		require.ErrorIs(t, err, idempotency.ErrInProgress)
		_, err = k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{Fingerprint: []byte("x")})
		require.ErrorIs(t, err, idempotency.ErrMismatch)
		_, err = k.Once(bg, []byte("k"), func(*pebblemq.Tx) ([]byte, error) { return nil, nil }, nil)
		require.ErrorIs(t, err, idempotency.ErrInProgress)
		require.Zero(t, runs.Load())
		_, err = k.Do(bg, []byte("other"), returns(&runs, "", nil), nil)
		require.NoError(t, err)

		again, err := idempotency.OpenNamespace(bg, db, "payments", &idempotency.Config{Lease: time.Minute})
		require.NoError(t, err, "a second handle does not begin the lease again")
		begin := time.Now()
		_, err = again.Do(bg, []byte("k"), returns(&runs, "", nil), nil)
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(begin))
		require.EqualValues(t, 2, runs.Load())
	})
}

func TestForgetFreesAKeyThatADeadProcessHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, k := dies(t, &idempotency.Config{Lease: time.Minute}, nil)
		require.NoError(t, k.Forget(bg, []byte("k")))
		var runs atomic.Int32
		_, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{NoWait: true})
		require.NoError(t, err)
	})
}

func TestAClaimLastsAsLongAsItsHandler(t *testing.T) {
	for name, jump := range map[string]time.Duration{"as time passes": 0, "if the clock jumps forward": 1000 * time.Hour, "if it jumps back": -1000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var offset atomic.Int64
				db := storetest.Open(t, &pebblemq.Options{Clock: func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }})
				k := openKeys(t, db, &idempotency.Config{Expiry: time.Hour, Lease: time.Minute})
				_, err := k.Do(bg, []byte("k"), func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
					offset.Store(int64(jump))
					<-time.After(5 * time.Hour)
					var runs atomic.Int32
					_, err := k.Do(bg, []byte("k"), returns(&runs, "", nil), &idempotency.DoOptions{NoWait: true})
					require.ErrorIs(t, err, idempotency.ErrInProgress)
					return []byte("v"), ctx.Err()
				}, nil)
				require.NoError(t, err)
				res, ok, err := k.Find(bg, []byte("k"))
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, "v", string(res.Value))
			})
		})
	}
}

func TestAHandlerWhoseKeyIsForgottenIsCancelled(t *testing.T) {
	_, k := open(t, nil)
	var seen error
	_, err := k.Do(bg, []byte("k"), func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
		require.NoError(t, k.Forget(bg, []byte("k")))
		<-ctx.Done()
		seen = context.Cause(ctx)
		return nil, nil
	}, nil)
	require.ErrorIs(t, err, idempotency.ErrLeaseLost)
	require.Equal(t, idempotency.ErrLeaseLost, seen)
}

func TestAClaimCompletedInATransaction(t *testing.T) {
	type handler = func(*pebblemq.DB, *idempotency.Namespace) idempotency.Handler
	var no = errors.New("no")
	complete := func(db *pebblemq.DB, c idempotency.Claim, value string) error {
		return db.Update(bg, func(tx *pebblemq.Tx) error {
			if _, err := add(tx, 1); err != nil {
				return err
			}
			return c.In(tx).Complete([]byte(value))
		})
	}
	for name, c := range map[string]struct {
		h     handler
		want  error
		sum   string
		value string // of the next call
	}{
		"counts, and not what the handler returns": {func(db *pebblemq.DB, _ *idempotency.Namespace) idempotency.Handler {
			return func(_ context.Context, c idempotency.Claim) ([]byte, error) {
				return []byte("returned"), complete(db, c, "committed")
			}
		}, nil, "1", "committed"},
		"counts, though the handler fails after it": {func(db *pebblemq.DB, _ *idempotency.Namespace) idempotency.Handler {
			return func(_ context.Context, c idempotency.Claim) ([]byte, error) {
				return nil, errors.Join(complete(db, c, "committed"), no)
			}
		}, no, "1", "committed"},
		"is refused if the claim was lost": {func(db *pebblemq.DB, k *idempotency.Namespace) idempotency.Handler {
			return func(_ context.Context, c idempotency.Claim) ([]byte, error) {
				return nil, errors.Join(k.Forget(bg, c.Key), complete(db, c, "committed"))
			}
		}, idempotency.ErrLeaseLost, "", "again"},
		"is undone if the transaction is refused": {func(db *pebblemq.DB, k *idempotency.Namespace) idempotency.Handler {
			return func(_ context.Context, c idempotency.Claim) ([]byte, error) {
				err := db.Update(bg, func(tx *pebblemq.Tx) error {
					return errors.Join(c.In(tx).Complete([]byte("undone")), k.In(tx).Complete([]byte("taken"), nil))
				})
				if !errors.Is(err, idempotency.ErrDuplicate) {
					return nil, err
				}
				var runs atomic.Int32
				if _, err := k.Do(bg, c.Key, returns(&runs, "", nil), &idempotency.DoOptions{NoWait: true}); !errors.Is(err, idempotency.ErrInProgress) {
					return nil, err
				}
				return []byte("returned"), nil
			}
		}, nil, "", "returned"},
	} {
		t.Run(name, func(t *testing.T) {
			db, k := open(t, nil)
			require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return k.In(tx).Complete([]byte("taken"), nil) }))
			res, err := k.Do(bg, []byte("k"), c.h(db, k), nil)
			require.ErrorIs(t, err, c.want)
			if err == nil {
				require.Equal(t, c.value, string(res.Value))
			}
			require.Equal(t, c.sum, sum(t, db))
			var runs atomic.Int32
			res, err = k.Do(bg, []byte("k"), returns(&runs, "again", nil), nil)
			require.NoError(t, err)
			require.Equal(t, c.value, string(res.Value))
			n, err := countOf(k)
			require.NoError(t, err)
			require.EqualValues(t, 2, n)
		})
	}
}

func TestAClaimThatNobodyWasGiven(t *testing.T) {
	db, _ := open(t, nil)
	require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		_ = idempotency.Claim{Key: []byte("k"), Token: 7}.In(tx).Complete(nil)
		return nil
	}), pebblemq.ErrInvalid)
}

func TestAClaimOfAnotherStore(t *testing.T) {
	_, k := open(t, nil)
	other := storetest.Open(t, nil)
	_, err := k.Do(bg, []byte("k"), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
		err := other.Update(bg, func(tx *pebblemq.Tx) error { return c.In(tx).Complete(nil) })
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		err = other.Update(bg, func(tx *pebblemq.Tx) error { return k.In(tx).Complete([]byte("x"), nil) })
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		return nil, nil
	}, nil)
	require.NoError(t, err)
}

func TestAWaiterRunsWhenTheFirstFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, k := open(t, nil)
		started, fail := make(chan struct{}), make(chan struct{})
		no := errors.New("no")
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := k.Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
				close(started)
				<-fail
				return nil, no
			}, nil)
			require.Equal(t, no, err)
		})
		<-started
		var runs atomic.Int32
		for range 8 {
			wg.Go(func() {
				res, err := k.Do(bg, []byte("k"), returns(&runs, "v", nil), nil)
				require.NoError(t, err)
				require.Equal(t, "v", string(res.Value))
			})
		}
		synctest.Wait()
		close(fail)
		wg.Wait()
		require.EqualValues(t, 1, runs.Load())
	})
}

// Changes that a caller makes to its result do not reach others.
func TestResultsAreCopies(t *testing.T) {
	_, k := open(t, nil)
	var runs atomic.Int32
	key, fingerprint := []byte("k"), []byte("f")
	o := &idempotency.DoOptions{Fingerprint: fingerprint}
	for range 3 {
		res, err := k.Do(bg, key, returns(&runs, "value", nil), o)
		require.NoError(t, err)
		require.Equal(t, "value", string(res.Value))
		clear(res.Value)
		got, _, err := k.Find(bg, key)
		require.NoError(t, err)
		clear(got.Value)
	}
	clear(fingerprint)
	_, err := k.Do(bg, key, returns(&runs, "value", nil), &idempotency.DoOptions{Fingerprint: []byte("f")})
	require.NoError(t, err)
}

// A lease counts from the opening, so it may outlast the time after which the
// record of an interrupted run is removed.
func TestALeaseHoldsUntilItsEndAlsoIfItsRecordIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, c := vfs.NewCrashableMem(), &idempotency.Config{Expiry: time.Hour, Lease: time.Hour}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		o := &idempotency.DoOptions{Fingerprint: []byte("f"), NoWait: true}
		var crashed *vfs.MemFS
		_, err = openKeys(t, db, c).Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) {
			crashed = fs.CrashClone(vfs.CrashCloneCfg{})
			return nil, nil
		}, o)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		<-time.After(50 * time.Minute)
		db, err = storetest.OpenFS(crashed, store.Options{})
		require.NoError(t, err)
		defer storetest.Close(t, db)
		k := openKeys(t, db, c)
		<-time.After(59 * time.Minute)
		synctest.Wait()
		var runs atomic.Int32
		_, err = k.Do(bg, []byte("k"), returns(&runs, "", nil), o)
		require.ErrorIs(t, err, idempotency.ErrInProgress)
		_, err = k.Do(bg, []byte("k"), returns(&runs, "", nil), nil)
		require.ErrorIs(t, err, idempotency.ErrMismatch, "its fingerprint is kept")
		<-time.After(time.Minute)
		synctest.Wait()
		_, err = k.Do(bg, []byte("k"), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
			require.True(t, c.Interrupted)
			return nil, nil
		}, o)
		require.NoError(t, err)
	})
}

// A handler may complete its claim with NoSync; a Do that is Sync returns when that
// is on disk all the same.
func TestDoWaitsForTheDiskAlsoIfItsHandlerDidNot(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{SyncInterval: time.Minute})
	require.NoError(t, err)
	_, err = openKeys(t, db, nil).Do(bg, []byte("k"), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
		return nil, db.Update(nosync, func(tx *pebblemq.Tx) error { return c.In(tx).Complete([]byte("v")) })
	}, nil)
	require.NoError(t, err)
	seen, err := openKeys(t, afterCrash(t, fs, db), nil).Seen(bg, []byte("k"))
	require.NoError(t, err)
	require.True(t, seen)
}

// A claim may be forgotten while its handler waits for the fsync of it.
func TestAHandlerIsToldOfAClaimThatWasForgottenBeforeItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		fs := storetest.NewFS(vfs.NewMem())
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		k := openKeys(t, db, nil)
		fs.SetHook(gate.Hook)
		gate.Shut()
		got := make(chan error, 1)
		go func() {
			_, err := k.Do(bg, []byte("k"), func(ctx context.Context, _ idempotency.Claim) ([]byte, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}, nil)
			got <- err
		}()
		synctest.Wait()
		require.NoError(t, k.Forget(nosync, []byte("k")))
		gate.Open()
		require.ErrorIs(t, <-got, idempotency.ErrLeaseLost)
		require.NoError(t, db.Close())
	})
}
