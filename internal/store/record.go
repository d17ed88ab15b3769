package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// syncRecord is a small file that says how far the disk is known to have come. The engine takes
// damage at the end of its newest WAL for a torn write and drops the rest. It does not notice a
// MANIFEST that is too old. A store that comes back older than this record has lost what it
// acknowledged, and Open says so.
//
// The file is written after each fsync of a group, and when the MANIFEST or the WALs
// change. It is never synced: on disk it may be behind, which only weakens the check, but
// never ahead.
//
//	two slots, written in turn, so that a torn write leaves the other
//	┌─────────┬────────────┬─────┬──────────┬───────┬──────────┬──────────────────┬───────┐
//	│ version │ number of  │ seq │ MANIFEST │ bytes │ checksum │ newest WALs,     │ CRC32 │
//	│ 4 B     │ write 8 B  │ 8 B │ 8 B      │ 8 B   │ 4 B      │ in order 16 x 8 B│ 4 B   │
//	└─────────┴────────────┴─────┴──────────┴───────┴──────────┴──────────────────┴───────┘
type syncRecord struct {
	log  *slog.Logger
	f    vfs.File // nil after an error
	last progress // written
	buf  [slotSize]byte
}

// progress is what a slot of the record holds.
type progress struct {
	number   uint64 // of the write; the highest counts
	seq      uint64 // newest group on disk
	manifest written
	wals     [maxWALs]uint64 // numbers of the newest ones, in order, behind zeros
}

// written is how much of a MANIFEST is on disk.
type written struct {
	number uint64 // of the file; 0 if it is not known
	bytes  uint64
	sum    uint32 // of these bytes
}

const (
	recordName    = "SYNCED"
	recordVersion = 1
	maxWALs       = 16
	slotSize      = 4 + 4*8 + 4 + maxWALs*8 + 4
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
		if p := decodeSlot(buf[4:]); p.number >= newest.number {
			newest = p
		}
	}
	return newest, nil
}

func decodeSlot(b []byte) (p progress) {
	u := binary.BigEndian.Uint64
	p.number, p.seq = u(b), u(b[8:])
	p.manifest = written{u(b[16:]), u(b[24:]), binary.BigEndian.Uint32(b[32:])}
	for i := range p.wals {
		p.wals[i] = u(b[36+8*i:])
	}
	return p
}

func encodeSlot(buf *[slotSize]byte, p progress) {
	b := binary.BigEndian.AppendUint32(buf[:0], recordVersion)
	for _, v := range [...]uint64{p.number, p.seq, p.manifest.number, p.manifest.bytes} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint32(b, p.manifest.sum)
	for _, v := range p.wals {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// openRecord opens the record, to go on behind the last write.
func openRecord(fs vfs.FS, dir string, last progress, log *slog.Logger) (*syncRecord, error) {
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, recordName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &syncRecord{f: f, log: log, last: last}, nil
}

// put notes what is on disk. A failure ends the record, not the store: it is a second
// witness. If the disk is full or something is short, the next call writes the same slot.
func (r *syncRecord) put(p progress) {
	if r.f == nil {
		return
	}
	p.number = r.last.number + 1
	encodeSlot(&r.buf, p)
	switch _, err := r.f.WriteAt(r.buf[:], int64(p.number%2*slotSize)); {
	case err == nil:
		r.last = p
	case !heals(err):
		r.log.Warn("sync record not written any more", "error", err)
		r.close()
	}
}

func (r *syncRecord) close() {
	if r.f == nil {
		return
	}
	if err := r.f.Close(); err != nil && !isInterrupted(err) {
		r.log.Warn("close the sync record", "error", err)
	}
	r.f = nil
}

// lostWAL says which WAL has lost operations that were on disk. New WALs of a failed attempt to
// open the store do not count.
func (p progress) lostWAL(wals []string) string {
	missing := p.missingWALs(wals)
	newest := p.wals[maxWALs-1]
	switch {
	case missing != "":
		return missing
	case newest != 0:
		return "the end of " + walName(newest) + " is missing or damaged"
	}
	return p.wrongWAL(wals)
}

// wrongWAL says which WALs may be the one whose operations do not follow one another.
func (p progress) wrongWAL(wals []string) string {
	missing := p.missingWALs(wals)
	switch {
	case missing != "":
		return missing
	case len(wals) > 0:
		return "one of the WALs is missing, damaged or that of another store: " + strings.Join(wals, ", ")
	}
	return "there is no WAL"
}

// missingWALs names the WALs that should be there.
func (p progress) missingWALs(wals []string) string {
	var missing []string
	for _, n := range p.wals {
		if name := walName(n); n != 0 && !slices.Contains(wals, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return strings.Join(missing, ", ") + " is missing"
}
