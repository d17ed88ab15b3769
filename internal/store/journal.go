package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A journal is a file of records, as the engine writes its WALs and MANIFESTs: blocks
// of 32 KiB with chunks in them, which are pieces of records.
//
//	┌──────────┬──────────┬──────┬────────────────┬──────────────┬───────┐
//	│ checksum │ length   │ type │ log number 4 B │ synced 8 B   │ bytes │
//	│ 4 B      │ 2 B      │ 1 B  │ types 5 to 12  │ types 9 to 12│       │
//	└──────────┴──────────┴──────┴────────────────┴──────────────┴───────┘
//
// The engine ends a MANIFEST at the first chunk that is damaged, and a WAL too unless a
// later chunk proves that more was synced. This reader goes on behind the damage. Damage
// at the end of the file is called torn, because a write that was cut short looks the same.
type journal struct {
	r      io.ReaderAt
	size   int64
	number uint32 // of a WAL, low 32 bits
	read   func(n int) error
	record func(b []byte, at int64) error // b is valid during the call

	block   []byte
	partial []byte // of a record whose end is to come
	begin   int64  // of that record; -1 if there is none
	good    int64  // end of the last whole record, or of the padding behind it
	bad     bool   // damage has been seen since
	cut     bool   // it was a chunk that is longer than the file
	lost    []journalDamage
}

// journalDamage is a part of a journal that holds no readable record.
type journalDamage struct {
	offset, length int64
	torn           bool // at the end: perhaps a write that was never completed
	cut            bool // torn, and nothing that is there is wrong
}

const (
	journalBlock = 32 << 10
	chunkHeader  = 7
	maxHeader    = chunkHeader + 4 + 8
)

// readJournal reads the journal in a file and returns what is damaged in it. An error is
// one of record or read, or os.ErrNotExist.
func readJournal(fs vfs.FS, path string, number uint64, read func(n int) error, record func(b []byte, at int64) error) ([]journalDamage, error) {
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return []journalDamage{{}}, nil
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return []journalDamage{{}}, nil
	}
	j := journal{r: f, size: info.Size(), number: uint32(number), read: read, record: record}
	err = j.run()
	return j.lost, err
}

// chunk types within each format.
const (
	chunkFull = iota
	chunkFirst
	chunkMiddle
	chunkLast
)

// errJournalEnd says that the writer ended the journal there.
var errJournalEnd = errors.New("end of journal")

// run reads the journal. An error is one of record or read, and never damage.
func (j *journal) run() error {
	j.begin, j.block = -1, make([]byte, journalBlock)
	for at := int64(0); at < j.size; at += journalBlock {
		b := j.block[:min(journalBlock, j.size-at)]
		if err := j.read(len(b)); err != nil {
			return err
		}
		if _, err := j.r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			j.broken()
			continue
		}
		if err := j.chunks(b, at); errors.Is(err, errJournalEnd) {
			j.size = at + int64(len(b))
			break
		} else if err != nil {
			return err
		}
	}
	if j.bad || j.begin >= 0 {
		j.lost = append(j.lost, journalDamage{offset: j.good, length: j.size - j.good, torn: true, cut: j.cut || !j.bad})
	}
	return nil
}

// broken notes damage, which the record at hand does not survive.
func (j *journal) broken() { j.bad, j.cut, j.begin = true, false, -1 }

// chunks reads those of one block, at an offset of the file.
func (j *journal) chunks(b []byte, at int64) error {
	pos := 0
	for len(b)-pos >= chunkHeader {
		c, n, err := j.chunk(b[pos:])
		if err != nil {
			return err
		}
		if n > 0 {
			if err := j.take(c, b[pos+n-c.size:pos+n], at+int64(pos), at+int64(pos+n)); err != nil {
				return err
			}
			pos += n
			continue
		}
		if allZero(b[pos:]) && (j.begin < 0 || len(b)-pos < maxHeader) {
			break // padding, or nothing was written there yet
		}
		whole := !j.bad
		j.broken()
		if kind, head := chunkKind(b[pos:]); whole && kind >= 0 && at+int64(len(b)) == j.size {
			j.cut = pos+head+int(binary.LittleEndian.Uint16(b[pos+4:])) > len(b)
		}
		if pos = j.skip(b, pos); pos < 0 {
			return nil
		}
	}
	if rest := b[pos:]; len(rest) < chunkHeader && at+int64(len(b)) == j.size && !allZero(rest) {
		j.broken() // the beginning of a chunk
		j.cut = true
	}
	if j.begin < 0 && !j.bad && j.good > at && len(b)-pos < maxHeader {
		j.good = at + int64(len(b)) // with the padding
	}
	return nil
}

// skip returns where the next whole chunk of the block begins behind a damaged one, -1 if
// there is none. A damaged chunk with a whole header tells its length.
func (j *journal) skip(b []byte, pos int) int {
	kind, head := chunkKind(b[pos:])
	next := pos + head + int(binary.LittleEndian.Uint16(b[pos+4:]))
	if kind < 0 || len(b)-next < chunkHeader {
		return -1
	}
	if _, n, err := j.chunk(b[next:]); n == 0 || err != nil {
		return -1
	}
	return next
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// chunkKind returns which piece of a record a chunk is, and the size of its header.
func chunkKind(b []byte) (kind, head int) {
	switch t := int(b[6]); {
	case 1 <= t && t <= 4:
		return t - 1, chunkHeader
	case 5 <= t && t <= 8:
		return t - 5, chunkHeader + 4
	case 9 <= t && t <= 12:
		return t - 9, chunkHeader + 4 + 8
	}
	return -1, 0
}

// chunkInfo is a whole chunk.
type chunkInfo struct {
	kind int
	size int // of its piece of the record
}

// chunk reads the one that begins b. N is its length, 0 if it is damaged.
func (j *journal) chunk(b []byte) (c chunkInfo, n int, err error) {
	kind, head := chunkKind(b)
	size := int(binary.LittleEndian.Uint16(b[4:]))
	if kind < 0 || head+size > len(b) {
		return c, 0, nil
	}
	sum := binary.LittleEndian.Uint32(b)
	number := j.number
	if head > chunkHeader {
		number = binary.LittleEndian.Uint32(b[7:])
	}
	if sum == 0 && size == 0 && number == j.number+1 {
		return c, 0, errJournalEnd // the mark of a writer that was closed
	}
	if mask(crc32.Checksum(b[6:head+size], castagnoli)) != sum {
		return c, 0, nil
	}
	if number != j.number {
		return c, 0, errJournalEnd // left from an earlier use of the file
	}
	return chunkInfo{kind, size}, head + size, nil
}

// take adds a piece to its record, from one offset of the file to another.
func (j *journal) take(c chunkInfo, b []byte, from, to int64) error {
	if c.kind == chunkFull || c.kind == chunkFirst {
		if from > j.good { // with a record that lost its end
			j.lost = append(j.lost, journalDamage{offset: j.good, length: from - j.good})
		}
		j.good, j.begin, j.bad, j.partial = from, from, false, j.partial[:0]
	}
	if j.begin < 0 {
		j.bad = true // its beginning is lost
		return nil
	}
	j.partial = append(j.partial, b...)
	if c.kind == chunkFirst || c.kind == chunkMiddle {
		return nil
	}
	at := j.begin
	j.good, j.begin = to, -1
	return j.record(j.partial, at)
}
