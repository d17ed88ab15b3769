package log

import (
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// The keys of the log. All numbers are big-endian, times are nanoseconds since
// 1970, signed.
//
//	batch    10 topic 4 B | partition 4 B | last offset 8 B
//	start    11 topic 4 B | partition 4 B
//	commit   12 group 4 B | partition 4 B
//	producer 13 topic 4 B | partition 4 B | name
//	epoch    13 topic 4 B | ffffffff | name
//
// A batch:
//
//	┌─────────┬───────┬───────┬─────────────┬──────────┬─────────────┬───────┬─────────┐
//	│ version │ flags │ count │ base offset │ max time │ retain time │ bytes │ records │
//	│ 1 B     │ 1 B   │ 4 B   │ 8 B         │ 8 B      │ 8 B         │ 8 B   │         │
//	└─────────┴───────┴───────┴─────────────┴──────────┴─────────────┴───────┴─────────┘
//
// Flags:
//
//	0x0f  how the records are compressed: 0 not at all, 1 Snappy, 2 Zstd
//	0x10  append time: retain time is the time of every record
//	0x20  deadlines: each record of a sparse batch has one
//	0x80  sparse: records of it were compacted away
//
// Base offset is the first one that the batch stands for. The last three fields run
// over the whole partition since its beginning, this batch included:
//
//   - max time is the greatest timestamp. The first batch whose max time is not
//     below t holds the first record that is not older than t.
//   - retain time is the same, except that no timestamp counts for more than the
//     time of its append: one from the future must not keep the rest for ever.
//   - bytes is the size of the records as they were first stored, so compressed. A batch that
//     was merged may take more than all before it: it is compressed again, maybe in another way.
//
// A record (see record.go) follows the other without a gap, and has the next offset.
// In a sparse batch, each has before it how far its offset is from the base (varint), and,
// if the batch has deadlines, the time from which on it may go if it is a tombstone
// (varint, 0 for none). It stands for all offsets up to the last, of whatever is left. Compressed
// records (see compress.go) are
//
//	plain size 4 B | compressed bytes
//
// A start record exists once a partition has been trimmed or compacted:
//
//	version 1 B | start offset 8 B | cleared 8 B | tidy 8 B | swept 8 B | due 8 B
//
// Batches whose last offset is below cleared have been dropped. Those below tidy
// have been merged and compacted. Swept was the start when the index was swept last. Due is
// when the first tombstone below tidy may go, 0 if there is none.
//
// A producer: version 1 B | next number 8 B | for each of its last batches, the
// oldest first: first number 8 B | base offset 8 B | records 4 B | hash of their content 16 B.
// The epoch of its newest handle: version 1 B | epoch 8 B.
//
// A commit: version 1 B | next offset 8 B | length of metadata (varint) | metadata |
// then for each span of records above that were acknowledged: how far from the one
// before, and how many (varints).
const (
	batchVersion    = 1
	startVersion    = 1
	commitVersion   = 1
	producerVersion = 1

	flagStamped = 0x10
	flagStones  = 0x20
	flagSparse  = 0x80
	flagsAll    = flagStamped | flagStones | flagSparse

	batchKeyLen = 5 + 4 + 8
	headerLen   = 1 + 1 + 4 + 8 + 8 + 8 + 8
	startLen    = 1 + 8 + 8 + 8 + 8 + 8
)

func partitionKey(k store.Kind, id, partition uint32) []byte {
	return binary.BigEndian.AppendUint32(store.Key(k, id, 4+8), partition)
}

func batchKey(topic, partition uint32, last uint64) []byte {
	return binary.BigEndian.AppendUint64(partitionKey(store.KindLogBatch, topic, partition), last)
}

// putBatchKey is batchKey into a slice of batchKeyLen.
func putBatchKey(dst []byte, topic, partition uint32, last uint64) {
	dst[0] = byte(store.KindLogBatch)
	binary.BigEndian.PutUint32(dst[1:], topic)
	binary.BigEndian.PutUint32(dst[5:], partition)
	binary.BigEndian.PutUint64(dst[9:], last)
}

func decodeBatchKey(key []byte) (last uint64, err error) {
	if len(key) != batchKeyLen {
		return 0, corrupt("batch key %x", key)
	}
	return binary.BigEndian.Uint64(key[9:]), nil
}

// header is that of a batch.
type header struct {
	codec      Compression
	stamped    bool // retain time is that of every record
	sparse     bool
	stones     bool // its records have deadlines, which a sparse batch may have
	count      uint32
	base       uint64
	maxTime    int64
	retainTime int64
	bytes      uint64
}

func (h header) encode(dst []byte) {
	dst[0], dst[1] = batchVersion, byte(h.codec)
	if h.stamped {
		dst[1] |= flagStamped
	}
	if h.sparse {
		dst[1] |= flagSparse
	}
	if h.stones {
		dst[1] |= flagStones
	}
	binary.BigEndian.PutUint32(dst[2:], h.count)
	binary.BigEndian.PutUint64(dst[6:], h.base)
	binary.BigEndian.PutUint64(dst[14:], uint64(h.maxTime))
	binary.BigEndian.PutUint64(dst[22:], uint64(h.retainTime))
	binary.BigEndian.PutUint64(dst[30:], h.bytes)
}

// decodeHeader reads the header of the batch stored under the offset last.
func decodeHeader(v []byte, last uint64) (header, error) {
	switch {
	case len(v) < 2:
		return header{}, corrupt("batch of %d bytes", len(v))
	case v[0] != batchVersion || v[1]&^flagsAll > byte(lastCompression):
		return header{}, fmt.Errorf("%w: log: batch has version %d, flags %x", store.ErrFormat, v[0], v[1])
	case len(v) < headerLen:
		return header{}, corrupt("batch of %d bytes", len(v))
	}
	h := header{
		codec:      Compression(v[1] &^ flagsAll),
		stamped:    v[1]&flagStamped != 0,
		sparse:     v[1]&flagSparse != 0,
		stones:     v[1]&flagStones != 0,
		count:      binary.BigEndian.Uint32(v[2:]),
		base:       binary.BigEndian.Uint64(v[6:]),
		maxTime:    int64(binary.BigEndian.Uint64(v[14:])),
		retainTime: int64(binary.BigEndian.Uint64(v[22:])),
		bytes:      binary.BigEndian.Uint64(v[30:]),
	}
	switch {
	case last > maxOffset || h.base > last || h.stones && !h.sparse:
	case h.sparse && uint64(h.count) <= last-h.base+1:
		return h, nil
	case !h.sparse && h.count > 0 && last-h.base == uint64(h.count-1):
		return h, nil
	}
	return header{}, corrupt("batch header %x at offset %d", v[:headerLen], last)
}

// startRecord is where a partition begins.
type startRecord struct {
	start, cleared, tidy, swept uint64
	due                         int64
}

func (r startRecord) encode() []byte {
	v := append(make([]byte, 0, startLen), startVersion)
	v = binary.BigEndian.AppendUint64(v, r.start)
	v = binary.BigEndian.AppendUint64(v, r.cleared)
	v = binary.BigEndian.AppendUint64(v, r.tidy)
	v = binary.BigEndian.AppendUint64(v, r.swept)
	return binary.BigEndian.AppendUint64(v, uint64(r.due))
}

func decodeStart(v []byte) (r startRecord, err error) {
	if err := checkValue("start record", v, startVersion, startLen); err != nil {
		return r, err
	}
	r = startRecord{
		binary.BigEndian.Uint64(v[1:]), binary.BigEndian.Uint64(v[9:]),
		binary.BigEndian.Uint64(v[17:]), binary.BigEndian.Uint64(v[25:]),
		int64(binary.BigEndian.Uint64(v[33:])),
	}
	if r.start > maxOffset || r.cleared > r.start || r.tidy > maxOffset || r.swept > r.start || r.due < 0 {
		return startRecord{}, corrupt("start record %x", v)
	}
	return r, nil
}

func decodePartitionKey(key []byte) (uint32, error) {
	if len(key) != 9 {
		return 0, corrupt("key %x", key)
	}
	return binary.BigEndian.Uint32(key[5:]), nil
}

func checkValue(what string, v []byte, version byte, size int) error {
	switch {
	case len(v) == 0:
		return corrupt("empty %s", what)
	case v[0] != version:
		return fmt.Errorf("%w: log: %s has version %d", store.ErrFormat, what, v[0])
	case len(v) != size:
		return corrupt("%s %x", what, v[:min(len(v), 32)])
	}
	return nil
}
