package backup

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

var quiet = slog.New(slog.DiscardHandler)

// notebook is a store with a topic.
type notebook struct {
	db *pebblemq.DB
	t  *log.Topic
}

func openNotebook(t *testing.T, dir string) *notebook {
	db, err := pebblemq.Open(dir, &pebblemq.Options{Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	topic, err := log.OpenTopic(t.Context(), db, "notes", nil)
	require.NoError(t, err)
	return &notebook{db, topic}
}

func (n *notebook) write(t *testing.T, count, size int) {
	records := make([]log.Record, count)
	for i := range records {
		records[i].Value = make([]byte, size)
		_, _ = rand.Read(records[i].Value) // what cannot be compressed
	}
	_, err := n.t.Append(t.Context(), records...)
	require.NoError(t, err)
}

// restored returns how many notes there are in the newest generation of a moment.
func restored(t *testing.T, from bucket, at time.Time) int64 {
	dir := filepath.Join(t.TempDir(), "restored")
	_, err := restore(t.Context(), from, at, dir)
	require.NoError(t, err)
	n := openNotebook(t, dir)
	report, err := n.db.Verify(t.Context(), &pebblemq.VerifyOptions{BytesPerSecond: pebblemq.Unlimited})
	require.NoError(t, err)
	require.NoError(t, report.Err())
	info, err := n.t.Info(t.Context())
	require.NoError(t, err)
	require.NoError(t, n.db.Close())
	return info.Partitions[0].End
}

// needed are the objects that the generations of a bucket consist of.
func needed(t *testing.T, b bucket) []string {
	all, err := manifests(t.Context(), b)
	require.NoError(t, err)
	keys := make(map[string]bool)
	for _, m := range all {
		keys[m.key()] = true
		for _, f := range m.Files {
			keys[f.key()] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

func TestWhateverStepABackupDiesAtAWholeGenerationIsRestored(t *testing.T) {
	n, first := openNotebook(t, t.TempDir()), newShelf()
	n.write(t, 10, 100)
	o := &Options{Keep: 1, Logger: quiet}
	_, err := take(t.Context(), n.db, first, o)
	require.NoError(t, err)
	n.write(t, 5, 100)
	count := first.copied(0)
	_, err = take(t.Context(), n.db, count, o)
	require.NoError(t, err)
	require.Greater(t, count.steps, 5)
	for cut := 1; cut <= count.steps; cut++ {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			b := first.copied(cut)
			_, err := take(t.Context(), n.db, b, o)
			require.ErrorIs(t, err, errCut)
			b.cut = 0
			require.Contains(t, []int64{10, 15}, restored(t, b, time.Time{}))
			_, err = take(t.Context(), n.db, b, o)
			require.NoError(t, err)
			require.EqualValues(t, 15, restored(t, b, time.Time{}))
			require.Equal(t, needed(t, b), slices.Sorted(maps.Keys(b.objects)), "nothing is left over")
		})
	}
}

func TestWhatAGenerationHasDoesNotTravelAgain(t *testing.T) {
	dir, b := t.TempDir(), newShelf()
	n := openNotebook(t, dir)
	for range 20 {
		n.write(t, 100, 10_000)
	}
	require.NoError(t, n.db.Close())
	n = openNotebook(t, dir) // now all of it is in tables
	o := &Options{TempDir: t.TempDir(), Logger: quiet}
	first, err := take(t.Context(), n.db, b, o)
	require.NoError(t, err)
	require.Equal(t, first.Bytes, first.Uploaded)
	more := 0
	for small := false; !small && more < 10; more++ { // compactions may still make new tables of the old ones
		n.write(t, 1, 100)
		g, err := take(t.Context(), n.db, b, o)
		require.NoError(t, err)
		small = g.Uploaded*20 < first.Uploaded
	}
	require.Less(t, more, 10)
	require.EqualValues(t, 2000+more, restored(t, b, time.Time{}))
	left, err := os.ReadDir(o.TempDir)
	require.NoError(t, err)
	require.Empty(t, left, "the checkpoint is removed")
}

func TestAMomentIsRestored(t *testing.T) {
	n, b := openNotebook(t, t.TempDir()), newShelf()
	var taken []Generation
	for range 3 {
		n.write(t, 1, 10)
		g, err := take(t.Context(), n.db, b, &Options{Logger: quiet})
		require.NoError(t, err)
		taken = append(taken, g)
	}
	for i, g := range taken {
		require.EqualValues(t, i+1, restored(t, b, g.Taken))
		require.EqualValues(t, i+1, restored(t, b, g.Taken.Add(1)))
	}
	_, err := restore(t.Context(), b, taken[0].Taken.Add(-1), filepath.Join(t.TempDir(), "x"))
	require.ErrorIs(t, err, pebblemq.ErrNotFound)
	require.ErrorContains(t, err, "the oldest is of")
}

func TestOnlyTheNewestGenerationsAreKept(t *testing.T) {
	n, b := openNotebook(t, t.TempDir()), newShelf()
	for range 5 {
		n.write(t, 1, 10)
		_, err := take(t.Context(), n.db, b, &Options{Keep: 2, Logger: quiet})
		require.NoError(t, err)
	}
	all, err := manifests(t.Context(), b)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.EqualValues(t, 4, restored(t, b, all[0].Taken))
	require.Equal(t, needed(t, b), slices.Sorted(maps.Keys(b.objects)))
}

func TestADamagedObjectIsNotRestored(t *testing.T) {
	n, b := openNotebook(t, t.TempDir()), newShelf()
	n.write(t, 1, 10)
	_, err := take(t.Context(), n.db, b, &Options{Logger: quiet})
	require.NoError(t, err)
	for key, data := range b.objects {
		if strings.HasPrefix(key, files) && len(data) > 0 {
			b.objects[key] = append([]byte{data[0] ^ 1}, data[1:]...)
			break
		}
	}
	dir := filepath.Join(t.TempDir(), "x")
	_, err = restore(t.Context(), b, time.Time{}, dir)
	require.ErrorIs(t, err, pebblemq.ErrCorrupt)
	require.NoDirExists(t, dir)
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestNothingIsRestoredOverADirectory(t *testing.T) {
	dir := t.TempDir()
	_, err := restore(t.Context(), newShelf(), time.Time{}, dir)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.ErrorContains(t, err, "it exists")
	_, err = restore(t.Context(), newShelf(), time.Time{}, filepath.Join(dir, "x"))
	require.ErrorIs(t, err, pebblemq.ErrNotFound)
}

// What comes back from the bucket is not what was sent.
func TestAnUploadIsReadBack(t *testing.T) {
	n := openNotebook(t, t.TempDir())
	_, err := take(t.Context(), n.db, liar{newShelf()}, &Options{Logger: quiet})
	require.ErrorContains(t, err, "what was read back is not what was written")
}

type liar struct{ *shelf }

func (l liar) put(ctx context.Context, key string, _ io.Reader) error {
	return l.shelf.put(ctx, key, strings.NewReader("something else"))
}

func TestRunGoesOnAfterAFailure(t *testing.T) {
	n := openNotebook(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	b := &recovering{shelf: newShelf(), taken: stop}
	b.cut = 1
	require.NoError(t, run(ctx, n.db, b, time.Millisecond, &Options{Logger: quiet}))
	require.Zero(t, b.cut)
	require.NoError(t, n.db.Close())
	require.ErrorIs(t, run(t.Context(), n.db, b, time.Millisecond, &Options{Logger: quiet}), pebblemq.ErrClosed)
}

// recovering fails until it has been asked three times, and tells when a generation is there.
type recovering struct {
	*shelf
	asked int
	taken func()
}

func (r *recovering) list(ctx context.Context, prefix string) iter.Seq2[string, error] {
	if r.asked++; r.asked == 3 {
		r.cut = 0
	}
	return r.shelf.list(ctx, prefix)
}

func (r *recovering) put(ctx context.Context, key string, from io.Reader) error {
	err := r.shelf.put(ctx, key, from)
	if err == nil && strings.HasPrefix(key, generations) {
		r.taken()
	}
	return err
}

func TestBadOptionsAreRefused(t *testing.T) {
	_, err := Take(t.Context(), nil, nil, &Options{Keep: -1})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.ErrorIs(t, Run(t.Context(), nil, nil, 0, nil), pebblemq.ErrInvalid)
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"files":[{"name":"000001.sst","size":1,"sha256":"` + strings.Repeat("ab", hashBytes) + `"}]}`))
	f.Add([]byte(`{"version":1,"files":[{"name":"../x"}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeManifest(text)
		if err != nil {
			return
		}
		for _, file := range m.Files {
			require.True(t, filepath.IsLocal(file.Name))
			_ = file.key()
		}
	})
}
