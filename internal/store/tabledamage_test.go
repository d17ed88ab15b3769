package store_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// churn writes n values of 100 bytes under the kind, n at a time, and overwrites or
// deletes what earlier rounds wrote.
func churn(s *store.Store, kind store.Kind, round, n int) error {
	return s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
		for i := range n {
			k := binary.BigEndian.AppendUint32([]byte{byte(kind)}, uint32(i*7919%20000))
			v := make([]byte, 100)
			for j := range v {
				v[j] = byte(rand.Uint32())
			}
			if round%3 == 2 {
				t.DeleteSingle(k)
				continue
			}
			if round%3 == 0 {
				t.Set(k, v)
			}
		}
		return nil
	}), store.NoSync)
}

// inTables returns a closed store with tables of the kind.
func inTables(t *testing.T, kind store.Kind) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	s := openStore(t, small(fs))
	for i := range 40 {
		require.NoError(t, churn(s, kind, 3*i, 200))
		require.NoError(t, churn(s, kind, 3*i+2, 100))
	}
	require.NoError(t, s.Close())
	return fs
}

// A table is damaged at rest. Compactions meet it while the store is used.
func TestDamagedTableStopsNeitherTheHostNorTheRest(t *testing.T) {
	for seed := range 12 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			child(t, "TestDamagedTableChild", fmt.Sprint(seed))
		})
	}
}

func TestDamagedTableChild(t *testing.T) {
	var seed int
	_, err := fmt.Sscan(childArgs(t)[0], &seed)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, uint64(seed)))
	fs := inTables(t, store.KindWorkMessage)
	tables := slices.DeleteFunc(files(t, fs, ".sst"), func(name string) bool { return len(contents(t, fs, name)) < 10<<10 })
	for range 1 + seed%3 {
		name := tables[rng.IntN(len(tables))]
		flip(t, fs, name, rng.IntN(len(contents(t, fs, name))))
	}
	s, err := store.Open(small(fs))
	if err != nil {
		require.ErrorIs(t, err, store.ErrCorrupt)
		require.ErrorContains(t, err, ".sst")
		fmt.Println(childDone)
		return
	}
	var refused error
	other := 0
	for i := range 3000 {
		err := churn(s, store.KindWorkMessage, i, 100)
		err2 := s.Do(ctx, set(fmt.Sprintf("other/%d", i), "value"), store.NoSync)
		if err == nil && err2 == nil {
			other = i
			continue
		}
		refused = errors.Join(err, err2)
		break
	}
	if refused != nil {
		require.ErrorIs(t, refused, store.ErrCorrupt)
		require.ErrorContains(t, refused, ".sst")
	}
	for i := range other {
		v, err := s.Get(ctx, key(fmt.Sprintf("other/%d", i)))
		require.NoError(t, err)
		require.Equal(t, "value", string(v))
	}
	st := s.Stats()
	fmt.Println("refused:", refused, "after", other)
	for _, d := range st.Damaged {
		fmt.Println(filepath.Base(d.Path), d.SetAside, d.Holds, d.Err)
	}
	require.False(t, st.Failed)
	require.Len(t, s.Health().Damaged, len(st.Damaged))
	start := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(start), 30*time.Second)

	s, err = store.Open(small(fs))
	require.NoError(t, err)
	for i := range other {
		v, err := s.Get(ctx, key(fmt.Sprintf("other/%d", i)))
		require.NoError(t, err)
		require.Equal(t, "value", string(v))
	}
	require.NoError(t, s.Close())
	fmt.Println(childDone)
}

// The engine of a store with damage cannot be closed. It must not go on reading, either:
// its statistics miss the damaged table and would look again and again.
func TestDamagedTableIsLeftAloneAfterClose(t *testing.T) {
	child(t, "TestDamagedTableAfterCloseChild", "-")
}

func TestDamagedTableAfterCloseChild(t *testing.T) {
	childArgs(t)
	mem := inTables(t, store.KindWorkMessage)
	for _, name := range files(t, mem, ".sst") {
		if b := contents(t, mem, name); len(b) > 10<<10 {
			clear(b[len(b)-200:]) // the footer: the file cannot even be opened
			replace(t, mem, name, b)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(mem)
		s := openStore(t, small(fs))
		setAside := func() bool {
			return slices.ContainsFunc(s.Stats().Damaged, func(d store.DamagedFile) bool { return d.SetAside })
		}
		for i := 0; !setAside(); i++ {
			require.NoError(t, churn(s, store.KindWorkMessage, i, 100))
			<-time.After(time.Second)
		}
		require.NoError(t, s.Close())
		<-time.After(time.Hour) // whoever waits has noticed
		var reads atomic.Int64
		fs.SetReadHook(func(storetest.Call) error {
			reads.Add(1)
			return nil
		})
		<-time.After(time.Hour)
		require.Zero(t, reads.Load())
		fmt.Println(childDone)
		os.Exit(0) // a part of the engine is parked
	})
}
