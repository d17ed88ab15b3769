package store

import (
	"context"
	"encoding/binary"
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

// A WAL in the place of an older one: its operations are not those that the next WAL goes on from.
func TestAMarkThatDoesNotFollowTheOneBeforeIsDamage(t *testing.T) {
	for name, c := range map[string]struct {
		before uint64 // of the newest mark
		says   string
	}{
		"one is missing":  {3, "operations 3 to 3 are gone"},
		"one is too many": {1, "operation 2 is there, and what comes after it was written after operation 1"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s, err := Open(Options{FS: fs, Dir: "data"})
			require.NoError(t, err)
			for seq, before := range map[uint64]uint64{1: 0, 2: 1, 9: c.before} {
				require.NoError(t, s.db.Set(seqKey(seq), binary.BigEndian.AppendUint64(nil, before), nil))
			}
			require.NoError(t, s.Close())
			_, err = Open(Options{FS: fs, Dir: "data"})
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "the end of")
			require.ErrorContains(t, err, ".log")
		})
	}
}
