package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard is the file system that the engine sees. It decides what an error may do to the engine,
// because the engine decides badly. A failed WAL fsync exits the process. A failed WAL rotation
// is an unrecoverable runtime fault. A failed MANIFEST write corrupts the next open. A failed
// table write is tried again without a pause.
//
//	file                 any error         disk full, or a shortage
//	WAL, MANIFEST, dirs  poison, park      wait, go on
//	tables, blobs        back off, return  wait, go on
//
// A table whose sync finds the disk full is written anew, for as long as it is full.
// A shortage (shortage.go) that lasts for MaxShortage poisons the store.
//
// Errors of reads are in readguard.go.
//
// To park is to block the engine's goroutine for ever: neither returning the
// error nor unwinding is safe. The kernel gives the engine up at that moment.
//
// An fsync that fails is never tried again: the operating system may have dropped
// the pages. EINTR is the exception: the system has then not reported any page as
// written or lost. Go repeats an interrupted fsync for the same reason.
type guard struct {
	vfs.FS
	dir     string
	poison  func(error)
	noRoom  func(error)            // the disk is full, or something is short, right now, under the engine
	inPlace func() error           // the error of a directory that was moved away
	reading atomic.Pointer[string] // the file that was opened last, for reading

	giveBallast func() bool // reports whether there is more room on the disk now
	emptying    func() bool // space is too short for hints

	patient   atomic.Bool   // set when open: an Open on a full disk fails
	hurry     chan struct{} // closed by Close: no more waiting for space
	hurryOnce sync.Once
	fenced    atomic.Bool  // the engine has been given up
	writing   atomic.Bool  // the engine has begun a WAL
	stuck     atomic.Int32 // goroutines that wait for space or for a shortage to end
	tableErrs atomic.Int32 // since the last flush or compaction that went well

	wals struct {
		sync.Mutex
		verified bool
		kept     []string
	}
	onDisk onDisk
}

// Bounds of the back-off.
const (
	minBackoff    = 10 * time.Millisecond
	maxBackoff    = time.Second
	maxTableFails = 8 // in a row; then the disk is taken for broken
)

func newGuard(fs vfs.FS, dir string) *guard {
	return &guard{FS: fs, dir: dir, hurry: make(chan struct{})}
}

// fence cuts the engine off from the directory.
func (g *guard) fence() { g.fenced.Store(true) }

func (g *guard) giveUpWaiting() { g.hurryOnce.Do(func() { close(g.hurry) }) }

// park blocks the engine's goroutine for ever.
func (g *guard) park() { select {} }

// check parks an engine that was given up.
func (g *guard) check() {
	if g.fenced.Load() {
		g.park()
	}
}

// ours reports whether a path lies in the store's directory. A checkpoint
// writes elsewhere, and its errors belong to its caller.
func (g *guard) ours(name string) bool {
	return name == g.dir || g.FS.PathDir(name) == g.dir
}

// try runs f, an operation of the engine on a file of the store, and does
// with its error what the table above says. Again tells after which errors f may be
// repeated; nil is none.
func (g *guard) try(op, name string, again func(error) bool, f func() error) error {
	if !g.ours(name) {
		return f()
	}
	g.check()
	err := f()
	if again != nil && again(err) {
		err = g.await(op, name, again, f, err)
	}
	if err == nil {
		return nil
	}
	if isTable(name) {
		return g.backOff(op, name, err)
	}
	g.fail(op, name, err)
	return err
}

// await repeats f until its error is not one of again. The first repetition comes
// soon, and only the next ones are told to the store: most interruptions are over
// by then. A shortage that lasts poisons the store.
func (g *guard) await(op, name string, again func(error) bool, f func() error, err error) error {
	g.stuck.Add(1)
	defer g.stuck.Add(-1)
	began := time.Now()
	for wait := minBackoff; again(err); wait = min(2*wait, maxBackoff) {
		if g.patient.Load() && (isFull(err) || wait > minBackoff) {
			g.noRoom(fmt.Errorf("%s %s: %w", op, name, err))
		}
		waited := g.mayWait(err, wait, began)
		if !waited && !isFull(err) {
			g.fail(op, name, err)
		}
		g.check()
		if err = f(); !waited && isFull(err) {
			return fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
	}
	return err
}

// mayWait waits before a repetition. It reports false if there should be no more: Open
// and Close do not wait for space, and only briefly for a shortage. Open gives up the
// ballast instead.
func (g *guard) mayWait(err error, wait time.Duration, began time.Time) bool {
	if isFull(err) {
		if !g.patient.Load() {
			return g.giveBallast()
		}
		return g.pause(wait)
	}
	limit := MaxShortage
	if !g.patient.Load() || g.hurried() {
		limit = maxOpenShortage
	}
	if time.Since(began)+wait > limit {
		return false
	}
	time.Sleep(wait)
	return true
}

func (g *guard) hurried() bool {
	select {
	case <-g.hurry:
		return true
	default:
		return false
	}
}

// pause waits, and reports false if the store is closing.
func (g *guard) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-g.hurry:
		return false
	}
}

// fail poisons the store and does not return.
func (g *guard) fail(op, name string, err error) {
	g.poison(fmt.Errorf("%s %s: %w", op, name, err))
	g.park()
}

// backOff slows the engine's retries down, and ends them when they look
// hopeless. A table that found no room when it was synced is not: the engine writes it
// anew for as long as the disk is full, and Close alone gives up.
func (g *guard) backOff(op, name string, err error) error {
	if isFull(err) && g.patient.Load() && !g.hurried() {
		err = fmt.Errorf("%s %s: %w", op, name, err)
		g.stuck.Add(1)
		defer g.stuck.Add(-1)
		g.noRoom(err)
		g.pause(maxBackoff)
		return err
	}
	n := g.tableErrs.Add(1)
	if n >= maxTableFails {
		g.fail(op, name, err)
	}
	g.pause(min(minBackoff<<n, maxBackoff))
	return fmt.Errorf("%s %s: %w", op, name, err)
}

// tablesWritten notes the end of a flush or a compaction.
func (g *guard) tablesWritten(err error) {
	if err == nil {
		g.tableErrs.Store(0)
	}
}

// change runs f, which makes or moves a file by its path.
func (g *guard) change(op, name string, f func() error) error {
	return g.try(op, name, heals, func() error {
		if err := g.inPlace(); err != nil {
			return err
		}
		return f()
	})
}

func (g *guard) create(op, name string, f func() (vfs.File, error)) (file vfs.File, err error) {
	err = g.change(op, name, func() error {
		file, err = f()
		return err
	})
	if err != nil {
		return nil, err
	}
	if !g.ours(name) {
		return file, nil
	}
	base := g.FS.PathBase(name)
	g.onDisk.created(base)
	if isWAL(base) {
		g.writing.Store(true)
	}
	guarded := &guardedFile{File: file, g: g, name: name}
	guarded.written.number, guarded.isManifest = manifestNumber(base)
	return guarded, nil
}

// Create syncs the directory before the engine makes a marker, which names the
// MANIFEST to recover from. The engine syncs it only afterwards, and relies on
// the file system not to keep the newer of two files and lose the older.
func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if m, ok := parseMarker(g.FS.PathBase(name)); ok && m.what == manifestMarker && g.ours(name) {
		if err := syncDir(g, g.dir); err != nil {
			return nil, err
		}
	}
	return g.create("create", name, func() (vfs.File, error) { return g.FS.Create(name, c) })
}

func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.create("open", name, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

func (g *guard) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g.onDisk.removed(g.FS.PathBase(old))
	renamed := false
	return g.create("reuse", name, func() (vfs.File, error) {
		if renamed {
			return g.FS.OpenReadWrite(name, c)
		}
		f, err := g.FS.ReuseForWrite(old, name, c)
		if heals(err) { // of the open, perhaps, and the rename before it is done
			_, gone := g.FS.Stat(old)
			renamed = errors.Is(gone, os.ErrNotExist)
		}
		return f, err
	})
}

func (g *guard) OpenDir(name string) (vfs.File, error) {
	return g.create("open directory", name, func() (vfs.File, error) { return g.FS.OpenDir(name) })
}

func (g *guard) Rename(old, name string) error {
	return g.change("rename", name, func() error { return g.FS.Rename(old, name) })
}

func (g *guard) Link(old, name string) error {
	return g.change("link", name, func() error { return g.FS.Link(old, name) })
}

func (g *guard) MkdirAll(dir string, perm os.FileMode) error {
	return g.change("mkdir", dir, func() error { return g.FS.MkdirAll(dir, perm) })
}

// Remove passes errors on: the engine takes a file that it cannot delete for
// garbage to be deleted later.
func (g *guard) Remove(name string) error {
	if !g.ours(name) {
		return g.FS.Remove(name)
	}
	g.check()
	if err := g.inPlace(); err != nil {
		return err
	}
	if isWAL(g.FS.PathBase(name)) && g.keep(name) {
		return nil
	}
	g.onDisk.removed(g.FS.PathBase(name))
	return g.FS.Remove(name)
}

// keep holds the removal of a WAL back until Open has found that nothing is
// missing: a damaged one is evidence, and perhaps all that can be saved.
func (g *guard) keep(name string) bool {
	g.wals.Lock()
	defer g.wals.Unlock()
	if !g.wals.verified {
		g.wals.kept = append(g.wals.kept, name)
	}
	return !g.wals.verified
}

// verified lets go of the WALs that were held back.
func (g *guard) verified() {
	g.wals.Lock()
	defer g.wals.Unlock()
	g.wals.verified = true
	for _, name := range g.wals.kept {
		g.onDisk.removed(g.FS.PathBase(name))
		_ = g.FS.Remove(name) // garbage; the engine tries again at the next Open
	}
	g.wals.kept = nil
}

// Lock gives the engine no lock of its own. The store holds the lock of the directory, and must
// release it even when the engine is parked.
func (g *guard) Lock(string) (io.Closer, error) { return noLock{}, nil }

type noLock struct{}

func (noLock) Close() error { return nil }

func (g *guard) Unwrap() vfs.FS { return g.FS }

// guardedFile is a file that the engine writes, or a directory it syncs.
type guardedFile struct {
	vfs.File
	g          *guard
	name       string
	isManifest bool
	written    written // if it is a MANIFEST
}

// Write takes the checksum of what goes to a MANIFEST first: a file may change the slice.
// After a write that fails the engine does not sync the MANIFEST any more.
func (f *guardedFile) Write(p []byte) (n int, err error) {
	if f.isManifest {
		f.written.add(p)
	}
	err = f.g.try("write", f.name, heals, func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return err
	})
	return n, err
}

func (f *guardedFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.g.try("write", f.name, heals, func() error {
		n, err = f.File.WriteAt(p, at)
		return err
	})
	return n, err
}

func (f *guardedFile) Sync() error {
	err := f.g.try("sync", f.name, isInterrupted, f.File.Sync)
	switch {
	case err != nil:
	case f.name == f.g.dir:
		f.g.onDisk.dirSynced()
	case f.isManifest:
		f.g.onDisk.manifestSynced(f.written)
	}
	return err
}

// Stat serves the engine when it uses a WAL again, where it takes an error for the end of
// the process.
func (f *guardedFile) Stat() (info vfs.FileInfo, err error) {
	err = f.g.try("stat", f.name, isInterrupted, func() error {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}

func (f *guardedFile) SyncData() error {
	return f.g.try("sync", f.name, isInterrupted, f.File.SyncData)
}

func (f *guardedFile) SyncTo(n int64) (full bool, err error) {
	err = f.g.try("sync", f.name, isInterrupted, func() error {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, err
}

// Close takes an interrupted one for done: the descriptor is released, and the
// engine has synced what matters before.
func (f *guardedFile) Close() error {
	return f.g.try("close", f.name, nil, func() error {
		if err := f.File.Close(); !isInterrupted(err) {
			return err
		}
		return nil
	})
}

// Preallocate is a hint; a file system that cannot, or has no room, is fine.
func (f *guardedFile) Preallocate(offset, length int64) error {
	f.g.check()
	if f.g.emptying() {
		return nil
	}
	if err := f.File.Preallocate(offset, length); err != nil && !isFull(err) {
		return err
	}
	return nil
}
