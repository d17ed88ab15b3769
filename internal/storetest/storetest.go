// Package storetest opens stores for tests.
package storetest

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Open opens a new store in memory. It verifies and closes it when the test ends.
func Open(t testing.TB, o *pebblemq.Options) *pebblemq.DB {
	t.Helper()
	db, err := pebblemq.OpenMemory(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(t, db) })
	return db
}

// OpenFS opens the store in directory "data" of a file system, which may inject
// faults or be cloned as after a crash, and verifies it. The caller closes it.
func OpenFS(fs vfs.FS, o store.Options) (*pebblemq.DB, error) {
	o.FS, o.Dir = fs, "data"
	s, err := store.Open(o)
	if err != nil {
		return nil, err
	}
	return bridge.DB(s).(*pebblemq.DB), nil
}

// Close closes a store that is expected to be in good order.
func Close(t testing.TB, db *pebblemq.DB) {
	t.Helper()
	Verify(t, db)
	Sound(t, db)
	if err := db.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// Sound fails the test if something is wrong with what the queues of a store have in memory.
func Sound(t interface {
	Helper()
	Errorf(format string, args ...any)
}, db *pebblemq.DB,
) {
	t.Helper()
	s := bridge.Store(db)
	if err := s.Sound(context.Background()); err != nil && s.Cause() == nil {
		t.Errorf("in memory: %v", err)
	}
}
