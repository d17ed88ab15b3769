package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableFile reads the blocks of one of the engine's table files.
//
// The engine's own reader gives a table up at the first damaged block of its footer,
// index or properties. It also spends seconds of processor time on a large damaged
// block, to find out if one bit was flipped. This one reads each block by itself, so
// that whatever is whole can be verified and salvaged.
//
//	┌─────────────┬──────────────┬───────────────────────┬───────────┬────────┐
//	│ data blocks │ index blocks │ filter, deletions,    │ metaindex │ footer │
//	│ in order    │ top one last │ properties            │           │ 57 B   │
//	└─────────────┴──────────────┴───────────────────────┴───────────┴────────┘
//
// A block is its bytes, how they are compressed (1 B), and a checksum (4 B) of both.
// Only the columnar format is read that format 1 of the store writes.
type tableFile struct {
	vfs.File
	name string // base name
	size uint64
	raw  []byte // of the block read last
	read func(n int) error
}

const (
	footerLen    = 57
	footerMagic  = "\xf0\x9f\xaa\xb3\xf0\x9f\xaa\xb3"
	footerFormat = 6
	footerCRC    = 41 // where its checksum is
	crc32c       = 1  // as the footer names it
)

// openTable opens a table file. Read is called before each read with its size.
func openTable(fs vfs.FS, dir, name string, read func(n int) error) (*tableFile, error) {
	f, err := fs.Open(fs.PathJoin(dir, name))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // it was only read
		return nil, err
	}
	return &tableFile{File: f, name: name, size: uint64(info.Size()), read: read}, nil
}

// readAt fills b, and counts it.
func (t *tableFile) readAt(b []byte, at uint64) error {
	if err := t.read(len(b)); err != nil {
		return err
	}
	if _, err := t.ReadAt(b, int64(at)); err != nil {
		return damagedBlock("read %d bytes at %d: %w", len(b), at, err)
	}
	return nil
}

// blockError is damage, as opposed to an error of the caller's context.
type blockError struct{ error }

func (e blockError) Unwrap() error { return e.error }

func damagedBlock(format string, args ...any) error {
	return blockError{fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))}
}

// check reads a block and compares its checksum. The result is compressed, and valid until
// the next read.
func (t *tableFile) check(h block.Handle) (compressed []byte, how block.CompressionIndicator, err error) {
	if h.Length > t.size || h.Offset > t.size-h.Length || t.size-h.Length-h.Offset < block.TrailerLen {
		return nil, 0, damagedBlock("block of %d bytes at %d ends after the end of the file at %d", h.Length, h.Offset, t.size)
	}
	n := int(h.Length) + block.TrailerLen
	if cap(t.raw) < n {
		t.raw = make([]byte, n)
	}
	raw := t.raw[:n]
	if err := t.readAt(raw, h.Offset); err != nil {
		return nil, 0, err
	}
	if stored, real := blockSums(raw); stored != real {
		return nil, 0, damagedBlock("checksum is %08x, not %08x", real, stored)
	}
	return raw[:h.Length], block.CompressionIndicator(raw[h.Length]), nil
}

// block reads, checks and decompresses a block. The result is the caller's.
func (t *tableFile) block(h block.Handle) ([]byte, error) {
	compressed, how, err := t.check(h)
	if err != nil {
		return nil, err
	}
	return decompress(compressed, how)
}

func decompress(compressed []byte, how block.CompressionIndicator) (plain []byte, err error) {
	defer catchDamage(&err)
	if how == block.NoCompressionIndicator {
		return append(make([]byte, 0, len(compressed)), compressed...), nil
	}
	n, err := block.DecompressedLen(how, compressed)
	if err != nil || n < 0 || n > maxPlainBlock {
		return nil, damagedBlock("compressed block of %d bytes says it holds %d: %v", len(compressed), n, err)
	}
	plain = make([]byte, n)
	if err := block.DecompressInto(how, compressed, plain); err != nil {
		return nil, damagedBlock("decompress: %v", err)
	}
	return plain, nil
}

// maxPlainBlock bounds the memory for a block. A block holds at least one value, and
// the engine takes no batch above 4 GiB.
const maxPlainBlock = 1 << 30

// catchDamage turns a panic of the engine's decoders into an error.
func catchDamage(err *error) {
	if p := recover(); p != nil {
		*err = damagedBlock("decode: %v", p)
	}
}

// footer returns where the metaindex and the top index block are.
func (t *tableFile) footer() (meta, index block.Handle, err error) {
	if t.size < footerLen {
		return meta, index, damagedBlock("file of %d bytes has no footer", t.size)
	}
	b := make([]byte, footerLen)
	if err := t.readAt(b, t.size-footerLen); err != nil {
		return meta, index, err
	}
	switch {
	case !footerIntact(b):
		return meta, index, damagedBlock("footer is damaged")
	case binary.LittleEndian.Uint32(b[footerCRC+4:]) != footerFormat || b[0] != crc32c:
		return meta, index, damagedBlock("table has format %d, checksum type %d", binary.LittleEndian.Uint32(b[footerCRC+4:]), b[0])
	}
	meta, n := block.DecodeHandle(b[1:])
	index, m := block.DecodeHandle(b[1+n:])
	if n == 0 || m == 0 {
		return meta, index, damagedBlock("footer has no handles")
	}
	return meta, index, nil
}

// footerSum returns the checksum that a footer has to have.
func footerSum(b []byte) uint32 {
	return mask(crc32.Update(crc32.Checksum(b[:footerCRC], castagnoli), castagnoli, b[footerCRC+4:]))
}

// footerIntact reports whether bytes are a whole footer.
func footerIntact(b []byte) bool {
	return len(b) == footerLen && string(b[footerLen-8:]) == footerMagic && footerSum(b) == binary.LittleEndian.Uint32(b[footerCRC:])
}

// blockShape is what a columnar block holds, told by its columns.
type blockShape int

const (
	shapeOther blockShape = iota // filter, properties: not columnar
	shapeData
	shapeIndex
	shapeDeletions
	shapeMetaindex
)

// shapes lists the size of the header that comes first, and the types of the columns.
var shapes = map[blockShape]struct {
	custom  int
	columns []colblk.DataType
}{
	shapeData: {4, []colblk.DataType{
		colblk.DataTypePrefixBytes, colblk.DataTypeBytes, colblk.DataTypeUint, colblk.DataTypeBool,
		colblk.DataTypeBytes, colblk.DataTypeBool, colblk.DataTypeBool,
	}},
	shapeIndex: {0, []colblk.DataType{
		colblk.DataTypeBytes, colblk.DataTypeUint, colblk.DataTypeUint, colblk.DataTypeBytes,
	}},
	shapeDeletions: {4, []colblk.DataType{
		colblk.DataTypeBytes, colblk.DataTypeUint, colblk.DataTypeUint, colblk.DataTypeBytes, colblk.DataTypeBytes,
	}},
	shapeMetaindex: {0, []colblk.DataType{colblk.DataTypeBytes, colblk.DataTypeBytes}},
}

// shapeOf tells what a block is.
func shapeOf(b []byte) blockShape {
	for shape := shapeData; shape <= shapeMetaindex; shape++ {
		if shape.fits(b) {
			return shape
		}
	}
	return shapeOther
}

// fits compares the header of a block. The engine's decoders trust the header that
// they are given, so nothing is decoded that does not fit.
func (s blockShape) fits(b []byte) bool {
	want := shapes[s]
	head := int(colblk.HeaderSize(len(want.columns), uint32(want.custom)))
	if len(b) < head+1 {
		return false
	}
	h := colblk.DecodeHeader(b[want.custom:])
	if h.Version != colblk.Version1 || int(h.Columns) != len(want.columns) {
		return false
	}
	at := uint32(head)
	for i, column := range want.columns {
		field := b[want.custom+7+5*i:]
		if colblk.DataType(field[0]) != column {
			return false
		}
		start := binary.LittleEndian.Uint32(field[1:])
		if start < at || start >= uint32(len(b)) {
			return false
		}
		at = start
	}
	return true
}

// indexEntry is one of an index block.
type indexEntry struct {
	block.Handle
	hi []byte // no key of the block is greater
}

func decodeIndex(b []byte) (entries []indexEntry, err error) {
	defer catchDamage(&err)
	if !shapeIndex.fits(b) {
		return nil, damagedBlock("block is not an index")
	}
	var it colblk.IndexIter
	if err := it.Init(pebble.DefaultComparer, b, block.NoTransforms); err != nil {
		return nil, damagedBlock("index: %v", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		h, err := it.BlockHandleWithProperties()
		if err != nil {
			return nil, damagedBlock("index: %v", err)
		}
		entries = append(entries, indexEntry{h.Handle, append([]byte{}, it.Separator()...)})
	}
	return entries, nil
}

// decodeMetaindex returns the blocks that are neither data nor index, by name.
func decodeMetaindex(b []byte) (named map[string]block.Handle, err error) {
	defer catchDamage(&err)
	if !shapeMetaindex.fits(b) {
		return nil, damagedBlock("block is not a metaindex")
	}
	var d colblk.KeyValueBlockDecoder
	d.Init(b)
	named = make(map[string]block.Handle)
	for i := range d.BlockDecoder().Rows() {
		h, n := block.DecodeHandle(d.ValueAt(i))
		if n == 0 {
			return nil, damagedBlock("metaindex entry %q", d.KeyAt(i))
		}
		named[string(d.KeyAt(i))] = h
	}
	return named, nil
}

// tombstone deletes all keys in [lo, hi) that are older.
type tombstone struct {
	lo, hi []byte
	seq    uint64
}

func decodeDeletions(b []byte) (list []tombstone, err error) {
	defer catchDamage(&err)
	if !shapeDeletions.fits(b) {
		return nil, damagedBlock("block does not hold deletions")
	}
	bounds := int(binary.LittleEndian.Uint32(b))
	d := colblk.DecodeBlock(b, 4)
	keys := colblk.DecodeColumn(&d, 0, bounds, colblk.DataTypeBytes, colblk.DecodeRawBytes)
	first := colblk.DecodeColumn(&d, 1, bounds, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	trailers := d.Uints(2)
	for i := range bounds - 1 {
		for j := first.At(i); j < first.At(i+1); j++ {
			list = append(list, tombstone{
				lo: append([]byte{}, keys.At(i)...), hi: append([]byte{}, keys.At(i+1)...),
				seq: uint64(pebble.InternalKeyTrailer(trailers.At(int(j))).SeqNum()),
			})
		}
	}
	return list, nil
}

// keySchema is that of all data blocks; the engine's default.
var keySchema = colblk.DefaultKeySchema(pebble.DefaultComparer, 16)

// blockCursor walks the keys of a data block.
type blockCursor struct {
	decoder colblk.DataBlockDecoder
	it      colblk.DataBlockIter
	key     pebble.InternalKey // nil UserKey at the end
	value   []byte
}

// open stands on the first key of a block, which must not change.
func (c *blockCursor) open(b []byte) (err error) {
	defer catchDamage(&err)
	if !shapeData.fits(b) {
		return damagedBlock("block does not hold data")
	}
	c.decoder.Init(&keySchema, b)
	c.it.InitOnce(&keySchema, pebble.DefaultComparer, nil) // without value blocks, which the store never writes
	if err := c.it.Init(&c.decoder, block.NoTransforms); err != nil {
		return damagedBlock("data block: %v", err)
	}
	return c.next()
}

// next moves on.
func (c *blockCursor) next() (err error) {
	defer catchDamage(&err)
	c.key, c.value = pebble.InternalKey{}, nil
	if kv := c.it.Next(); kv != nil {
		c.key, c.value = kv.K, kv.InPlaceValue()
	}
	return nil
}

// valid reports whether the cursor stands on a key.
func (c *blockCursor) valid() bool { return c.key.UserKey != nil }
