package pebblemqtest

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// Crash is a loss of power under the store that is open on the disk. The store is closed: its
// calls return pebblemq.ErrClosed, and its Runs end with it. The disk keeps what was synced
// and nothing more, so the next Open finds everything that was reported done with Sync, and
// may miss the newest NoSync changes. Calls that are under way with Sync are settled first: one that
// returns nil has survived. A disk that is frozen, slow or full lets them through for that;
// it is so again for the next Open. A failed disk is repaired.
//
// Without an open store, Crash drops what was written and not synced.
func (d *Disk) Crash() {
	d.mu.Lock()
	l := d.life
	d.mu.Unlock()
	left := l.crash()
	d.mu.Lock()
	defer d.mu.Unlock()
	if left == nil {
		left = d.mem.CrashClone(vfs.CrashCloneCfg{})
	}
	d.mem, d.err = left, nil
}

// crash ends a life and returns what is left of its files, nil if it had ended before.
func (l *life) crash() *vfs.MemFS {
	if l == nil {
		return nil
	}
	l.release()
	c := newCrash(l)
	err := bridge.Store(l.db).Do(context.Background(), crashOp{c}, store.NoSync)
	if errors.Join(err, l.db.Close()) != nil {
		return nil // it was closed, or has failed: nothing has been acknowledged since
	}
	return c.left
}

// crash copies the files at the last moment when all that was acknowledged is on the disk and
// nothing is on it because the store was closed.
//
// The naive way is to copy the files and then to close the store. Calls that are accepted in
// between would be acknowledged and lost. To fail them would leave an engine behind that never
// ends. So the store is closed first, which refuses new calls, waits for those under way, and
// then writes one more group, the last. The kernel calls Seal before each group that it syncs:
// the copy that is made before the last one is what is left. Close marks the store as down
// before it waits, so copies are made only from then on.
//
// Invariant: Seal is called for each synced group from crashOp on. It has to ask for the next
// call each time, which it can do only while the kernel seals what was touched; see again.
type crash struct {
	store.Sealed
	s     *store.Store
	fs    *storetest.FS
	again *again
	left  *vfs.MemFS
}

func newCrash(l *life) *crash {
	c := &crash{s: bridge.Store(l.db), fs: l.fs}
	c.again = &again{of: c}
	return c
}

// Seal copies the files.
func (c *crash) Seal(t *store.Turn) {
	select {
	case <-c.s.Down():
		c.left = c.fs.CrashClone(vfs.CrashCloneCfg{})
	default:
	}
	t.Touch(c.again)
}

// again asks for the next Seal of a crash. It is sealed after all those that are late, where
// the crash itself would be forgotten.
type again struct {
	store.Sealed
	of *crash
}

func (a *again) Seal(t *store.Turn) { t.TouchLate(a.of) }

// crashOp asks for the first Seal.
type crashOp struct{ c *crash }

func (o crashOp) Run(t *store.Turn) error { t.TouchLate(o.c); return nil }
func (o crashOp) Undo()                   {}
func (o crashOp) Visible(*store.Turn)     {}

// Frees and Prompt let it in on a full disk.
func (o crashOp) Frees()  {}
func (o crashOp) Prompt() {}
