package window

import (
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestARepeatedIDGetsTheFirstAnswerForExactlyTheLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := open(t, vfs.NewMem())
		defer s.Close()
		for i := range 9 { // begins at different places of a bucket
			id := fmt.Sprint(i)
			got, repeated := w.once(t, id, "first", store.NoSync)
			require.Equal(t, "first", got)
			require.False(t, repeated)
			for range 3 {
				got, repeated = w.once(t, id, "again", store.NoSync)
				require.Equal(t, "first", got)
				require.True(t, repeated)
				<-time.After(length/3 - 1)
			}
			<-time.After(2)
			_, repeated = w.once(t, id, "last", store.NoSync)
			require.True(t, repeated, "a moment before the end")
			<-time.After(1)
			got, repeated = w.once(t, id, "later", store.NoSync)
			require.Equal(t, "later", got)
			require.False(t, repeated, "at the end")
			<-time.After(17 * time.Second)
		}
	})
}

func TestAnswersSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		for life := range 3 {
			s, w := open(t, fs)
			got, repeated := w.once(t, "a", "first", store.Sync)
			require.Equal(t, "first", got)
			require.Equal(t, life > 0, repeated)
			<-time.After(length/3 + 1)
			require.NoError(t, s.Close())
		}
		s, w := open(t, fs)
		defer s.Close()
		_, repeated := w.once(t, "a", "later", store.Sync)
		require.False(t, repeated)
	})
}

// TestARepeatIsAsDurableAsItIsAskedToBe: the first was not synced, but who is told
// so, after a synced repeat, must be able to rely on it.
func TestARepeatIsAsDurableAsItIsAskedToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		s, w := open(t, fs)
		w.once(t, "a", "first", store.NoSync)
		_, repeated := w.once(t, "a", "again", store.Sync)
		require.True(t, repeated)
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, s.Close())
		s, w = open(t, crashed)
		defer s.Close()
		got, _ := w.once(t, "a", "later", store.NoSync)
		require.Equal(t, "first", got)
	})
}

func TestARefusedOpLeavesNoID(t *testing.T) {
	s, w := open(t, vfs.NewMem())
	defer s.Close()
	w.refused(t, "a")
	require.Zero(t, w.stored(t))
	_, repeated := w.once(t, "a", "x", store.NoSync)
	require.False(t, repeated)
}

func TestExpiredBucketsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s, w := open(t, fs)
		for i := range 100 {
			w.once(t, fmt.Sprint(i), "x", store.NoSync)
			<-time.After(length / 20)
		}
		require.LessOrEqual(t, w.stored(t), 26, "a length, and a bucket that is not over")
		require.NoError(t, s.Close())

		s, w = open(t, fs)
		defer s.Close()
		<-time.After(2 * length)
		synctest.Wait()
		require.Zero(t, w.stored(t), "without being asked")
		require.Equal(t, recentBytes, w.budget(t, same))
		require.Empty(t, w.recent)
		_, repeated := w.once(t, "99", "x", store.NoSync)
		require.False(t, repeated)
	})
}

func TestAClockThatIsSetBackForgetsNothing(t *testing.T) {
	var back atomic.Int64
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return start.Add(-time.Duration(back.Load())) }
	options := store.Options{FS: vfs.NewMem(), Dir: "data", Clock: clock}
	for range 2 {
		s, err := store.Open(options)
		require.NoError(t, err)
		w := New(s, "it", kind, object, length)
		require.NoError(t, w.Ready(ctx))
		w.once(t, "a", "first", store.Sync)
		back.Add(int64(time.Hour))
		got, repeated := w.once(t, "a", "again", store.Sync)
		require.True(t, repeated)
		require.Equal(t, "first", got)
		require.NoError(t, s.Close())
	}
}

func TestAnIDCountsForTheLengthOnAClockThatIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Int64
		clock := func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
		options := store.Options{FS: vfs.NewMem(), Dir: "data", Clock: clock}
		for range 2 {
			s, err := store.Open(options)
			require.NoError(t, err)
			w := New(s, "it", kind, object, length)
			require.NoError(t, w.Ready(ctx))
			w.once(t, "before", "first", store.Sync)
			back.Add(int64(time.Hour))
			w.once(t, "behind", "first", store.Sync)
			<-time.After(length - 1)
			for _, id := range []string{"before", "behind"} {
				_, repeated := w.once(t, id, "again", store.Sync)
				require.True(t, repeated, "%s, a moment before the end", id)
			}
			<-time.After(1)
			for _, id := range []string{"before", "behind"} {
				_, repeated := w.once(t, id, "later", store.Sync)
				require.False(t, repeated, "%s, at the end", id)
			}
			<-time.After(length)
			require.NoError(t, s.Close())
		}
	})
}

func TestIDsBeyondTheMemoryAreFoundOnDisk(t *testing.T) {
	s, w := open(t, vfs.NewMem())
	defer s.Close()
	w.budget(t, func(int) int { return 10 * idBytes })
	for round := range 2 {
		for i := range 100 {
			_, repeated := w.once(t, fmt.Sprint(i), "x", store.NoSync)
			require.Equal(t, round > 0, repeated)
		}
	}
	require.Equal(t, 10*idBytes, w.budget(t, same), "a set that is not complete is of no use")
}

func TestAClosedWindowGivesItsMemoryBack(t *testing.T) {
	s, w := open(t, vfs.NewMem())
	defer s.Close()
	w.once(t, "a", "x", store.NoSync)
	require.NotEqual(t, recentBytes, w.budget(t, same))
	require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error { w.Close(t); return nil }), store.Sync))
	require.Equal(t, recentBytes, w.budget(t, same))
}

func TestWindowsOfOtherObjectsAreApart(t *testing.T) {
	s, w := open(t, vfs.NewMem())
	defer s.Close()
	other := New(s, "it", kind, object+1, length)
	require.NoError(t, other.Ready(ctx))
	w.once(t, "a", "x", store.NoSync)
	_, repeated := other.once(t, "a", "y", store.NoSync)
	require.False(t, repeated)
}

func TestGoldenBytes(t *testing.T) {
	w := &Window{kind: kind, id: object}
	require.Equal(t, "27"+"00000007"+"8000000000000009"+"ba7816bf8f01cfea414140de5dae2223", hex.EncodeToString(w.key(9, IDOf("abc"))))
	require.Equal(t, "7fffffffffffffff", hex.EncodeToString(w.bucketKey(-1)[5:]))
	require.Equal(t, "01"+"00000000000003e9"+"6869", hex.EncodeToString(encode(time.Unix(0, 1001), []byte("hi"))))
}

func TestDamagedKeysAndValuesAreErrors(t *testing.T) {
	_, err := decodeKey(make([]byte, keyLen-1))
	require.ErrorIs(t, err, store.ErrCorrupt)
	_, _, err = decode(nil)
	require.ErrorIs(t, err, store.ErrCorrupt)
	_, _, err = decode(make([]byte, fixedLen))
	require.ErrorIs(t, err, store.ErrFormat)
	_, _, err = decode([]byte{version, 1})
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func FuzzDecode(f *testing.F) {
	w := &Window{kind: kind, id: object}
	f.Add(encode(time.Unix(0, 5), []byte("x")))
	f.Add(w.key(3, IDOf("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if until, answer, err := decode(b); err == nil {
			require.Equal(t, b, encode(until, answer))
		}
		if bucket, err := decodeKey(b); err == nil {
			require.Equal(t, b[5:13], w.bucketKey(bucket)[5:])
		}
	})
}
