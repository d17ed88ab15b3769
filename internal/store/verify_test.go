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

// The MANIFEST is whole in all these cases, and so are its records. It is not what the
// engine wrote, or not what the next Open would read.
func TestVerifyFindsAManifestThatIsNotTheOneOnRecord(t *testing.T) {
	for what, harm := range map[string]func(t *testing.T, fs vfs.FS, name string) (named string){
		"cut behind a record": func(t *testing.T, fs vfs.FS, name string) string {
			b := contents(t, fs, name)
			first := 7 + int(b[4]) + int(b[5])<<8 // the header of a chunk
			require.Less(t, first, len(b))
			replace(t, fs, name, b[:first])
			return name
		},
		"of another store": func(t *testing.T, fs vfs.FS, name string) string {
			other := crashed(t, 20)
			replace(t, fs, name, contents(t, other, newest(t, other, "MANIFEST")))
			return name
		},
		"missing": func(t *testing.T, fs vfs.FS, name string) string {
			require.NoError(t, fs.Remove("data/"+name))
			return newest(t, fs, "marker.manifest")
		},
		"without a marker": func(t *testing.T, fs vfs.FS, _ string) string {
			require.NoError(t, fs.Remove("data/"+newest(t, fs, "marker.manifest")))
			return "marker.manifest"
		},
		"older than the marker": func(t *testing.T, fs vfs.FS, name string) string {
			marker := newest(t, fs, "marker.manifest")
			old := strings.Replace(marker, name, "MANIFEST-000001", 1)
			require.NotEqual(t, marker, old)
			replace(t, fs, "MANIFEST-000001", contents(t, fs, name))
			require.NoError(t, fs.Rename("data/"+marker, "data/"+old))
			return old
		},
		"of an unknown format": func(t *testing.T, fs vfs.FS, _ string) string {
			require.NoError(t, fs.Remove("data/"+newest(t, fs, "marker.format-version")))
			return "marker.format-version"
		},
	} {
		t.Run(what, func(t *testing.T) {
			fs := vfs.NewMem()
			s := settled(t, fs)
			named := harm(t, fs, newest(t, fs, "MANIFEST"))
			r, err := s.Verify(ctx, fast())
			require.NoError(t, err)
			require.ErrorIs(t, r.Err(), store.ErrCorrupt)
			require.Len(t, r.Damages, 1)
			require.Contains(t, r.Damages[0].File, named)
			require.NoError(t, s.Close())
		})
	}
}

// overwrite changes a file that is open in place.
func overwrite(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.OpenReadWrite("data/"+name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, errors.Join(err, f.Close()))
}

func TestVerifyFindsASyncRecordThatIsNotTheOneWritten(t *testing.T) {
	other := crashed(t, 20)
	for what, harm := range map[string]func(b []byte) []byte{
		"zeroed":           func(b []byte) []byte { return make([]byte, len(b)) },
		"damaged slot 0":   func(b []byte) []byte { b[20] ^= 1; return b },
		"damaged slot 1":   func(b []byte) []byte { b[len(b)/2+20] ^= 1; return b },
		"of another store": func(b []byte) []byte { return contents(t, other, "SYNCED")[:len(b)] },
	} {
		t.Run(what, func(t *testing.T) {
			fs := vfs.NewMem()
			s := settled(t, fs)
			found := 0
			write := func() { require.NoError(t, s.Do(ctx, set("a", "b"), store.Sync)) }
			for try := 0; found == 0 && try < 20; try++ { // the newest write is in either slot, and the engine's own come between
				write()
				overwrite(t, fs, "SYNCED", harm(contents(t, fs, "SYNCED")))
				r, err := s.Verify(ctx, fast())
				require.NoError(t, err)
				for _, d := range r.Damages {
					require.Equal(t, "SYNCED", d.File)
					require.ErrorIs(t, d.Err, store.ErrCorrupt)
					found++
				}
			}
			require.Positive(t, found)
			write()
			write() // into the other slot: the record is whole again
			r, err := s.Verify(ctx, fast())
			require.NoError(t, err)
			require.NoError(t, r.Err())
			require.NoError(t, s.Close())
		})
	}
}

func TestVerifyFindsWhatIsMissing(t *testing.T) {
	for _, part := range []string{"SYNCED", ".log"} {
		fs := vfs.NewMem()
		s := settled(t, fs)
		require.NoError(t, s.Do(ctx, set("a", "b"), store.Sync))
		name := newest(t, fs, part)
		require.NoError(t, fs.Remove("data/"+name))
		for range 2 {
			r, err := s.Verify(ctx, fast())
			require.NoError(t, err)
			require.Len(t, r.Damages, 1)
			require.Equal(t, name, r.Damages[0].File)
			require.NoError(t, s.Do(ctx, set("a", "b"), store.Sync))
		}
		require.NoError(t, s.Close())
	}
}
