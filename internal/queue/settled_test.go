package queue

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// settleWaiting settles messages in their place, as a redrive does.
func (f *feed) settleWaiting(from, to uint64) {
	for seq := from; seq < to; seq++ {
		var m *Message
		var err error
		f.do(func(t *store.Turn) { m, err = f.q.Lookup(t, seq) })
		require.NoError(f.t, err)
		f.settle(m)
	}
}

func TestWhatIsSettledInItsPlaceLeavesMemory(t *testing.T) {
	f := newFeed(t, vfs.NewMem())
	defer func() { require.NoError(t, f.s.Close()) }()
	for range 100 {
		f.put(store.NoSync, make([]byte, 100))
	}
	f.settleWaiting(0, 100)
	waiting, low := f.sealed()
	require.Zero(t, waiting)
	require.Equal(t, uint64(100), low, "readers pass over what is gone")
}

// sealed returns the length of the window and the low-water mark after a Seal.
func (f *feed) sealed() (waiting int, low uint64) {
	f.sync() // what was settled NoSync is written with the next synced group
	f.do(func(t *store.Turn) {
		f.q.Seal(t)
		waiting, low = f.q.line.window.len(), f.q.meta.low
	})
	return waiting, low
}

func TestWhatIsSettledBehindAWaitingMessageLeavesMemory(t *testing.T) {
	f := newFeed(t, vfs.NewMem())
	defer func() { require.NoError(t, f.s.Close()) }()
	for n := range uint64(4 * chunkMessages) {
		f.put(store.NoSync, make([]byte, 100))
		if n > 0 {
			f.settleWaiting(n, n+1)
		}
		waiting, _ := f.sealed()
		require.LessOrEqual(t, waiting, chunkMessages+2)
	}
	require.Zero(t, f.take().Seq)
}
