package store

import (
	"errors"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// namedReads is the file system of the kernel's own reads while it opens a store. What
// the disk refuses is ErrUnreadable, and names the file. What the engine reads goes through
// guard.
type namedReads struct{ vfs.FS }

// refusedRead makes the error of a read one that names the file, unless the file is not there.
// A full disk refuses no reads.
func refusedRead(op, name string, err error) error {
	if err == nil || err == io.EOF || errors.Is(err, os.ErrNotExist) || isFull(err) {
		return err
	}
	return &unreadable{op, name, err}
}

func (n namedReads) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := n.FS.Open(name, o...)
	if err != nil {
		return nil, refusedRead("open", name, err)
	}
	return namedFile{f, name}, nil
}

func (n namedReads) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := n.FS.OpenReadWrite(name, c, o...)
	return f, refusedRead("open", name, err)
}

func (n namedReads) List(dir string) ([]string, error) {
	names, err := n.FS.List(dir)
	return names, refusedRead("list", dir, err)
}

func (n namedReads) Stat(name string) (vfs.FileInfo, error) {
	info, err := n.FS.Stat(name)
	return info, refusedRead("stat", name, err)
}

func (n namedReads) Unwrap() vfs.FS { return n.FS }

type namedFile struct {
	vfs.File
	name string
}

func (f namedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	return n, refusedRead("read", f.name, err)
}

func (f namedFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	return n, refusedRead("read", f.name, err)
}
