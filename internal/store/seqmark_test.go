package store

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func countMarks(t *testing.T, s *Store) (n int) {
	t.Helper()
	it, err := s.Iter(context.Background(), keySeq, PrefixEnd(keySeq))
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}

func TestOldSequenceMarksAreDropped(t *testing.T) {
	const most, groups = 8, 100
	fs, set := vfs.NewMem(), OpFunc(func(turn *Turn) error {
		turn.Set([]byte{byte(KindApp)}, nil)
		return nil
	})
	for life := range uint64(3) {
		s, err := Open(Options{FS: fs, Dir: "data"})
		require.NoError(t, err)
		s.marks.most = most
		began := s.accepted.Load()
		require.GreaterOrEqual(t, began, groups*life, "the newest mark is found")
		for range groups {
			require.NoError(t, s.Do(context.Background(), set, Sync))
		}
		require.LessOrEqual(t, countMarks(t, s), most)
		require.NoError(t, s.loadSeq())
		require.Equal(t, began+groups, s.marks.newest)
		require.NoError(t, s.Close())
	}
}

func TestMarksOfShortLivesAreDropped(t *testing.T) {
	const most, groups = 24, 10
	fs := vfs.NewMem()
	for range 10 {
		s, err := Open(Options{FS: fs, Dir: "data"})
		require.NoError(t, err)
		s.marks.most = most
		for range groups {
			require.NoError(t, s.Do(context.Background(), OpFunc(func(turn *Turn) error {
				turn.Set([]byte{byte(KindApp)}, nil)
				return nil
			}), Sync))
		}
		require.LessOrEqual(t, countMarks(t, s), most)
		require.NoError(t, s.Close())
	}
}
