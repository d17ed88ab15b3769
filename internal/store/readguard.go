package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// readPatience is how long a compaction goes on trying to read a table. Callers that want
// the same block wait for it meanwhile.
const readPatience = 3 * time.Second

// unreadable is the error of a read that the disk refused. The engine takes that of
// a table for damage: it then tells of it before it acts on it.
type unreadable struct {
	op, name string
	err      error
}

func (u *unreadable) Error() string {
	return fmt.Sprintf("%v: %s %s: %v", ErrUnreadable, u.op, u.name, u.err)
}

func (u *unreadable) Unwrap() error { return u.err }

func (u *unreadable) Is(target error) bool {
	return target == ErrUnreadable || target == pebble.ErrCorruption && isTable(u.name)
}

// Open opens a file for reading. The engine keeps tables open and reads them at any
// time; other files it reads while it opens, one after the other.
func (g *guard) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if !g.ours(name) {
		return g.FS.Open(name, o...)
	}
	g.reading.Store(&name)
	var f vfs.File
	err := g.read("open", name, func() (err error) {
		f, err = g.FS.Open(name, o...)
		return missing(name, err)
	})
	if err != nil {
		return nil, err
	}
	return &readFile{File: f, g: g, name: name}, nil
}

// Stat looks at a file. The engine does so with its tables when it opens, and when it
// makes a reader.
func (g *guard) Stat(name string) (info vfs.FileInfo, err error) {
	if !g.ours(name) {
		return g.FS.Stat(name)
	}
	err = g.read("stat", name, func() error {
		info, err = g.FS.Stat(name)
		return missing(name, err)
	})
	return info, err
}

// List lists a directory. The engine does so while it opens. Once its WAL is there it only
// looks for garbage, which can wait for the next Open. An error would make it take its
// parts apart that are running already, and they would panic.
func (g *guard) List(dir string) (names []string, err error) {
	if !g.ours(dir) {
		return g.FS.List(dir)
	}
	err = g.read("list", dir, func() error {
		names, err = g.FS.List(dir)
		return err
	})
	if err != nil && g.writing.Load() {
		return nil, nil
	}
	return names, err
}

// missing makes a table that is not there a damaged one. The engine would end the
// process.
func missing(name string, err error) error {
	if isTable(name) && errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", pebble.ErrCorruption, name)
	}
	return err
}

// readFile is a file of the store that the engine reads.
type readFile struct {
	vfs.File
	g    *guard
	name string
}

func (f *readFile) Stat() (info vfs.FileInfo, err error) {
	err = f.g.read("stat", f.name, func() error {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}

func (f *readFile) Read(p []byte) (n int, err error) {
	n, err = f.File.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, f.g.read("read", f.name, func() error { return err })
}

// ReadAt reports the end of a table as damage: the engine knows how long it is.
func (f *readFile) ReadAt(p []byte, at int64) (n int, err error) {
	n, err = f.File.ReadAt(p, at)
	if err == nil || n == len(p) || err == io.EOF && !isTable(f.name) {
		return n, err
	}
	err = f.g.read("read", f.name, func() error {
		n, err = f.File.ReadAt(p, at)
		if err == io.EOF {
			return fmt.Errorf("%w: %s ends before byte %d", pebble.ErrCorruption, f.name, at+int64(len(p)))
		}
		return err
	})
	return n, err
}

// read runs a read of the engine. Its error names the file. A caller is told at once; a
// compaction tries again for a while.
func (g *guard) read(op, name string, f func() error) error {
	err := f()
	if err != nil && !pebble.IsCorruptionError(err) && isTable(name) && readsFor() >= forCompaction {
		err = g.readOn(err, f)
	}
	if err == nil || pebble.IsCorruptionError(err) {
		return err
	}
	return refusedRead(op, name, err)
}

// readOn repeats a read that failed with err, until it succeeds, patience is at
// its end or the store is being closed.
func (g *guard) readOn(err error, f func() error) error {
	for wait, start := minBackoff, time.Now(); time.Since(start) < readPatience; wait = min(2*wait, maxBackoff) {
		if !g.pause(wait) {
			return err
		}
		g.check()
		if err = f(); err == nil || pebble.IsCorruptionError(err) {
			return err
		}
	}
	return err
}
