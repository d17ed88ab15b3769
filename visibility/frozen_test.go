package visibility_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

// The disk freezes while a handler runs. Run ends with its context and the grace, and
// says so if the outcome of a message is unknown.
func TestRunEndsWithItsContextOnAFrozenDisk(t *testing.T) {
	no := errors.New("no")
	for name, c := range map[string]struct {
		durability pebblemq.Durability
		failure    error
		noRoom     bool
		ends       time.Duration
		err        error
	}{
		"a deletion":             {durability: pebblemq.Sync, ends: 3 * time.Second, err: pebblemq.ErrUnknownOutcome},
		"one that is not synced": {ends: 2 * time.Second},
		"one that has no room":   {noRoom: true, ends: 3 * time.Second},
		"a failure":              {durability: pebblemq.Sync, failure: no, ends: 3 * time.Second, err: pebblemq.ErrUnknownOutcome},
		"a failure, and no room": {failure: no, noRoom: true, ends: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cold := storetest.OpenCold(t, "")
				q := open(t, cold.DB, "q", nil)
				send(t, q, "x")
				ctx, stop := context.WithTimeout(pebblemq.WithDurability(ctx, c.durability), storetest.Patience)
				defer stop()
				var begin time.Time
				err := q.Run(ctx, func(context.Context, *visibility.Received) error {
					cold.Freeze()
					if c.noRoom {
						cold.Fill(t)
					}
					begin = time.Now()
					return c.failure
				}, &visibility.RunOptions{Concurrency: 2})
				require.Equal(t, c.ends, time.Since(begin).Round(time.Second))
				if c.err == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, c.err)
				}
				cold.Thaw()
				storetest.Close(t, cold.DB)
			})
		})
	}
}

// A waiting receive may get a message whose mark must be synced.
func TestAReceiveThatWasServedOnAFrozenDiskEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cold := storetest.OpenCold(t, "")
		q := open(t, cold.DB, "q", nil)
		ctx, stop := context.WithTimeout(pebblemq.WithDurability(ctx, pebblemq.Sync), storetest.Patience)
		defer stop()
		begin, ended := time.Now(), make(chan error, 1)
		go func() {
			_, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
			ended <- err
		}()
		synctest.Wait()
		cold.Freeze()
		_, err := q.Send(pebblemq.WithDurability(ctx, pebblemq.NoSync), visibility.Message{Body: []byte("x")})
		require.NoError(t, err)
		select {
		case err := <-ended:
			require.ErrorIs(t, err, pebblemq.ErrUnknownOutcome)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, storetest.Patience+storetest.Grace, time.Since(begin))
		case <-time.After(time.Hour):
			t.Error("the receive goes on")
		}
		cold.Thaw()
		storetest.Close(t, cold.DB)
	})
}

// A wait that its caller gives up takes no message, even if the store has no room.
func TestAReceiveLeavesTheLineOfAFrozenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cold := storetest.OpenCold(t, "")
		q := open(t, cold.DB, "q", nil)
		ctx, stop := context.WithTimeout(ctx, storetest.Patience)
		defer stop()
		begin, ended := time.Now(), make(chan error, 1)
		go func() {
			_, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
			ended <- err
		}()
		synctest.Wait()
		cold.Freeze()
		cold.Fill(t)
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
		require.Equal(t, storetest.Patience, time.Since(begin))
		cold.Thaw()
		send(t, q, "x")
		counts(t, q, 1, 0, 0)
		storetest.Close(t, cold.DB)
	})
}

// A queue was created when the context ended: the call that has created it must not say that
// nothing has happened.
func TestOpenQueueAnswersForWhatItHasCreated(t *testing.T) {
	for name, c := range map[string]struct {
		slow time.Duration // how long an fsync takes
		err  error
	}{
		"in time":  {500 * time.Millisecond, nil},
		"too late": {3 * time.Second, pebblemq.ErrUnknownOutcome},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := storetest.NewFS(vfs.NewCrashableMem())
				db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
				require.NoError(t, err)
				open(t, db, "dead", nil)
				storetest.SlowSyncs(fs, c.slow)
				short, stop := context.WithTimeout(ctx, time.Millisecond)
				defer stop()
				_, err = visibility.OpenQueue(short, db, "q", &visibility.QueueConfig{MaxReceives: 3, DeadLetterQueue: "dead"})
				require.ErrorIs(t, err, c.err)
				_, err = visibility.LookupQueue(ctx, db, "q")
				require.NoError(t, err)
				require.NoError(t, db.Close())
			})
		})
	}
}
