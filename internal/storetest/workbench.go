package storetest

import (
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Workbench is a store whose tables are damaged while it is closed. No compaction meets
// the damage.
type Workbench struct {
	T   *testing.T
	FS  *FS
	Log *ErrorLog
	DB  *pebblemq.DB

	o      store.Options
	opened func() // opens the objects of the test again
	undo   func() // of the last damage
}

// Start opens the store and closes it with the test. Opened is called each time that
// the store is open again. The options may have a Clock.
func (w *Workbench) Start(t *testing.T, o store.Options, opened func()) {
	w.T, w.FS, w.Log = t, NewFS(vfs.NewMem()), &ErrorLog{}
	w.o, w.opened = o, opened
	w.o.Logger, w.o.NoCompactions = w.Log.Logger(), true
	w.Open()
	t.Cleanup(func() { Close(t, w.DB) })
}

// Open opens the store and the objects of the test.
func (w *Workbench) Open() {
	w.T.Helper()
	w.openStore()
	w.opened()
}

func (w *Workbench) openStore() {
	w.T.Helper()
	var err error
	w.DB, err = OpenFS(w.FS, w.o)
	require.NoError(w.T, err)
}

// Close closes the store, with all that it holds in tables.
func (w *Workbench) Close() {
	w.T.Helper()
	require.NoError(w.T, w.DB.Close())
	w.openStore() // flushes the WAL
	require.NoError(w.T, w.DB.Close())
}

// Damage flips bits in the tables of a kind, and opens the store again.
func (w *Workbench) Damage(kind store.Kind, parts ...float64) {
	w.T.Helper()
	w.Close()
	w.undo = DamageTables(w.T, w.FS.FS, kind, parts...)
	w.Open()
}

// Repair takes the damage back.
func (w *Workbench) Repair() {
	w.T.Helper()
	require.NoError(w.T, w.DB.Close())
	w.undo()
	w.Open()
}

// FailReads makes reads of tables fail.
func (w *Workbench) FailReads() {
	w.FS.SetReadHook(func(c Call) error {
		if c.Class == ClassTable {
			return syscall.EIO
		}
		return nil
	})
}
