package store_test

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestReadModifyWriteIsSerialisable(t *testing.T) {
	for _, d := range []store.Durability{store.Sync, store.NoSync} {
		s := openStore(t, small(vfs.NewMem()))
		const workers, rounds = 8, 200
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range rounds {
					if err := increment(s, d); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		require.Equal(t, strconv.Itoa(workers*rounds), get(t, s, "n"), "%v", d)
		require.NoError(t, s.Close())
	}
}

func increment(s *store.Store, d store.Durability) error {
	tx, err := s.Begin(store.WithDurability(context.Background(), d))
	if err != nil {
		return err
	}
	defer tx.End()
	v, err := tx.Get([]byte("n"))
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(v))
	if err := tx.Set([]byte("n"), strconv.AppendInt(nil, int64(n+1), 10)); err != nil {
		return err
	}
	return tx.Commit()
}

func TestTransactionOnAnEndedContext(t *testing.T) {
	s := openMem(t)
	owner, err := s.Begin(ctx)
	require.NoError(t, err)
	_, err = owner.Get([]byte("a"))
	require.NoError(t, err)
	cancelled, cancel := context.WithCancel(ctx)
	waits, err := s.Begin(cancelled)
	require.NoError(t, err)
	blocked := start(func() error { _, err := waits.Get([]byte("a")); return err })
	cancel()
	require.ErrorIs(t, <-blocked, context.Canceled)
	require.ErrorIs(t, waits.Commit(), context.Canceled)
	_, err = s.Begin(cancelled)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, owner.Commit())
}

func TestTransactionSeesItsOwnWrites(t *testing.T) {
	s := openMem(t)
	require.NoError(t, s.Do(ctx, set("a", "old"), store.NoSync))
	require.NoError(t, s.Do(ctx, set("c", "old"), store.NoSync))
	tx, err := s.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, tx.Set([]byte("a"), []byte("new")))
	require.NoError(t, tx.Set([]byte("b"), []byte("new")))
	require.NoError(t, tx.Delete([]byte("c")))
	it, err := tx.Scan(nil, nil)
	require.NoError(t, err)
	var found []string
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		require.NoError(t, err)
		found = append(found, string(store.AppKey(it.Key()))+"="+string(v))
	}
	require.NoError(t, it.Close())
	require.Equal(t, []string{"a=new", "b=new"}, found)
	v, err := tx.Get([]byte("c"))
	require.NoError(t, err)
	require.Nil(t, v)
	require.Equal(t, "old", get(t, s, "a"), "nobody else sees them")
	tx.End()
	require.Equal(t, map[string]string{"a": "old", "c": "old"}, keys(t, s), "and without a commit nobody ever does")
}

func TestViewIsStable(t *testing.T) {
	s := openMem(t)
	require.NoError(t, s.Do(ctx, set("a", "1"), store.NoSync))
	view, err := s.BeginView(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Do(ctx, set("a", "2"), store.Sync))
	v, err := view.Get([]byte("a"))
	require.NoError(t, err)
	require.Equal(t, "1", string(v))
	require.ErrorIs(t, view.Set([]byte("a"), nil), store.ErrReadOnly)
	require.ErrorIs(t, view.Delete([]byte("a")), store.ErrReadOnly)
	require.ErrorIs(t, view.Add(&op{}, 0), store.ErrReadOnly)
	require.NoError(t, view.Commit())
	_, err = view.Get([]byte("a"))
	require.ErrorIs(t, err, store.ErrTxDone)
}

func TestTransactionSizeLimit(t *testing.T) {
	s := openStore(t, small(vfs.NewMem()))
	fill := func(size int) error {
		tx, err := s.Begin(ctx)
		require.NoError(t, err)
		defer tx.End()
		half := make([]byte, size/2-1)
		if err := tx.Set([]byte("a"), half); err != nil {
			return err
		}
		if err := tx.Set([]byte("b"), half); err != nil {
			require.ErrorIs(t, tx.Commit(), store.ErrTooLarge, "a transaction in which anything failed is doomed")
			return err
		}
		return tx.Commit()
	}
	require.NoError(t, fill(store.MaxTx))
	require.ErrorIs(t, fill(store.MaxTx+2), store.ErrTooLarge)
	require.Len(t, get(t, s, "a"), store.MaxTx/2-1)
	require.NoError(t, s.Close())
}
