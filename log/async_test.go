package log_test

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// settled returns the outcome if it is known already.
func settled(f *pebblemq.Future[[]log.Position]) error {
	select {
	case <-f.Done():
		_, err := f.Wait(ctx)
		return err
	default:
		return nil
	}
}

// dead is a context that has ended, with which Wait returns only what is known already.
var dead = func() context.Context {
	c, cancel := context.WithCancel(ctx)
	cancel()
	return c
}()

// A disk that is slower than its producers holds them up before they fill the
// memory, by bytes and not by calls.
func TestAsyncAppendsAreHeldUpByBytes(t *testing.T) {
	for _, size := range []int{100, 64 << 10} {
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		fs := storetest.NewFS(vfs.NewCrashableMem())
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		fs.SetHook(gate.Hook)
		gate.Shut()
		var results []*pebblemq.Future[[]log.Position]
		const most = 8 << 20
		for len(results)*size < most {
			timed, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			r := topic.AppendAsync(timed, log.Record{Value: make([]byte, size)})
			cancel()
			if err = settled(r); err != nil {
				break
			}
			results = append(results, r)
		}
		timed, cancel := context.WithTimeout(ctx, time.Millisecond)
		flush := topic.Flush(timed)
		cancel()
		gate.Open()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Error(t, flush, "nothing is settled yet")
		require.NoError(t, topic.Flush(ctx))
		for i, r := range results {
			at, err := r.Wait(dead)
			require.NoError(t, err, "Flush waits for them")
			require.EqualValues(t, i, at[0].Offset)
		}
		require.NoError(t, db.Close())
	}
}

func TestFlushWaitsForWhatWasAppendedBefore(t *testing.T) {
	fs := newCrashFS(t)
	db, topic := fs.open(t)
	require.NoError(t, topic.Flush(ctx), "nothing to wait for")
	var results []*pebblemq.Future[[]log.Position]
	for i := range 500 {
		c := ctx
		if i%3 == 0 {
			c = noSync
		}
		results = append(results, topic.AppendAsync(c, numbered(1)...))
	}
	require.NoError(t, topic.Flush(noSync), "whatever the durability asked for")
	for _, r := range results {
		_, err := r.Wait(dead)
		require.NoError(t, err)
	}
	crashed := fs.crash(1, 0)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, topic.Flush(cancelled), context.Canceled)
	require.NoError(t, deleteTopic(db, "orders"))
	require.ErrorIs(t, topic.Flush(ctx), log.ErrTopicDeleted)
	require.NoError(t, db.Close())

	db, topic = crashed.open(t)
	require.Len(t, fetchAll(t, topic, 0, log.Start()), 500, "all before the last Sync one")
	require.NoError(t, db.Close())
	require.ErrorIs(t, topic.Flush(ctx), pebblemq.ErrClosed)
}
