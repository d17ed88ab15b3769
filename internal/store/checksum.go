package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// checksums is a file system that checks the blocks of tables before the engine does.
//
// Under a wrong checksum the engine looks for the bit whose flip explains it. That takes 10 ms
// for a block of 4 KiB, seconds for one of 128 KiB and minutes for a record of 8 MiB. It happens
// at each read of the block, and many reads are under the baton.
//
//	┌─────────┬──────┬──────────┐
//	│ content │ type │ checksum │
//	│         │ 1 B  │ 4 B      │
//	└─────────┴──────┴──────────┘
type checksums struct{ vfs.FS }

// leastBlock is in bytes. A shorter read may be that of the footer of a table.
const leastBlock = 128

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
		return 0, fmt.Errorf("%w: %s: wrong checksum of block %d/%d", pebble.ErrCorruption, f.name, at, len(p)-block.TrailerLen)
	}
	return n, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mask is what the engine does to a checksum before it stores it.
func mask(crc uint32) uint32 { return (crc>>15 | crc<<17) + 0xa282ead8 }

// blockSums returns the checksum that ends a block, and the one that its content and
// type have.
func blockSums(b []byte) (stored, real uint32) {
	end := len(b) - 4
	return binary.LittleEndian.Uint32(b[end:]), mask(crc32.Checksum(b[:end], castagnoli))
}

// intact reports whether the checksum of a block is right.
func intact(b []byte) bool {
	stored, real := blockSums(b)
	return stored == real
}
