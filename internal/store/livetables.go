package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// liveTable is a table of the store: a file, or the part of one within bounds.
type liveTable struct {
	number  uint64 // of the table
	file    uint64 // of its file; another number if the table is a part of it
	size    uint64 // of the file; 0 if unknown
	lo, hi  []byte // its first key, and its last or a key behind that
	open    bool   // hi itself is not in the table
	seq     uint64 // of all its keys, if they were ingested; otherwise 0
	partial bool   // keys of the file outside of the bounds are not in the store
}

// manifest is what the engine's MANIFEST says: which tables make up the store, and
// from which WAL on the changes are in no table.
//
// If a part of it is lost, tables whose fate is unknown count as live. They may bring
// records back that were deleted.
type manifest struct {
	tables map[uint64]liveTable
	gone   map[uint64]bool // tables that were removed
	wal    uint64          // the first WAL whose changes are in no table
	last   uint64          // no change in a table has a higher number
	whole  bool            // nothing is lost
	number uint64          // of the MANIFEST, which tables have, too
}

// Tags of a version edit.
const (
	editComparer       = 1
	editLogNumber      = 2
	editNextFile       = 3
	editLastSequence   = 4
	editCompactPointer = 5
	editDeletedTable   = 6
	editPreviousLog    = 9
	editNewTable2      = 100
	editNewTable4      = 103
	editNewBacking     = 105
	editRemovedBacking = 106

	tableEnd     = 1  // of the fields of a table
	tableVirtual = 66 // it is a part of a file
	tableUnsafe  = 64 // a field that must be understood
)

// currentManifest returns the MANIFEST that the marker names, or the newest if there is
// no marker; "" if there is no MANIFEST.
func currentManifest(names []string) (name string, marked bool) {
	if m, ok := currentMarker(names, manifestMarker); ok {
		return m.value, true
	}
	var newest uint64
	for _, n := range names {
		if number, ok := manifestNumber(n); ok && number >= newest {
			name, newest = n, number
		}
	}
	return name, false
}

func newManifest() *manifest {
	return &manifest{tables: make(map[uint64]liveTable), gone: make(map[uint64]bool)}
}

// read applies what a MANIFEST says, and returns what is damaged in it. An error is one of
// the function read.
func (m *manifest) read(fs vfs.FS, dir, name string, read func(n int) error) (lost []journalDamage, err error) {
	var bad []journalDamage
	lost, err = readJournal(fs, fs.PathJoin(dir, name), 0, read, func(b []byte, at int64) error {
		if m.apply(b) != nil {
			bad = append(bad, journalDamage{offset: at, length: int64(len(b))})
		}
		return nil
	})
	if errors.Is(err, os.ErrNotExist) {
		return []journalDamage{{}}, nil
	}
	return append(lost, bad...), err
}

// editReader reads the fields of a version edit.
type editReader struct {
	*bytes.Reader
	err error
}

func (r *editReader) number() uint64 {
	n, err := binary.ReadUvarint(r)
	r.err = errors.Join(r.err, err)
	return n
}

func (r *editReader) bytes() []byte {
	n := r.number()
	if r.err != nil || n > uint64(r.Len()) {
		r.err = errors.Join(r.err, io.ErrUnexpectedEOF)
		return nil
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	r.err = errors.Join(r.err, err)
	return b
}

// apply takes over a version edit. One that cannot be understood is left out whole.
func (m *manifest) apply(edit []byte) error {
	r := &editReader{Reader: bytes.NewReader(edit)}
	var added []liveTable
	var removed []uint64
	for r.Len() > 0 && r.err == nil {
		switch tag := r.number(); tag {
		case editComparer:
			r.bytes()
		case editLogNumber:
			m.wal = max(m.wal, r.number())
		case editLastSequence:
			m.last = max(m.last, r.number())
		case editNextFile, editPreviousLog, editRemovedBacking:
			r.number()
		case editNewBacking:
			r.number()
			r.number()
		case editCompactPointer:
			r.number()
			r.bytes()
		case editDeletedTable:
			r.number()
			removed = append(removed, r.number())
		case editNewTable2, editNewTable4:
			added = append(added, r.table(tag))
		default:
			return fmt.Errorf("version edit has field %d", tag)
		}
	}
	if r.err != nil {
		return r.err
	}
	for _, n := range removed {
		delete(m.tables, n)
		m.gone[n] = true
	}
	for _, t := range added {
		m.tables[t.number] = t
		delete(m.gone, t.number)
	}
	return nil
}

// table reads one that is added.
func (r *editReader) table(tag uint64) (t liveTable) {
	r.number() // level
	t.number = r.number()
	t.file, t.size = t.number, r.number()
	lo, hi := r.bytes(), r.bytes()
	if r.err != nil || len(lo) < 8 || len(hi) < 8 {
		r.err = errors.Join(r.err, io.ErrUnexpectedEOF)
		return t
	}
	t.lo, t.hi = lo[:len(lo)-8], hi[:len(hi)-8]
	t.open = pebble.InternalKeyTrailer(binary.LittleEndian.Uint64(hi[len(hi)-8:])).IsExclusiveSentinel()
	if first, last := r.number(), r.number(); first == last {
		t.seq = first
	}
	for tag == editNewTable4 && r.err == nil {
		switch field := r.number(); {
		case field == tableEnd:
			return t
		case field == tableVirtual:
			t.file, t.partial = r.number(), true
		case field&tableUnsafe != 0:
			r.err = errors.Join(r.err, fmt.Errorf("table has field %d", field))
		default:
			r.bytes()
		}
	}
	return t
}

// has reports whether a key lies within the bounds of a table.
func (t *liveTable) has(key []byte) bool {
	c := bytes.Compare(key, t.hi)
	return bytes.Compare(t.lo, key) <= 0 && (c < 0 || c == 0 && !t.open)
}

// end returns a key behind all keys of the table.
func (t *liveTable) end() []byte {
	if t.open {
		return t.hi
	}
	return append(bytes.Clone(t.hi), 0)
}
