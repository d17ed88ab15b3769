package idempotency_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/stretchr/testify/require"
)

// In a transaction a result over the limit refuses all of it: nothing has
// happened.
func TestAResultOverTheLimitInATransactionLeavesNothing(t *testing.T) {
	db, k := open(t, &idempotency.Config{MaxResultBytes: 4})
	for name, call := range map[string]func(key, result []byte) error{
		"Once": func(key, result []byte) error {
			_, err := k.Once(bg, key, func(tx *pebblemq.Tx) ([]byte, error) {
				_, err := add(tx, 1)
				return result, err
			}, nil)
			return err
		},
		"Once with a final error": func(key, result []byte) error {
			_, err := k.Once(bg, key, func(tx *pebblemq.Tx) ([]byte, error) {
				return nil, idempotency.Final(errors.New(string(result)))
			}, nil)
			if err != nil && err.Error() == string(result) {
				return nil // it is stored
			}
			return err
		},
		"Accept": func(key, result []byte) error {
			_, err := k.Accept(bg, key, func(tx *pebblemq.Tx) (func() ([]byte, error), error) {
				_, err := add(tx, 1)
				return func() ([]byte, error) { return result, nil }, err
			}, nil)
			return err
		},
		"Complete": func(key, result []byte) error {
			return db.Update(bg, func(tx *pebblemq.Tx) error {
				_, err := add(tx, 1)
				return errors.Join(err, k.In(tx).Complete(key, result))
			})
		},
		"Complete of a claim": func(key, result []byte) error {
			_, err := k.Do(bg, key, func(_ context.Context, c idempotency.Claim) ([]byte, error) {
				return nil, db.Update(bg, func(tx *pebblemq.Tx) error {
					_, err := add(tx, 1)
					return errors.Join(err, c.In(tx).Complete(result))
				})
			}, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := sum(t, db)
			require.ErrorIs(t, call([]byte(name), []byte("12345")), pebblemq.ErrTooLarge)
			require.Equal(t, before, sum(t, db))
			seen, err := k.Seen(bg, []byte(name))
			require.NoError(t, err)
			require.False(t, seen)
			require.NoError(t, call([]byte(name), []byte("1234")), "the key is free")
			seen, err = k.Seen(bg, []byte(name))
			require.NoError(t, err)
			require.True(t, seen)
		})
	}
}

// A final error is a result, and one over the limit cannot be stored either.
func TestAFinalErrorOverTheLimitIsNotStored(t *testing.T) {
	_, k := open(t, &idempotency.Config{MaxResultBytes: 4})
	var runs atomic.Int32
	for range 2 {
		_, err := k.Do(bg, []byte("k"), returns(&runs, "", idempotency.Final(errors.New("closed"))), nil)
		require.ErrorIs(t, err, idempotency.ErrNotStored)
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
	}
	require.EqualValues(t, 2, runs.Load())
}

func TestANilResultIsReplayed(t *testing.T) {
	_, k := open(t, nil)
	var runs atomic.Int32
	none := func(context.Context, idempotency.Claim) ([]byte, error) { runs.Add(1); return nil, nil }
	for i := range 2 {
		res, err := k.Do(bg, []byte("do"), none, nil)
		require.NoError(t, err)
		require.Equal(t, i > 0, res.Replayed)
		require.Empty(t, res.Value)
		res, err = k.Once(bg, []byte("once"), func(*pebblemq.Tx) ([]byte, error) { runs.Add(1); return nil, nil }, nil)
		require.NoError(t, err)
		require.Equal(t, i > 0, res.Replayed)
		require.Empty(t, res.Value)
	}
	require.EqualValues(t, 2, runs.Load())
}

// Every holder of a key has a higher token than the one before, however that one
// ended, and what an earlier one holds on to is of no use to it.
func TestAnEarlierHolderStoresNothing(t *testing.T) {
	db, k := open(t, nil)
	no := errors.New("no")
	var old []idempotency.Claim
	last := uint64(0)
	for name, end := range map[string]func() ([]byte, error){
		"an error":  func() ([]byte, error) { return nil, no },
		"forgotten": func() ([]byte, error) { return nil, k.Forget(bg, []byte("k")) },
		"a result":  func() ([]byte, error) { return []byte("v"), nil },
	} {
		_, _ = k.Do(bg, []byte("k"), func(_ context.Context, c idempotency.Claim) ([]byte, error) {
			require.Greater(t, c.Token, last, name)
			last = c.Token
			for _, c := range old {
				err := db.Update(bg, func(tx *pebblemq.Tx) error { return c.In(tx).Complete([]byte("late")) })
				require.ErrorIs(t, err, idempotency.ErrLeaseLost, "after %s", name)
			}
			old = append(old, c)
			return end()
		}, nil)
		require.NoError(t, k.Forget(bg, []byte("k")))
	}
	require.Len(t, old, 3)
	_, ok, err := k.Find(bg, []byte("k"))
	require.NoError(t, err)
	require.False(t, ok)
}
