package log_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// crashFS is a file system that can be cloned as a crash would leave it.
type crashFS struct{ *storetest.FS }

func newCrashFS(testing.TB) crashFS { return crashFS{storetest.NewFS(vfs.NewCrashableMem())} }

func (f crashFS) open(t testing.TB) (*pebblemq.DB, *log.Topic) {
	t.Helper()
	db, err := storetest.OpenFS(f, store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	return db, topic
}

// crash returns what a crash leaves; unsynced data survives in part.
func (f crashFS) crash(seed uint64, percent int) crashFS {
	rng := rand.New(rand.NewPCG(seed, 1))
	return crashFS{storetest.NewFS(f.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))}
}

// TestACrashLosesNoAcknowledgedRecord crashes under load, again and again. After a crash every
// acknowledged record is at its place. There is no gap, no half of a call and no commit beyond
// the end. The log goes on from there.
func TestACrashLosesNoAcknowledgedRecord(t *testing.T) {
	fs := newCrashFS(t)
	acked := map[int64]string{}
	for life := range 12 {
		db, topic := fs.open(t)
		checkAfterCrash(t, topic, acked)
		g, err := topic.OpenGroup(ctx, "g", nil)
		require.NoError(t, err)
		lags, err := g.Lag(ctx)
		require.NoError(t, err)
		require.LessOrEqual(t, lags[0].Committed, lags[0].End)

		next := load(t, fs, topic, g, life, acked)
		require.NoError(t, db.Close())
		fs = next
	}
	require.NotEmpty(t, acked)
}

// load appends from several goroutines and returns a crash from their midst, with
// what was acknowledged before that.
func load(t *testing.T, fs crashFS, topic *log.Topic, g *log.Group, life int, acked map[int64]string) crashFS {
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	var mu sync.Mutex
	var wg sync.WaitGroup
	frozen := false
	acks := make(chan struct{}, 4*40)
	for w := range 4 {
		wg.Go(func() {
			for i := range 40 {
				c := ctx
				if (i+w)%3 == 0 {
					c = noSync
				}
				call := fmt.Sprintf("%d/%d/%d", life, w, i)
				at, err := topic.Append(c, values(call+":0", call+":1", call+":2")...)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if c == ctx && !frozen {
					for j, p := range at {
						acked[p.Offset] = fmt.Sprintf("%s:%d", call, j)
					}
				}
				mu.Unlock()
				acks <- struct{}{}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			found, err := m.Poll(ctx, 10)
			if err == nil {
				err = m.Commit(ctx, found...)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 10 + 30*(life%4) {
		<-acks
	}
	mu.Lock()
	next := fs.crash(uint64(life), 30*(life%3))
	frozen = true
	mu.Unlock()
	wg.Wait()
	return next
}

func checkAfterCrash(t *testing.T, topic *log.Topic, acked map[int64]string) {
	t.Helper()
	got := fetchAll(t, topic, 0, log.Start())
	require.Zero(t, len(got)%3, "half of a call")
	for i, v := range got {
		require.Equal(t, fmt.Sprint(i%3), v[len(v)-1:], "offset %d: %s", i, v)
		require.Equal(t, got[i-i%3][:len(v)-1], v[:len(v)-1], "a call in one piece")
	}
	for offset, want := range acked {
		require.Less(t, offset, int64(len(got)))
		require.Equal(t, want, got[offset])
	}
	_, end, err := topic.Offsets(ctx, 0)
	require.NoError(t, err)
	require.EqualValues(t, len(got), end)
}
