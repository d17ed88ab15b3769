package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// checksums is a file system that checks the blocks of tables before the engine does.
//
// Under a wrong checksum the engine looks for the bit whose flip explains it. That
// takes 10 ms for a block of 4 KiB, seconds for one of 128 KiB and minutes for a record
// of 8 MiB, at each read of the block, and many reads are under the baton.
//
//	┌─────────┬──────┬──────────┐
//	│ content │ type │ checksum │
//	│         │ 1 B  │ 4 B      │
//	└─────────┴──────┴──────────┘
type checksums struct{ vfs.FS }

const (
	blockTrailer = 1 + 4
	leastBlock   = 128 // bytes; what is shorter may be the footer of a table
)

// Open opens a file for reading.
func (c checksums) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := c.FS.Open(name, o...)
	if err != nil || !isTable(name) {
		return f, err
	}
	return &checkedFile{File: f, name: name}, nil
}

func (c checksums) Unwrap() vfs.FS { return c.FS }

// checkedFile is a table. The engine reads it by whole blocks.
type checkedFile struct {
	vfs.File
	name string
}

func (f *checkedFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(p, at)
	if err == nil && len(p) >= leastBlock && !intact(p) {
		return 0, fmt.Errorf("%w: %s: wrong checksum of block %d/%d", pebble.ErrCorruption, f.name, at, len(p)-blockTrailer)
	}
	return n, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// intact reports whether the checksum of a block is right.
func intact(block []byte) bool {
	end := len(block) - 4
	sum := crc32.Checksum(block[:end], castagnoli)
	return binary.LittleEndian.Uint32(block[end:]) == (sum>>15|sum<<17)+0xa282ead8
}
