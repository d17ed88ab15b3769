package store

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// readPatience is how long a compaction goes on trying to read a table. A read that
// fails in passing must not end in a file that is set aside.
const readPatience = 30 * time.Second

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
		return err
	})
	if err != nil || !isTable(name) {
		return f, err
	}
	return &tableFile{File: f, g: g, name: name}, nil
}

// tableFile is a table that the engine reads.
type tableFile struct {
	vfs.File
	g    *guard
	name string
}

// ReadAt reports the end of a file as damage: the engine knows how long its tables are.
func (f *tableFile) ReadAt(p []byte, at int64) (n int, err error) {
	n, err = f.File.ReadAt(p, at)
	if err == nil || n == len(p) {
		return n, nil
	}
	err = f.g.read("read", f.name, func() error {
		n, err = f.File.ReadAt(p, at)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %s ends before byte %d", pebble.ErrCorruption, f.name, at+int64(len(p)))
		}
		return err
	})
	return n, err
}

// read runs a read of the engine. Its error names the file. A caller is told at once; a
// compaction tries again, because the engine does not bear errors there.
func (g *guard) read(op, name string, f func() error) error {
	err := f()
	if err == nil || pebble.IsCorruptionError(err) {
		return err
	}
	if isTable(name) && inCompaction() {
		err = g.readOn(err, f)
	}
	if err == nil || pebble.IsCorruptionError(err) {
		return err
	}
	err = fmt.Errorf("%w: %s %s: %w", ErrUnreadable, op, name, err)
	if isTable(name) && g.unreadable != nil {
		g.unreadable(name, err)
	}
	return err
}

// readOn repeats a read that failed with err, until it succeeds or patience is at
// its end.
func (g *guard) readOn(err error, f func() error) error {
	for wait, start := minBackoff, time.Now(); time.Since(start) < readPatience; wait = min(2*wait, maxBackoff) {
		if !g.pause(wait) {
			g.park() // the store is being closed
		}
		g.check()
		if err = f(); err == nil || pebble.IsCorruptionError(err) {
			return err
		}
	}
	return err
}
