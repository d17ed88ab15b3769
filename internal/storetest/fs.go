package storetest

import (
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Call is one operation on a file that is about to change something.
type Call struct {
	Op    string // one of the Op constants
	Class string // one of the Class constants: what sort of file
	Name  string // base name; the new one of two
	Old   string // base name of the other, for Rename, Reuse and Link
	Bytes int    // for Write, Read and Allocate
	At    int64  // where in the file, for Read
}

// The operations.
const (
	OpCreate  = "create"
	OpOpenRW  = "open-rw"
	OpReuse   = "reuse"
	OpWrite   = "write"
	OpSync    = "sync"
	OpClose   = "close"
	OpRename  = "rename"
	OpLink    = "link"
	OpRemove  = "remove"
	OpMkdir   = "mkdir"
	OpOpenDir = "open-dir"
	OpRead    = "read" // see FS.SetReadHook

	OpAllocate = "allocate" // disk space for Bytes bytes, from the beginning of the file
)

// The classes of file in a store's directory.
const (
	ClassWAL      = "wal"
	ClassManifest = "manifest"
	ClassMarker   = "marker"
	ClassTable    = "table"
	ClassOptions  = "options"
	ClassFormat   = "format"
	ClassRecord   = "record"
	ClassBallast  = "ballast"
	ClassDir      = "dir"
	ClassOther    = "other"
)

func classOf(name string) string {
	switch {
	case strings.HasSuffix(name, ".log"):
		return ClassWAL
	case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".blob"):
		return ClassTable
	case strings.HasPrefix(name, "MANIFEST"):
		return ClassManifest
	case strings.HasPrefix(name, "marker"):
		return ClassMarker
	case strings.HasPrefix(name, "OPTIONS"), strings.HasPrefix(name, "temporary"):
		return ClassOptions
	case strings.HasPrefix(name, "FORMAT"):
		return ClassFormat
	case name == "SYNCED":
		return ClassRecord
	case name == "BALLAST":
		return ClassBallast
	}
	return ClassOther
}

// A Hook sees every Call before it is carried out, on the goroutine that makes
// it. It may block; an error replaces the call, a Late one only its result.
type Hook func(Call) error

// Late is the error of a call that was carried out all the same.
type Late struct{ Err error }

func (l Late) Error() string { return "late: " + l.Err.Error() }
func (l Late) Unwrap() error { return l.Err }

// FS passes everything on to another file system after asking a hook. Unlike
// the engine's own errorfs it does so for reused files too.
type FS struct {
	vfs.FS
	Usage func() (vfs.DiskUsage, error) // replaces GetDiskUsage

	hook   atomic.Pointer[Hook]
	read   atomic.Pointer[Hook]
	moving sync.RWMutex // held while a call is carried out
}

// NewFS wraps a file system; nothing is hooked yet.
func NewFS(base vfs.FS) *FS { return &FS{FS: base} }

// SetHook replaces the hook; nil removes it.
func (f *FS) SetHook(h Hook) {
	if h == nil {
		f.hook.Store(nil)
		return
	}
	f.hook.Store(&h)
}

// SetReadHook replaces the hook that reads are asked of, also those of files that are
// open; nil removes it. Calls of reads have the operation OpRead.
func (f *FS) SetReadHook(h Hook) {
	if h == nil {
		f.read.Store(nil)
		return
	}
	f.read.Store(&h)
}

// askToRead asks the hook of reads.
func (f *FS) askToRead(name string, at int64, bytes int) error {
	h := f.read.Load()
	if h == nil {
		return nil
	}
	return (*h)(Call{Op: OpRead, Class: classOf(name), Name: name, At: at, Bytes: bytes})
}

// Open opens a file for reading.
func (f *FS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, o...)
	if err != nil {
		return nil, err
	}
	return &readFile{File: file, fs: f, name: f.PathBase(name)}, nil
}

// readFile is a file that is read.
type readFile struct {
	vfs.File
	fs   *FS
	name string
}

func (r *readFile) Read(p []byte) (int, error) {
	if err := r.fs.askToRead(r.name, 0, len(p)); err != nil {
		return 0, err
	}
	return r.File.Read(p)
}

func (r *readFile) ReadAt(p []byte, at int64) (int, error) {
	if err := r.fs.askToRead(r.name, at, len(p)); err != nil {
		return 0, err
	}
	return r.File.ReadAt(p, at)
}

// CrashClone returns what a crash at this moment would leave of a file system
// made by vfs.NewCrashableMem. It may be called from the hook.
func (f *FS) CrashClone(c vfs.CrashCloneCfg) *vfs.MemFS {
	f.moving.Lock() // the clone of a file system in motion can deadlock
	defer f.moving.Unlock()
	return f.FS.(*vfs.MemFS).CrashClone(c)
}

func (f *FS) do(c Call, run func() error) error {
	err := f.ask(c)
	var late Late
	if err != nil && !errors.As(err, &late) {
		return err
	}
	f.moving.RLock()
	defer f.moving.RUnlock()
	return errors.Join(run(), err)
}

func (f *FS) ask(c Call) error {
	h := f.hook.Load()
	if h == nil {
		return nil
	}
	if c.Class == "" {
		c.Class = classOf(c.Name)
	}
	return (*h)(c)
}

func (f *FS) open(c Call, run func() (vfs.File, error)) (file vfs.File, err error) {
	err = f.do(c, func() error {
		file, err = run()
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // a late error; the file is as good as leaked
		}
		return nil, err
	}
	return &hookedFile{File: file, fs: f, name: c.Name, class: c.Class}, nil
}

func (f *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(Call{Op: OpCreate, Name: f.PathBase(name)}, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.open(Call{Op: OpOpenRW, Name: f.PathBase(name)}, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

func (f *FS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	call := Call{Op: OpReuse, Name: f.PathBase(name), Old: f.PathBase(old)}
	return f.open(call, func() (vfs.File, error) { return f.FS.ReuseForWrite(old, name, c) })
}

func (f *FS) OpenDir(name string) (vfs.File, error) {
	call := Call{Op: OpOpenDir, Name: f.PathBase(name), Class: ClassDir}
	return f.open(call, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f *FS) Rename(old, name string) error {
	call := Call{Op: OpRename, Name: f.PathBase(name), Old: f.PathBase(old)}
	return f.do(call, func() error { return f.FS.Rename(old, name) })
}

func (f *FS) Link(old, name string) error {
	call := Call{Op: OpLink, Name: f.PathBase(name), Old: f.PathBase(old)}
	return f.do(call, func() error { return f.FS.Link(old, name) })
}

func (f *FS) Remove(name string) error {
	return f.do(Call{Op: OpRemove, Name: f.PathBase(name)}, func() error { return f.FS.Remove(name) })
}

func (f *FS) MkdirAll(dir string, perm os.FileMode) error {
	call := Call{Op: OpMkdir, Name: f.PathBase(dir), Class: ClassDir}
	return f.do(call, func() error { return f.FS.MkdirAll(dir, perm) })
}

func (f *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	if f.Usage != nil {
		return f.Usage()
	}
	return f.FS.GetDiskUsage(path)
}

func (f *FS) Unwrap() vfs.FS { return f.FS }

type hookedFile struct {
	vfs.File
	fs          *FS
	name, class string
}

func (h *hookedFile) call(op string, bytes int) Call {
	return Call{Op: op, Class: h.class, Name: h.name, Bytes: bytes}
}

func (h *hookedFile) Write(p []byte) (n int, err error) {
	err = h.fs.do(h.call(OpWrite, len(p)), func() error {
		n, err = h.File.Write(p)
		return err
	})
	return n, err
}

func (h *hookedFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = h.fs.do(h.call(OpWrite, len(p)), func() error {
		n, err = h.File.WriteAt(p, at)
		return err
	})
	return n, err
}

func (h *hookedFile) Preallocate(at, n int64) error {
	return h.fs.do(h.call(OpAllocate, int(at+n)), func() error { return h.File.Preallocate(at, n) })
}

func (h *hookedFile) Sync() error     { return h.fs.do(h.call(OpSync, 0), h.File.Sync) }
func (h *hookedFile) SyncData() error { return h.fs.do(h.call(OpSync, 0), h.File.SyncData) }

func (h *hookedFile) SyncTo(n int64) (full bool, err error) {
	err = h.fs.do(h.call(OpSync, 0), func() error {
		full, err = h.File.SyncTo(n)
		return err
	})
	return full, err
}

// Close closes the file even if it then reports an error, as close(2) does.
func (h *hookedFile) Close() error {
	err := h.fs.ask(h.call(OpClose, 0))
	h.fs.moving.RLock()
	defer h.fs.moving.RUnlock()
	return errors.Join(h.File.Close(), err)
}
