package idempotency_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// add is an effect in the store that shows if it happens twice.
func add(tx *pebblemq.Tx, n int) ([]byte, error) {
	v, err := tx.Get([]byte("sum"))
	if err != nil {
		return nil, err
	}
	sum := 0
	if v != nil {
		if sum, err = strconv.Atoi(string(v)); err != nil {
			return nil, err
		}
	}
	v = strconv.AppendInt(nil, int64(sum+n), 10)
	return v, tx.Set([]byte("sum"), v)
}

func sum(t *testing.T, db *pebblemq.DB) (v string) {
	t.Helper()
	require.NoError(t, db.View(bg, func(tx *pebblemq.Tx) error {
		b, err := tx.Get([]byte("sum"))
		v = string(b)
		return err
	}))
	return v
}

func TestOnceHappensOnce(t *testing.T) {
	db, k := open(t, nil)
	for i := range 3 {
		res, err := k.Once(bg, []byte("k"), func(tx *pebblemq.Tx) ([]byte, error) { return add(tx, 5) }, nil)
		require.NoError(t, err)
		require.Equal(t, i > 0, res.Replayed)
		require.Equal(t, "5", string(res.Value))
	}
	require.Equal(t, "5", sum(t, db))
}

func TestOnceUnderContentionHappensOnceForEachKey(t *testing.T) {
	db, k := open(t, nil)
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			key := []byte{byte(w % 8)}
			if _, err := k.Once(bg, key, func(tx *pebblemq.Tx) ([]byte, error) { return add(tx, 1) }, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, "8", sum(t, db))
}

func TestARefusedOnceLeavesNothing(t *testing.T) {
	db, k := open(t, nil)
	no := errors.New("no")
	_, err := k.Once(bg, []byte("k"), func(tx *pebblemq.Tx) ([]byte, error) {
		if _, err := add(tx, 5); err != nil {
			return nil, err
		}
		return nil, no
	}, nil)
	require.ErrorIs(t, err, no)
	require.Empty(t, sum(t, db))
	seen, err := k.Seen(bg, []byte("k"))
	require.NoError(t, err)
	require.False(t, seen)
}

func TestCompleteRefusesTheWholeTransaction(t *testing.T) {
	db, k := open(t, nil)
	complete := func(key, value string) error {
		return db.Update(bg, func(tx *pebblemq.Tx) error {
			if _, err := add(tx, 1); err != nil {
				return err
			}
			return k.In(tx).Complete([]byte(key), []byte(value))
		})
	}
	require.NoError(t, complete("k", "first"))
	err := complete("k", "second")
	require.ErrorIs(t, err, idempotency.ErrDuplicate)
	var dup *idempotency.DuplicateError
	require.ErrorAs(t, err, &dup)
	require.Equal(t, "first", string(dup.Result.Value))
	require.Equal(t, "1", sum(t, db))

	t.Run("twice in one transaction", func(t *testing.T) {
		err := db.Update(bg, func(tx *pebblemq.Tx) error {
			return errors.Join(k.In(tx).Complete([]byte("t"), nil), k.In(tx).Complete([]byte("t"), nil))
		})
		require.ErrorIs(t, err, idempotency.ErrDuplicate)
		seen, err := k.Seen(bg, []byte("t"))
		require.NoError(t, err)
		require.False(t, seen)
		n, err := countOf(k)
		require.NoError(t, err)
		require.EqualValues(t, 1, n, "the count is undone as well")
	})
	t.Run("while a Do holds the key", func(t *testing.T) {
		_, err := k.Do(bg, []byte("d"), func(context.Context, idempotency.Claim) ([]byte, error) {
			require.ErrorIs(t, complete("d", ""), idempotency.ErrInProgress)
			return nil, nil
		}, nil)
		require.NoError(t, err)
	})
	t.Run("bad input dooms it", func(t *testing.T) {
		err := db.Update(bg, func(tx *pebblemq.Tx) error {
			_ = k.In(tx).Complete(nil, nil)
			return tx.Set([]byte("x"), nil)
		})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}

func TestKeyOf(t *testing.T) {
	same := []any{
		map[string]any{"a": 1, "b": map[string]any{"c": "x", "d": nil}},
		struct {
			B any `json:"b"`
			A int `json:"a"`
		}{A: 1, B: map[string]any{"d": nil, "c": "x"}},
	}
	first, err := idempotency.KeyOf(same[0])
	require.NoError(t, err)
	second, err := idempotency.KeyOf(same[1])
	require.NoError(t, err)
	require.Equal(t, first, second)
	other, err := idempotency.KeyOf(map[string]any{"a": 1, "b": map[string]any{"c": "y", "d": nil}})
	require.NoError(t, err)
	require.NotEqual(t, first, other, "nested fields count")
	_, err = idempotency.KeyOf(make(chan int))
	require.Error(t, err)
}

func TestAFinalErrorOfOnceIsReplayedAndItsWorkRolledBack(t *testing.T) {
	db, k := open(t, nil)
	closed := errors.New("account closed")
	runs := 0
	for i := range 3 {
		res, err := k.Once(bg, []byte("k"), func(tx *pebblemq.Tx) ([]byte, error) {
			runs++
			_, err := add(tx, 5)
			return nil, errors.Join(err, idempotency.Final(closed))
		}, nil)
		require.EqualError(t, err, "account closed")
		require.Equal(t, i > 0, res.Replayed)
	}
	require.Equal(t, 1, runs)
	require.Empty(t, sum(t, db))
}

func TestOnceWithAnotherPayloadIsAMismatch(t *testing.T) {
	_, k := open(t, nil)
	once := func(fingerprint string) error {
		_, err := k.Once(bg, []byte("k"), func(*pebblemq.Tx) ([]byte, error) { return nil, nil },
			&idempotency.OnceOptions{Fingerprint: []byte(fingerprint)})
		return err
	}
	require.NoError(t, once("a"))
	require.NoError(t, once("a"))
	require.ErrorIs(t, once("b"), idempotency.ErrMismatch)
	require.ErrorIs(t, once(""), idempotency.ErrMismatch)
	_, err := k.Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) { return nil, nil },
		&idempotency.DoOptions{Fingerprint: []byte("a")})
	require.NoError(t, err, "Do and Once know the same keys")
}

// A call whose commit is refused for the outcome of another returns that. If the outcome has expired
// by then, the key is absent, and the call goes on like any other.
func TestOnceGoesOnWhenTheOutcomeOfAnotherHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		gate := storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		defer storetest.Close(t, db)
		k := openKeys(t, db, &idempotency.Config{Expiry: time.Second})
		fs.SetHook(gate.Hook)
		runs := 0
		res, err := k.Once(bg, []byte("k"), func(tx *pebblemq.Tx) ([]byte, error) {
			if runs++; runs > 1 {
				return add(tx, 1)
			}
			_, err := k.Do(bg, []byte("k"), func(context.Context, idempotency.Claim) ([]byte, error) { return []byte("other"), nil }, nil)
			require.NoError(t, err)
			gate.Shut() // what the refusal rests on comes before it
			go func() {
				assert.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return tx.Set([]byte("x"), nil) }))
			}()
			synctest.Wait()
			time.AfterFunc(2*time.Second, gate.Open)
			return nil, tx.Set([]byte("sum"), []byte("100"))
		}, nil)
		require.NoError(t, err)
		require.False(t, res.Replayed)
		require.Equal(t, "1", string(res.Value))
		require.Equal(t, "1", sum(t, db))
		require.Equal(t, 2, runs)
	})
}
