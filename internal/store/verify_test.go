package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func fast() store.VerifyOptions { return store.VerifyOptions{BytesPerSecond: store.Unlimited} }

// settled fills a store and opens it anew, so that everything is in tables.
func settled(t *testing.T, fs vfs.FS) *store.Store {
	t.Helper()
	s := openStore(t, small(fs))
	for i := range 200 {
		require.NoError(t, s.Do(ctx, set(fmt.Sprintf("%04d", i), strings.Repeat("x", 1000)), store.NoSync))
	}
	require.NoError(t, s.Close())
	return openStore(t, small(fs))
}

func TestVerifyOfAWholeStoreFindsNothing(t *testing.T) {
	s := settled(t, vfs.NewMem())
	r, err := s.Verify(ctx, fast())
	require.NoError(t, err)
	require.NoError(t, r.Err())
	require.Positive(t, r.Tables)
	require.Greater(t, r.Files, r.Tables, "with the MANIFEST and the WAL")
	require.Positive(t, r.Bytes)
	require.NoError(t, s.Close())
	_, err = s.Verify(ctx, fast())
	require.ErrorIs(t, err, store.ErrClosed)
}

func TestVerifyNamesTheDamagedBlockAndWhatItHolds(t *testing.T) {
	fs := vfs.NewMem()
	s := settled(t, fs)
	for _, name := range files(t, fs, ".sst") {
		b := contents(t, fs, name)
		flip(t, fs, name, 100)
		r, err := s.Verify(ctx, fast())
		require.NoError(t, err)
		require.ErrorIs(t, r.Err(), store.ErrCorrupt)
		require.Len(t, r.Damages, 1)
		d := r.Damages[0]
		require.Equal(t, name, d.File)
		require.Equal(t, "data block", d.Part)
		require.Zero(t, d.Offset)
		require.Less(t, d.Length, int64(len(b)))
		require.NotEmpty(t, d.Holds.String())
		require.Contains(t, r.Err().Error(), name)
		replace(t, fs, name, b)
	}
	r, err := s.Verify(ctx, fast())
	require.NoError(t, err)
	require.NoError(t, r.Err())
	require.NoError(t, s.Close())
}

func TestVerifyFindsATableThatIsAnother(t *testing.T) {
	fs := vfs.NewMem()
	s := settled(t, fs)
	tables := files(t, fs, ".sst")
	require.Greater(t, len(tables), 1)
	first, second := contents(t, fs, tables[0]), contents(t, fs, tables[1])
	replace(t, fs, tables[0], second)
	replace(t, fs, tables[1], first)
	r, err := s.Verify(ctx, fast())
	require.NoError(t, err)
	require.Len(t, r.Damages, 2)
	require.ErrorContains(t, r.Err(), "another table")
	require.NoError(t, fs.Remove("data/"+tables[0]))
	r, err = s.Verify(ctx, fast())
	require.NoError(t, err)
	require.Len(t, r.Damages, 2)
	require.ErrorContains(t, r.Err(), "open")
	replace(t, fs, tables[0], first)
	replace(t, fs, tables[1], second)
	require.NoError(t, s.Close())
}

func TestVerifyFindsDamageOfOtherFiles(t *testing.T) {
	for file, at := range map[string]int{"FORMAT": 3, "MANIFEST": 20} {
		fs := vfs.NewMem()
		s := settled(t, fs)
		name := newest(t, fs, file)
		flip(t, fs, name, at)
		r, err := s.Verify(ctx, fast())
		require.NoError(t, err)
		require.Len(t, r.Damages, 1)
		require.Equal(t, name, r.Damages[0].File)
		require.NoError(t, s.Close())
	}
}

func TestVerifyKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settled(t, vfs.NewMem())
		var seen []store.VerifyProgress
		o := store.VerifyOptions{BytesPerSecond: 10_000, Progress: func(p store.VerifyProgress) { seen = append(seen, p) }}
		r, err := s.Verify(ctx, o)
		require.NoError(t, err)
		want := time.Duration(r.Bytes) * time.Second / 10_000
		require.InDelta(t, want.Seconds(), r.Took.Seconds(), 0.1)
		last := seen[len(seen)-1]
		require.Equal(t, r.Files, last.Files)
		require.Equal(t, last.TotalFiles, last.Files)
		require.Equal(t, r.Bytes, last.Bytes)
		require.NoError(t, s.Close())
	})
}

func TestVerifyEndsWithItsContextAndWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := settled(t, vfs.NewMem())
		ctx, cancel := context.WithCancelCause(ctx)
		blocks := 0
		o := store.VerifyOptions{BytesPerSecond: 1000, Progress: func(store.VerifyProgress) {
			if blocks++; blocks == 20 {
				cancel(errors.New("enough"))
			}
		}}
		_, err := s.Verify(ctx, o)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 20, blocks)

		done := make(chan error)
		go func() {
			_, err := s.Verify(context.Background(), store.VerifyOptions{BytesPerSecond: 1000})
			done <- err
		}()
		synctest.Wait()
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-done, store.ErrClosed)
	})
}

func TestVerifyRefusesANegativeRate(t *testing.T) {
	_, err := openMem(t).Verify(ctx, store.VerifyOptions{BytesPerSecond: -2})
	require.ErrorIs(t, err, store.ErrInvalid)
}

// A view keeps an older version of a key, which then stands in a table with the newer one.
func TestVerifyReadsWhatOnlyAViewKeeps(t *testing.T) {
	s := openStore(t, small(vfs.NewMem()))
	require.NoError(t, s.Do(ctx, set("a", "old"), store.Sync))
	view, err := s.Snapshot(ctx)
	require.NoError(t, err)
	before := s.Stats().Tables
	for i := 0; s.Stats().Tables == before; i++ {
		require.NoError(t, s.Do(ctx, set("a", "new"), store.NoSync))
		require.NoError(t, s.Do(ctx, set(fmt.Sprint("b", i), strings.Repeat("x", 10<<10)), store.NoSync))
	}
	r, err := s.Verify(ctx, fast())
	require.NoError(t, err)
	require.Positive(t, r.Tables)
	require.NoError(t, r.Err())
	view.Close()
	require.NoError(t, s.Close())
}

// Tables come and go, the MANIFEST and the WALs are written and used again: none of this
// is damage.
func TestVerifyBesideTheLoadFindsNothing(t *testing.T) {
	s := openStore(t, small(vfs.NewMem()))
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		stopped <- func() error {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return nil
				default:
				}
				if err := s.Do(ctx, set(fmt.Sprintf("%03d", i*7%500), strings.Repeat(fmt.Sprint(i), 500)), store.NoSync); err != nil {
					return err
				}
			}
		}()
	}()
	for i, tables := 0, 0; i < 40 || tables == 0; i++ {
		r, err := s.Verify(ctx, fast())
		require.NoError(t, err)
		require.NoError(t, r.Err())
		tables += r.Tables
	}
	close(stop)
	require.NoError(t, <-stopped)
	require.NoError(t, s.Close())
}
