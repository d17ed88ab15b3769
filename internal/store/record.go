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

// syncRecord is a small file that says how far the disk is known to have come. The
// engine takes damage at the end of its newest WAL for a torn write and drops what follows,
// and it does not notice a MANIFEST that is older than it should be. A store that
// comes back older than this record has lost what it acknowledged, and Open says so.
//
// The file is written after each fsync and never synced: on disk it may be
// behind, which only weakens the check, but never ahead.
//
//	two slots, written in turn, so that a torn write leaves the other
//	┌─────────────┬─────────┬────────────────┬────────────────┬──────────────┬────────────────────┬───────────┐
//	│ version 4 B │ seq 8 B │ oldest WAL 8 B │ newest WAL 8 B │ MANIFEST 8 B │ MANIFEST bytes 8 B │ CRC32 4 B │
//	└─────────────┴─────────┴────────────────┴────────────────┴──────────────┴────────────────────┴───────────┘
type syncRecord struct {
	log *slog.Logger

	mu   sync.Mutex // Close may come while the syncer writes, after a failure
	f    vfs.File
	slot int64
	buf  [slotSize]byte
}

// progress is what a slot of the record holds.
type progress struct {
	seq       uint64 // newest group on disk
	oldestWAL uint64 // number of the file
	newestWAL uint64
	manifest  uint64 // number of the MANIFEST
	bytes     uint64 // of the MANIFEST, on disk
}

const (
	recordName    = "SYNCED"
	recordVersion = 1
	slotSize      = 48
)

// readRecord returns what is on record, nothing if there is no record.
func readRecord(fs vfs.FS, dir string) (p progress, err error) {
	f, err := fs.Open(fs.PathJoin(dir, recordName))
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	defer f.Close()
	buf := make([]byte, 2*slotSize)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return p, fmt.Errorf("read %s: %w", recordName, err)
	}
	return decodeRecord(buf[:n])
}

// decodeRecord returns the newer of the slots that are whole.
func decodeRecord(buf []byte) (newest progress, err error) {
	for ; len(buf) >= slotSize; buf = buf[slotSize:] {
		if crc32.ChecksumIEEE(buf[:slotSize-4]) != binary.BigEndian.Uint32(buf[slotSize-4:]) {
			continue
		}
		if v := binary.BigEndian.Uint32(buf); v != recordVersion {
			return progress{}, fmt.Errorf("%w: %s has version %d", ErrFormat, recordName, v)
		}
		if p := decodeSlot(buf[4:]); p.seq >= newest.seq {
			newest = p
		}
	}
	return newest, nil
}

func decodeSlot(b []byte) progress {
	u := binary.BigEndian.Uint64
	return progress{u(b), u(b[8:]), u(b[16:]), u(b[24:]), u(b[32:])}
}

func encodeSlot(buf *[slotSize]byte, p progress) {
	b := binary.BigEndian.AppendUint32(buf[:0], recordVersion)
	for _, v := range [...]uint64{p.seq, p.oldestWAL, p.newestWAL, p.manifest, p.bytes} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func openRecord(fs vfs.FS, dir string, log *slog.Logger) (*syncRecord, error) {
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, recordName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &syncRecord{f: f, log: log}, nil
}

// put notes what is on disk. Only the syncer calls it. A failure ends the record, not
// the store: it is a second witness. If the disk is full or something is short, the
// next call writes the same slot.
func (r *syncRecord) put(p progress) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f == nil {
		return
	}
	encodeSlot(&r.buf, p)
	next := slotSize - r.slot
	switch _, err := r.f.WriteAt(r.buf[:], next); {
	case err == nil:
		r.slot = next
	case !heals(err):
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
	if err := r.f.Close(); err != nil && !isInterrupted(err) {
		r.log.Warn("close the sync record", "error", err)
	}
	r.f = nil
}
