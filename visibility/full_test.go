package visibility_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
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

// On a full disk a Receive that waits still ends in time, and with its
// context.
func TestAWaitEndsOnAFullDisk(t *testing.T) {
	for _, how := range []string{"timeout", "context"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base := storetest.NewFS(vfs.NewCrashableMem())
				quota := storetest.NewQuota(24<<20, false)
				base.SetHook(quota.Hook)
				base.Usage = quota.Usage
				db, err := storetest.OpenFS(base, store.Options{MemoryBytes: store.MinMemoryBytes})
				require.NoError(t, err)
				defer db.Close()
				q := open(t, db, "mail", nil)
				empty := open(t, db, "empty", nil)
				for err == nil {
					_, err = q.Send(pebblemq.WithDurability(ctx, pebblemq.NoSync), visibility.Message{Body: noise()})
				}
				require.ErrorIs(t, err, pebblemq.ErrDiskFull)
				require.True(t, db.Stats().DiskFull)
				c, cancel := context.WithCancel(ctx)
				defer cancel()
				wait := time.Minute
				if how == "context" {
					wait = 100 * time.Hour
					time.AfterFunc(time.Minute, cancel)
				}
				done := make(chan error, 1)
				go func() {
					_, err := empty.Receive(c, &visibility.ReceiveOptions{Wait: wait})
					done <- err
				}()
				<-time.After(2 * time.Minute)
				synctest.Wait()
				select {
				case err := <-done:
					require.Equal(t, how == "context", errors.Is(err, context.Canceled), "%v", err)
				default:
					t.Error("still waiting")
				}
			})
		})
	}
}

// Looking at a queue and emptying it work on a full disk.
func TestStatsAndPurgeOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := storetest.NewFS(vfs.NewCrashableMem())
		quota := storetest.NewQuota(24<<20, false)
		base.SetHook(quota.Hook)
		base.Usage = quota.Usage
		db, err := storetest.OpenFS(base, store.Options{MemoryBytes: store.MinMemoryBytes})
		require.NoError(t, err)
		defer db.Close()
		q := open(t, db, "mail", nil)
		for err == nil {
			_, err = q.Send(pebblemq.WithDurability(ctx, pebblemq.NoSync), visibility.Message{Body: noise()})
		}
		_, err = q.Stats(ctx)
		require.NoError(t, err)
		_, err = q.Purge(ctx)
		require.NoError(t, err)
	})
}

func noise() []byte {
	b := make([]byte, 100<<10)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rand.Uint64())
	}
	return b
}

// The retention of a message ends in the hands of a handler while the disk is full. Run does not
// look at it without a pause until there is room.
func TestAMessageInHandIsOutlivedOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := storetest.NewFS(vfs.NewCrashableMem())
		quota := storetest.NewQuota(1<<30, false)
		base.SetHook(quota.Hook)
		base.Usage = quota.Usage
		db, err := storetest.OpenFS(base, store.Options{MemoryBytes: store.MinMemoryBytes})
		require.NoError(t, err)
		defer db.Close()
		q := open(t, db, "mail", &visibility.QueueConfig{Retention: time.Minute})
		send(t, q, "x")
		var lost error
		require.NoError(t, runFor(q, time.Hour, func(ctx context.Context, _ *visibility.Received) error {
			quota.Fill()
			<-time.After(2 * time.Minute) // which never end if somebody is busy all the time
			quota.Resize(1 << 30)
			<-time.After(time.Minute)
			lost = context.Cause(ctx)
			return nil
		}, nil))
		require.ErrorIs(t, lost, visibility.ErrLeaseLost)
	})
}
