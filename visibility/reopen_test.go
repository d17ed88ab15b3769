package visibility_test

import (
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

func openOn(t *testing.T, fs vfs.FS) (*pebblemq.DB, *visibility.Queue) {
	db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	return db, open(t, db, "mail", nil)
}

// What timed out while the store was closed is visible, and counted so.
func TestWhatTimedOutWhileClosedCountsAsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		db, q := openOn(t, fs)
		send(t, q, "a", "b", "c")
		receive(t, q, 3)
		require.NoError(t, db.Close())
		<-time.After(time.Hour)
		db, q = openOn(t, fs)
		defer db.Close()
		<-time.After(time.Minute)
		synctest.Wait()
		require.Equal(t, uint64(0), stats(t, q).InFlight)
	})
}

// A timeout goes on after the restart, and ends even without a receive.
func TestATimeoutOfBeforeEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		db, q := openOn(t, fs)
		send(t, q, "a", "b", "c")
		receive(t, q, 3)
		require.NoError(t, db.Close())
		db, q = openOn(t, fs)
		defer db.Close()
		<-time.After(time.Minute)
		synctest.Wait()
		require.Equal(t, uint64(0), stats(t, q).InFlight)
	})
}

// A purge leaves what is in flight, also just after a restart.
func TestPurgeJustAfterARestartLeavesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		db, q := openOn(t, fs)
		send(t, q, "a", "b", "c")
		receive(t, q, 3)
		require.NoError(t, db.Close())
		db, q = openOn(t, fs)
		defer db.Close()
		n, err := q.Purge(ctx)
		require.NoError(t, err)
		require.Equal(t, 0, n)
		require.Equal(t, uint64(3), stats(t, q).InFlight)
	})
}

// The mark of r1 is lost in a crash, the message is received again (r2, marked),
// the store is reopened: r1 is stale and must not delete it under r2's hands.
func TestAStaleReceiptStaysStaleOverAReopening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, q := openOn(t, fs)
		send(t, q, "a")
		r1 := one(t, q).Receipt
		left := fs.CrashClone(vfs.CrashCloneCfg{}) // before the sync interval
		require.NoError(t, db.Close())
		<-time.After(time.Second)
		db, q = openOn(t, left)
		r2 := one(t, q).Receipt
		require.NotEqual(t, r1, r2)
		require.ErrorIs(t, q.Delete(ctx, r1), visibility.ErrStaleReceipt)
		require.NoError(t, db.Close())
		db, q = openOn(t, left)
		defer db.Close()
		require.ErrorIs(t, q.ChangeVisibility(ctx, r1, 0), visibility.ErrStaleReceipt)
		require.ErrorIs(t, q.Delete(ctx, r1), visibility.ErrStaleReceipt)
		require.NoError(t, q.Delete(ctx, r2))
	})
}

// A prime suspect that has not had its turn yet is one after the next
// crash, too.
func TestAPrimeSuspectStaysOneOverTheNextCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, err := storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
		require.NoError(t, err)
		releasing := &visibility.QueueConfig{ReleaseOnOpen: true}
		q, err := visibility.OpenQueue(ctx, db, "mail", releasing)
		require.NoError(t, err)
		send(t, q, "n1", "culprit", "x", "y", "z")
		receive(t, q, 2)
		<-time.After(time.Second) // the marks are synced
		for life := range 2 {
			left := fs.CrashClone(vfs.CrashCloneCfg{})
			require.NoError(t, db.Close())
			fs = left
			db, err = storetest.OpenFS(fs, store.Options{MemoryBytes: store.MinMemoryBytes})
			require.NoError(t, err)
			q, err = visibility.OpenQueue(ctx, db, "mail", releasing)
			require.NoError(t, err)
			got := bodies(receive(t, q, 3))
			require.NotContains(t, got[1:], "culprit", "life %d: it was out when the process died, and goes alone", life)
			<-time.After(time.Second)
		}
		require.NoError(t, db.Close())
	})
}
