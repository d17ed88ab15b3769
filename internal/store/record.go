package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// syncRecord is a small file with the sequence number of the newest group
// known to be on disk. The engine takes damage at the end of its newest WAL
// for a torn write and drops what follows; a store that then comes back older
// than this record has lost what it acknowledged, and Open says so.
//
// The file is written after each fsync and never synced: on disk it may be
// behind, which only weakens the check, but never ahead.
//
//	two slots, written in turn, so that a torn write leaves the other
//	┌─────────────┬────────────┬───────────┐
//	│ version 4 B │ seq 8 B BE │ CRC32 4 B │   16 B a slot
//	└─────────────┴────────────┴───────────┘
type syncRecord struct {
	log *slog.Logger

	mu   sync.Mutex // Close may come while the syncer writes, after a failure
	f    vfs.File
	slot int64
	buf  [slotSize]byte
}

const (
	recordName    = "SYNCED"
	recordVersion = 1
	slotSize      = 16
)

// readRecord returns the sequence number on record, 0 if there is none.
func readRecord(fs vfs.FS, dir string) (uint64, error) {
	f, err := fs.Open(fs.PathJoin(dir, recordName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, 2*slotSize)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", recordName, err)
	}
	return decodeRecord(buf[:n])
}

// decodeRecord returns the higher of the slots that are whole.
func decodeRecord(buf []byte) (uint64, error) {
	var newest uint64
	for ; len(buf) >= slotSize; buf = buf[slotSize:] {
		if crc32.ChecksumIEEE(buf[:12]) != binary.BigEndian.Uint32(buf[12:]) {
			continue
		}
		if v := binary.BigEndian.Uint32(buf); v != recordVersion {
			return 0, fmt.Errorf("%w: %s has version %d", ErrFormat, recordName, v)
		}
		newest = max(newest, binary.BigEndian.Uint64(buf[4:]))
	}
	return newest, nil
}

func encodeSlot(buf *[slotSize]byte, seq uint64) {
	binary.BigEndian.PutUint32(buf[:], recordVersion)
	binary.BigEndian.PutUint64(buf[4:], seq)
	binary.BigEndian.PutUint32(buf[12:], crc32.ChecksumIEEE(buf[:12]))
}

func openRecord(fs vfs.FS, dir string, log *slog.Logger) (*syncRecord, error) {
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, recordName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &syncRecord{f: f, log: log}, nil
}

// put notes that everything up to seq is on disk. Only the syncer calls it. A
// failure ends the record, not the store: it is a second witness.
func (r *syncRecord) put(seq uint64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return
	}
	encodeSlot(&r.buf, seq)
	r.slot = slotSize - r.slot
	if _, err := r.f.WriteAt(r.buf[:], r.slot); err != nil {
		r.log.Warn("sync record not written any more", "error", err)
		r.closeLocked()
	}
}

func (r *syncRecord) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeLocked()
}

func (r *syncRecord) closeLocked() {
	if r.f == nil {
		return
	}
	if err := r.f.Close(); err != nil {
		r.log.Warn("close the sync record", "error", err)
	}
	r.f = nil
}
