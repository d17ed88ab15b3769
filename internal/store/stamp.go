package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// stamps is a file system that writes the number of each table into its footer, and
// compares it with the name of the file when the table is opened.
//
// A table that was put in the place of another one is whole: all its checksums are right.
// The engine would serve older values, and panic in a compaction. It knows the size of a
// table, which another one may share, and never looks at the keys.
//
//	┌────────────┬───────────────────────┬─────────┬──────────┬────────┬───────┐
//	│ checksum's │ handles of metaindex  │ number  │ checksum │ format │ magic │
//	│ type 1 B   │ and index, zeros 32 B │ 8 B     │ 4 B      │ 4 B    │ 8 B   │
//	└────────────┴───────────────────────┴─────────┴──────────┴────────┴───────┘
//
// The engine leaves 40 bytes to two handles, of which they take at most 32 below 2^56
// bytes, and ignores the rest. A table without a number is accepted: it was written
// before there were stamps.
type stamps struct {
	vfs.FS
	unsure *unsureTables
}

func newStamps(fs vfs.FS) stamps { return stamps{fs, new(unsureTables)} }

// footerStamp is where the number is in the footer.
const footerStamp = 33

// stampIn returns the number in a footer; 0 if it has none or is damaged.
func stampIn(footer []byte) uint64 {
	if !footerIntact(footer) {
		return 0
	}
	return binary.BigEndian.Uint64(footer[footerStamp:])
}

// stampOf returns the number in the footer of a table; 0 if it cannot be read.
func stampOf(f vfs.File) uint64 {
	footer, _, err := readFooter(f)
	if err != nil {
		return 0
	}
	return stampIn(footer)
}

// stamp writes the number into the footer of a table. A file that does not end with a
// footer is not finished, and stays as it is.
func stamp(f vfs.File, number uint64) error {
	footer, at, err := readFooter(f)
	if err != nil || !footerIntact(footer) || stampIn(footer) == number {
		return err
	}
	binary.BigEndian.PutUint64(footer[footerStamp:], number)
	binary.LittleEndian.PutUint32(footer[footerCRC:], footerSum(footer))
	_, err = f.WriteAt(footer, at)
	return err
}

// readFooter returns the end of a file, nil if the file is shorter than a footer.
func readFooter(f vfs.File) (footer []byte, at int64, err error) {
	info, err := f.Stat()
	if err != nil || info.Size() < footerLen {
		return nil, 0, err
	}
	footer, at = make([]byte, footerLen), info.Size()-footerLen
	if _, err := f.ReadAt(footer, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	return footer, at, nil
}

func (s stamps) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	number, ok := tableNumber(s.FS.PathBase(name))
	if err != nil || !ok {
		return f, err
	}
	return &stampedFile{f, number, s.unsure}, nil
}

// Link gives a file another name. That is how the engine takes in the tables of Salvage.
func (s stamps) Link(old, name string) error {
	err := s.FS.Link(old, name)
	number, ok := tableNumber(s.FS.PathBase(name))
	if err != nil || !ok || s.FS.PathBase(old) == s.FS.PathBase(name) {
		return err
	}
	f, err := s.FS.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		err = errors.Join(stamp(f, number), f.Sync(), f.Close())
	}
	if err != nil {
		return errors.Join(err, s.FS.Remove(name)) // so that it can be tried again
	}
	return nil
}

func (s stamps) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.Open(name, o...)
	number, ok := tableNumber(s.FS.PathBase(name))
	if err != nil || !ok {
		return f, err
	}
	known, err := newKnownFile(f, name, number, s.unsure)
	if err != nil {
		_ = f.Close() // it was only read
		return nil, err
	}
	return known, nil
}

func (s stamps) Unwrap() vfs.FS { return s.FS }

// stampedFile is a table that is being written.
type stampedFile struct {
	vfs.File
	number uint64
	unsure *unsureTables
}

func (f *stampedFile) Sync() error {
	if err := f.end(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *stampedFile) SyncData() error {
	if err := f.end(); err != nil {
		return err
	}
	return f.File.SyncData()
}

// end makes sure of what a compaction has read before its result can replace it: a block of
// another table would be in the store for good.
func (f *stampedFile) end() error {
	if err := f.unsure.compare(); err != nil {
		return err
	}
	return stamp(f.File, f.number)
}

// unsureTables are the tables that were read since their footers were compared.
type unsureTables struct {
	mu    sync.Mutex
	files []*knownFile
	err   error // of those that were closed since the last comparison of all
}

// add adds a table, once. Whoever finds it added has read before the next comparison.
func (u *unsureTables) add(f *knownFile) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !f.unsure.Swap(true) {
		u.files = append(u.files, f)
	}
}

// closing compares a table for the last time. A compaction closes its inputs before its
// result is finished, so a difference is kept for that.
func (u *unsureTables) closing(f *knownFile) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f.unsure.Load() {
		u.files = slices.DeleteFunc(u.files, func(o *knownFile) bool { return o == f })
		u.err = errors.Join(u.err, f.compareNow())
	}
}

// compare compares them all. One that is being closed waits.
func (u *unsureTables) compare() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	err := u.err
	for _, f := range u.files {
		f.unsure.Store(false) // first, as who reads from now on must add it again
		err = errors.Join(err, f.compareNow())
	}
	u.files, u.err = u.files[:0], nil
	return err
}

// knownFile is a table that is read. While it is open another one can be written over it, and
// the engine, which keeps the index in memory, may find whole blocks at the same places.
// So the footer is compared again, after a read if the last time is too long ago.
//
// A comparison costs a fifth of the read of a block. The time between two is about that in
// which a table is written over another, and few enough of them come to it.
type knownFile struct {
	vfs.File
	name   string
	footer []byte
	at     int64
	opened time.Time

	compared  atomic.Int64 // nanoseconds since then, the last time
	comparing sync.Mutex
	now       [footerLen]byte // of who compares
	unsure    atomic.Bool     // it is among tables; set under their lock
	tables    *unsureTables
}

const compareAfter = 10 * time.Millisecond

func newKnownFile(f vfs.File, name string, number uint64, tables *unsureTables) (*knownFile, error) {
	footer, at, err := readFooter(f)
	if err != nil {
		return nil, err
	}
	if footer == nil { // perhaps for a moment only: another one is being written over it
		return nil, fmt.Errorf("%w: %s is too short for a table", pebble.ErrCorruption, name)
	}
	if is := stampIn(footer); is != 0 && is != number {
		return nil, errOtherTable(name, is)
	}
	return &knownFile{File: f, name: name, footer: footer, at: at, opened: time.Now(), tables: tables}, nil
}

func errOtherTable(name string, is uint64) error {
	return fmt.Errorf("%w: %s is another table, which was written as %s", pebble.ErrCorruption, name, tableName(is))
}

func (f *knownFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	if err != nil {
		return n, err
	}
	now := time.Since(f.opened)
	if now-time.Duration(f.compared.Load()) < compareAfter {
		if !f.unsure.Load() {
			f.tables.add(f)
		}
		return n, nil
	}
	if err := f.compare(now); err != nil {
		return 0, err
	}
	return n, nil
}

// compare compares the footer, unless another goroutine just has. One that comes in between
// waits: what it has read is not known to be of this table yet.
func (f *knownFile) compare(now time.Duration) error {
	f.comparing.Lock()
	defer f.comparing.Unlock()
	if now-time.Duration(f.compared.Load()) < compareAfter {
		return nil
	}
	return f.compareLocked()
}

func (f *knownFile) compareNow() error {
	f.comparing.Lock()
	defer f.comparing.Unlock()
	return f.compareLocked()
}

// compareLocked compares the footer with that of the table that was opened. After a difference
// the next read compares again.
func (f *knownFile) compareLocked() error {
	now := time.Since(f.opened)
	clear(f.now[:])
	if _, err := f.File.ReadAt(f.now[:], f.at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(f.now[:], f.footer) {
		return f.errOverwritten()
	}
	f.compared.Store(int64(now))
	return nil
}

func (f *knownFile) Close() error {
	f.tables.closing(f)
	return f.File.Close()
}

func (f *knownFile) errOverwritten() error {
	if is := stampIn(f.now[:]); is != 0 && is != stampIn(f.footer) {
		return errOtherTable(f.name, is)
	}
	return fmt.Errorf("%w: %s was overwritten while it was open", pebble.ErrCorruption, f.name)
}
