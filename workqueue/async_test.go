package workqueue_test

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// A disk that is slower than its publishers holds them up before they fill the memory.
func TestPublishAsyncIsHeldUpByADiskThatDoesNotAnswer(t *testing.T) {
	for _, size := range []int{100, 64 << 10} {
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		fs := storetest.NewFS(vfs.NewCrashableMem())
		db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
		require.NoError(t, err)
		b := openBroker(t, db)
		declare(t, b, "q")
		fs.SetHook(gate.Hook)
		gate.Shut()
		var confirms []*pebblemq.Future[workqueue.Published]
		published, held := 0, false
		for !held && published < 64<<20 {
			timed, cancel := context.WithTimeout(bg, 200*time.Millisecond)
			c := b.PublishAsync(timed, "", "q", workqueue.Message{Body: make([]byte, size)})
			cancel()
			select {
			case <-c.Done():
				require.ErrorIs(t, errOf(c.Wait(bg)), context.DeadlineExceeded)
				held = true
			default:
				confirms = append(confirms, c)
				published += size
			}
		}
		gate.Open()
		require.True(t, held, "nobody was held up")
		for _, c := range confirms {
			require.NoError(t, errOf(c.Wait(bg)))
		}
		require.Equal(t, len(confirms), ready(t, b, "q"))
		require.NoError(t, db.Close())
	}
}
