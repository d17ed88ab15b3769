package window

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestClearForgetsEveryID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s, w := open(t, fs)
		w.once(t, "a", "first", store.NoSync)
		<-time.After(length / 2)
		w.once(t, "b", "first", store.NoSync)
		for range 2 {
			require.NoError(t, s.Do(ctx, store.OpFunc(func(turn *store.Turn) error {
				w.Clear(turn)
				return nil
			}), store.NoSync))
		}
		for _, id := range []string{"a", "b"} {
			_, repeated := w.once(t, id, "second", store.Sync)
			require.False(t, repeated)
		}
		require.NoError(t, s.Close())
		s, w = open(t, fs)
		defer s.Close()
		got, repeated := w.once(t, "b", "third", store.NoSync)
		require.True(t, repeated)
		require.Equal(t, "second", got)
		<-time.After(length)
		_, repeated = w.once(t, "b", "fourth", store.NoSync)
		require.False(t, repeated, "time goes on")
	})
}
