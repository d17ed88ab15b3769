package storetest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// SlowSyncs lets each fsync take some time.
func SlowSyncs(fs *FS, takes time.Duration) {
	fs.SetHook(func(c Call) error {
		if c.Op == OpSync {
			<-time.After(takes)
		}
		return nil
	})
}

// CloseWhileCreated closes a store during the fsync of a creation. The object must be there, and
// the error must not say that nothing happened.
func CloseWhileCreated(t *testing.T, create, lookup func(*pebblemq.DB) error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fs := NewFS(vfs.NewCrashableMem())
		db, err := OpenFS(fs, store.Options{})
		require.NoError(t, err)
		SlowSyncs(fs, 20*time.Millisecond)
		opened := make(chan error, 1)
		go func() { opened <- create(db) }()
		synctest.Wait()
		require.NoError(t, db.Close())
		err = <-opened

		db, openErr := OpenFS(fs, store.Options{})
		require.NoError(t, openErr)
		defer func() { require.NoError(t, db.Close()) }()
		require.NoError(t, lookup(db))
		require.ErrorIs(t, err, pebblemq.ErrUnknownOutcome)
		require.NotErrorIs(t, err, pebblemq.ErrClosed)
	})
}
