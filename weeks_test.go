package pebblemq_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// days is how long a test of a store of little use lasts.
func days(n int) int {
	if testing.Short() {
		return 1
	}
	return n
}

// requireSmall checks what a store with next to nothing in it takes up.
func requireSmall(t *testing.T, u usage) {
	t.Helper()
	t.Log(u)
	require.Less(t, u.keys, 6000)
	require.Less(t, u.tables, 150)
	require.Less(t, u.tableSize, int64(1<<20))
	require.Less(t, u.manifestSize, int64(600<<10))
	require.Less(t, u.disk, int64(12<<20), "the WALs are that large until they are reused")
	require.Less(t, min(u.heap, u.heap-u.engine), int64(6<<20))
}

// requireSteady checks that time does not make a store larger.
func requireSteady(t *testing.T, first, last usage) {
	t.Helper()
	growth := min(last.heap-first.heap, last.heap-last.engine-first.heap+first.engine)
	require.Less(t, growth, int64(512<<10))
	require.LessOrEqual(t, last.goroutines, first.goroutines+2)
}

func TestAStoreOfLittleUseStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &household{t: t, fs: vfs.NewMem()}
		h.open()
		defer h.close()
		first := h.day()
		requireSmall(t, first)
		last := first
		for range days(5) - 1 {
			last = h.day()
			requireSmall(t, last)
		}
		requireSteady(t, first, last)
	})
}

func TestAStoreThatIsOpenedEveryHourStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &household{t: t, fs: vfs.NewMem()}
		for range days(3) {
			for range 24 {
				h.open()
				h.hour()
				for range 59 {
					h.minute()
				}
				h.close()
			}
			h.open()
			<-time.After(time.Minute)
			synctest.Wait()
			u := h.usage()
			h.close()
			requireSmall(t, u)
		}
	})
}
