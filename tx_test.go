package pebblemq_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var bg = context.Background()

func set(t testing.TB, db *pebblemq.DB, key, value string) {
	t.Helper()
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return tx.Set([]byte(key), []byte(value)) }))
}

// all returns the application's keyspace.
func all(t testing.TB, db *pebblemq.DB) map[string]string {
	t.Helper()
	got := map[string]string{}
	require.NoError(t, db.View(bg, func(tx *pebblemq.Tx) error {
		for e, err := range tx.Scan(nil) {
			if err != nil {
				return err
			}
			got[string(e.Key)] = string(e.Value)
		}
		return nil
	}))
	return got
}

func TestATransactionSeesItsOwnWrites(t *testing.T) {
	db := storetest.Open(t, nil)
	set(t, db, "a", "1")
	set(t, db, "b", "2")
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		require.NoError(t, tx.Set([]byte("b"), []byte("3")))
		require.NoError(t, tx.Set([]byte("c"), nil))
		require.NoError(t, tx.Delete([]byte("a")))
		for key, want := range map[string][]byte{"a": nil, "b": []byte("3"), "c": {}, "d": nil} {
			v, err := tx.Get([]byte(key))
			require.NoError(t, err)
			require.Equal(t, want, v, key)
		}
		var keys []string
		for e, err := range tx.Scan(&pebblemq.ScanOptions{From: []byte("a"), To: []byte("c")}) {
			require.NoError(t, err)
			keys = append(keys, string(e.Key)+"="+string(e.Value))
		}
		require.Equal(t, []string{"b=3"}, keys)
		return nil
	}))
	require.Equal(t, map[string]string{"b": "3", "c": ""}, all(t, db))
}

func TestATransactionThatFailsLeavesNothing(t *testing.T) {
	no := errors.New("no")
	for name, f := range map[string]func(*pebblemq.Tx) error{
		"an error": func(tx *pebblemq.Tx) error { return errors.Join(tx.Set([]byte("k"), nil), no) },
		"a panic":  func(tx *pebblemq.Tx) error { _ = tx.Set([]byte("k"), nil); panic(no) },
	} {
		t.Run(name, func(t *testing.T) {
			db := storetest.Open(t, nil)
			err := func() (err error) {
				defer func() {
					if r := recover(); r != nil {
						err = r.(error)
					}
				}()
				return db.Update(bg, f)
			}()
			require.ErrorIs(t, err, no)
			require.Empty(t, all(t, db))
			set(t, db, "after", "") // the lock was given back
		})
	}
}

func TestATransactionWhoseFunctionEndsItsGoroutineLeavesNothing(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	set(t, db, "a", "1")
	for name, run := range map[string]func(context.Context, func(*pebblemq.Tx) error) error{"Update": db.Update, "View": db.View} {
		var left *pebblemq.Tx
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = run(bg, func(tx *pebblemq.Tx) error {
				left = tx
				_, err := tx.Get([]byte("a")) // takes the lock
				require.NoError(t, err)
				_ = tx.Set([]byte("a"), []byte("2"))
				runtime.Goexit()
				return nil
			})
		}()
		<-ended
		_, err := left.Get([]byte("a"))
		require.ErrorIs(t, err, pebblemq.ErrTxDone, name)
		require.NoError(t, db.Update(bg, increment), name)
	}
	require.Equal(t, "1", all(t, db)["a"])
	closes(t, db)
}

func TestReadModifyWriteIsSerialisable(t *testing.T) {
	for _, d := range []pebblemq.Durability{pebblemq.Sync, pebblemq.NoSync} {
		t.Run(d.String(), func(t *testing.T) {
			db := storetest.Open(t, nil)
			ctx := pebblemq.WithDurability(bg, d)
			var wg sync.WaitGroup
			const workers, each = 16, 50
			for range workers {
				wg.Go(func() {
					for range each {
						if err := db.Update(ctx, increment); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			require.Equal(t, map[string]string{"n": fmt.Sprint(workers * each)}, all(t, db))
		})
	}
}

func increment(tx *pebblemq.Tx) error {
	v, err := tx.Get([]byte("n"))
	if err != nil {
		return err
	}
	n := 0
	if v != nil {
		if n, err = strconv.Atoi(string(v)); err != nil {
			return err
		}
	}
	return tx.Set([]byte("n"), strconv.AppendInt(nil, int64(n+1), 10))
}

func TestAViewIsStable(t *testing.T) {
	db := storetest.Open(t, nil)
	set(t, db, "k", "before")
	require.NoError(t, db.View(bg, func(tx *pebblemq.Tx) error {
		set(t, db, "k", "after")
		v, err := tx.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, "before", string(v))
		require.ErrorIs(t, tx.Set([]byte("k"), nil), pebblemq.ErrReadOnly)
		require.ErrorIs(t, tx.Delete([]byte("k")), pebblemq.ErrReadOnly)
		return nil
	}))
}

func TestATransactionIsNotUsableAfterwards(t *testing.T) {
	db := storetest.Open(t, nil)
	for name, run := range map[string]func(context.Context, func(*pebblemq.Tx) error) error{"Update": db.Update, "View": db.View} {
		t.Run(name, func(t *testing.T) {
			var tx *pebblemq.Tx
			require.NoError(t, run(bg, func(inner *pebblemq.Tx) error { tx = inner; return nil }))
			_, err := tx.Get([]byte("k"))
			require.ErrorIs(t, err, pebblemq.ErrTxDone)
			require.ErrorIs(t, tx.Set([]byte("k"), nil), pebblemq.ErrTxDone)
			require.ErrorIs(t, tx.Delete([]byte("k")), pebblemq.ErrTxDone)
			for _, err := range tx.Scan(nil) {
				require.ErrorIs(t, err, pebblemq.ErrTxDone)
			}
		})
	}
}

func TestANestedUpdateThatWouldDeadlockIsRefused(t *testing.T) {
	db := storetest.Open(t, nil)
	inner := func() error {
		return db.Update(bg, func(tx *pebblemq.Tx) error { return tx.Set([]byte("inner"), nil) })
	}
	for _, depth := range []int{0, 1000} {
		err := db.Update(bg, func(tx *pebblemq.Tx) error {
			_, err := tx.Get([]byte("outer"))
			require.NoError(t, err)
			require.NoError(t, tx.Set([]byte("outer"), nil))
			return below(depth, inner)
		})
		require.ErrorIs(t, err, pebblemq.ErrNested, "%d calls down", depth)
		require.Empty(t, all(t, db))
	}
}

func TestWhoOnlyWritesWaitsForThoseWhoReadAndForNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, nil)
		set := func(value string) error {
			return db.Update(bg, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), []byte(value)) })
		}
		require.NoError(t, set("0"))
		require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
			require.NoError(t, tx.Set([]byte("j"), nil))
			done := make(chan error)
			go func() { done <- set("1") }()
			return <-done // has not waited for this one, which has read nothing
		}))
		var late sync.WaitGroup
		require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
			v, err := tx.Get([]byte("k"))
			require.NoError(t, err)
			require.Equal(t, "1", string(v))
			late.Go(func() { require.NoError(t, set("3")) })
			synctest.Wait()
			v, err = tx.Get([]byte("k"))
			require.NoError(t, err)
			require.Equal(t, "1", string(v), "nobody has written meanwhile")
			return tx.Set([]byte("k"), []byte("2"))
		}))
		late.Wait()
		require.Equal(t, map[string]string{"j": "", "k": "3"}, all(t, db))
	})
}

// below calls f that many calls further down the stack.
func below(depth int, f func() error) error {
	if depth == 0 {
		return f()
	}
	return below(depth-1, f)
}

func TestWaitingForTheLockEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*pebblemq.DB, context.CancelFunc)
		want error
	}{
		"with the context": {func(_ *pebblemq.DB, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"with the store":   {func(db *pebblemq.DB, _ context.CancelFunc) { go db.Close() }, pebblemq.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := storetest.Open(t, nil)
				ctx, cancel := context.WithCancel(bg)
				defer cancel()
				holds, free := make(chan struct{}), make(chan struct{})
				var wg sync.WaitGroup
				wg.Go(func() {
					_ = db.Update(bg, func(tx *pebblemq.Tx) error {
						_, err := tx.Get([]byte("k"))
						close(holds)
						<-free
						return err
					})
				})
				<-holds
				wg.Go(func() {
					require.ErrorIs(t, db.Update(ctx, increment), c.want)
					close(free)
				})
				synctest.Wait()
				c.end(db, cancel)
				wg.Wait()
			})
		})
	}
}

func TestSizeLimits(t *testing.T) {
	db := storetest.Open(t, nil)
	write := func(key, value []byte) error {
		return db.Update(bg, func(tx *pebblemq.Tx) error {
			_ = tx.Set(key, value) // a refused verb dooms the transaction
			return nil
		})
	}
	require.NoError(t, write(make([]byte, pebblemq.MaxKeyBytes), nil))
	require.ErrorIs(t, write(make([]byte, pebblemq.MaxKeyBytes+1), nil), pebblemq.ErrTooLarge)
	require.NoError(t, write([]byte("k"), make([]byte, pebblemq.MaxTxBytes-1)))
	require.ErrorIs(t, write([]byte("k"), make([]byte, pebblemq.MaxTxBytes)), pebblemq.ErrTooLarge)
	require.ErrorIs(t, db.View(bg, func(tx *pebblemq.Tx) error {
		_, err := tx.Get(make([]byte, pebblemq.MaxKeyBytes+1))
		return err
	}), pebblemq.ErrTooLarge)
}

func TestADurabilityThatThereIsNotChangesNothing(t *testing.T) {
	db := storetest.Open(t, nil)
	ctx := pebblemq.WithDurability(bg, 77)
	err := db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), nil) })
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.ErrorContains(t, err, "Durability 77")
	require.Empty(t, all(t, db))
}

func TestACancelledContextChangesNothing(t *testing.T) {
	db := storetest.Open(t, nil)
	ctx, cancel := context.WithCancel(bg)
	err := db.Update(ctx, func(tx *pebblemq.Tx) error {
		cancel()
		return tx.Set([]byte("k"), nil)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, all(t, db))
	require.ErrorIs(t, db.Update(ctx, increment), context.Canceled)
	require.ErrorIs(t, db.View(ctx, increment), context.Canceled)
}

// TestStateAfterACrashIsAPrefix runs random transactions against a map, crashes
// at random, and checks that what comes back is the state after some number of
// transactions, not fewer than those that were synced.
func TestStateAfterACrashIsAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewCrashableMem()
		open := func() *pebblemq.DB {
			db, err := storetest.OpenFS(fs, store.Options{SyncInterval: time.Minute})
			require.NoError(t, err)
			return db
		}
		db := open()
		history := []map[string]string{{}}
		synced := 0
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				require.NoError(t, db.Close())
				db, history, synced = open(), history[len(history)-1:], 0
				require.Equal(t, history[0], dump(t, db))
			case 1:
				clone := fs.CrashClone(vfs.CrashCloneCfg{})
				require.NoError(t, db.Close())
				fs = clone
				db = open()
				got := dump(t, db)
				require.Contains(t, history[synced:], got)
				history, synced = []map[string]string{got}, 0
			default:
				d := rapid.SampledFrom([]pebblemq.Durability{pebblemq.Sync, pebblemq.NoSync}).Draw(t, "durability")
				history = append(history, change(t, db, history[len(history)-1], d))
				if d == pebblemq.Sync {
					synced = len(history) - 1
				}
				require.Equal(t, history[len(history)-1], dump(t, db))
			}
		}
		require.NoError(t, db.Close())
	})
}

func dump(t *rapid.T, db *pebblemq.DB) map[string]string {
	got := map[string]string{}
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		for e, err := range tx.Scan(nil) {
			require.NoError(t, err)
			got[string(e.Key)] = string(e.Value)
		}
		return nil
	}))
	return got
}

// change runs one transaction of a few writes and returns the state after it.
func change(t *rapid.T, db *pebblemq.DB, state map[string]string, d pebblemq.Durability) map[string]string {
	after := map[string]string{}
	for k, v := range state {
		after[k] = v
	}
	require.NoError(t, db.Update(pebblemq.WithDurability(bg, d), func(tx *pebblemq.Tx) error {
		for range rapid.IntRange(1, 4).Draw(t, "writes") {
			key := rapid.StringMatching("[a-e]").Draw(t, "key")
			if rapid.Bool().Draw(t, "delete") {
				delete(after, key)
				require.NoError(t, tx.Delete([]byte(key)))
				continue
			}
			after[key] = rapid.StringN(0, 3, -1).Draw(t, "value")
			require.NoError(t, tx.Set([]byte(key), []byte(after[key])))
			v, err := tx.Get([]byte(key))
			require.NoError(t, err)
			require.Equal(t, after[key], string(v))
		}
		return nil
	}))
	return after
}
