package store

import (
	"errors"
	"os"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ballast is a file that holds disk space for an Open on a full disk. To open is
// to write: the engine turns its WALs into tables, and begins a new WAL and a new
// manifest. Only then can the store be emptied.
//
// Invariant: the ballast is at least what an Open writes. That is about what was
// written since the last Open, and no more than the write buffers hold. So a store
// begins with a small ballast and makes it whole when it has written as much as
// spaceCheckBytes.
//
// The file is given up only by an Open. A store that is open has a reserve of free
// space for what makes room (spaceCheck), and gives up nothing that the next Open
// may need.
type ballast struct {
	fs   vfs.FS
	lock *dirLock
	name string
	size int64 // of the whole

	mu     sync.Mutex
	made   int64 // in this life
	closed bool
}

const (
	ballastName  = "BALLAST"
	firstBallast = 2 << 20
	ballastExtra = 1 << 20 // beyond the write buffers: manifest, options, group in the making
)

func ballastSize(o Options) int64 { return 4*memTableSize(o) + ballastExtra }

func newBallast(o Options, lock *dirLock) *ballast {
	return &ballast{fs: o.FS, lock: lock, name: o.FS.PathJoin(o.Dir, ballastName), size: ballastSize(o)}
}

// close ends make. The directory may have another owner then.
func (b *ballast) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// remove gives the space free and reports whether there was any.
func (b *ballast) remove() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made = 0
	return b.fs.Remove(b.name) == nil
}

// make brings the ballast up to n bytes, or up to its whole size. If the disk has no
// room for that, it leaves none.
func (b *ballast) make(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, b.size)
	if b.made >= n {
		return nil
	}
	if b.closed {
		return ErrClosed
	}
	if err := b.lock.inPlace(); err != nil {
		return err
	}
	f, err := b.fs.OpenReadWrite(b.name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = errors.Join(reserve(f, n), f.Close())
	if err == nil {
		b.made = n
		return nil
	}
	if gone := b.fs.Remove(b.name); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// reserve takes n bytes of the disk for f. Where the system cannot allocate them, it
// writes them. A file system that compresses or shares blocks may reserve less.
func reserve(f vfs.File, n int64) error {
	if runtime.GOOS == "linux" { // the engine's Preallocate does nothing elsewhere
		if err := f.Preallocate(0, n); err == nil || isFull(err) {
			return err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 64<<10)
	for at := info.Size(); at < n; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), n-at)], at); err != nil {
			return err
		}
	}
	return nil
}
