package log

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Compression is how a topic stores its batches. Readers never notice: a batch
// says how it is compressed, and one that would not get smaller is stored as it
// is. Kafka's gzip and LZ4 are not offered: LZ4 is not among the modules that
// the engine brings, and gzip is worse than Zstd at everything.
type Compression uint8

// The numbers are stored.
const (
	// NoCompression is the default. The engine compresses its files lightly anyway. A topic's
	// own compression also saves write-ahead log and memory, and most of the disk with Zstd.
	NoCompression Compression = 0
	// Snappy is fast and saves about half of text.
	Snappy Compression = 1
	// Zstd saves more, and costs a few times Snappy's processor time.
	Zstd Compression = 2

	lastCompression = Zstd
)

// String returns "none", "snappy" or "zstd".
func (c Compression) String() string {
	switch c {
	case NoCompression:
		return "none"
	case Snappy:
		return "snappy"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("Compression(%d)", uint8(c))
}

func (c Compression) check() error {
	if c > lastCompression {
		return store.Invalid("Compression %d is unknown", uint8(c))
	}
	return nil
}

const (
	// packMin is the size below which compression is not tried.
	packMin = 128
	// packAlone is the size from which the caller of Append compresses a
	// segment itself, which then is a batch of its own. Smaller ones are
	// gathered first, and compressed when the group is sealed. That is under
	// the baton, so it must be the exception for those who bring much.
	packAlone = 16 << 10
	plainLen  = 4
	// maxPlain bounds what a compressed batch may claim to hold: the largest
	// record, encoded, with the headers that a retry adds.
	maxPlain = MaxRecordBytes + recordOverhead + 2*MaxHeaderBytes
)

// pack compresses the records of a segment, if that makes them smaller.
func (s *segment) pack(k *coders, c Compression) {
	if s.codec == NoCompression {
		s.buf.b, s.codec = k.pack(s.buf.b, headerLen, c)
	}
}

// pack compresses what follows the header of a batch in its place, and returns how;
// not at all if it would not get smaller.
func (k *coders) pack(batch []byte, header int, c Compression) ([]byte, Compression) {
	plain := batch[header:]
	if c == NoCompression || len(plain) < packMin {
		return batch, NoCompression
	}
	scratch := scratches.Get().(*[]byte)
	out := k.encode(c, (*scratch)[:0], plain)
	smaller := plainLen+len(out) < len(plain)
	if smaller {
		batch = binary.BigEndian.AppendUint32(batch[:header], uint32(len(plain)))
		batch = append(batch, out...)
	}
	if cap(out) <= scratchMax {
		*scratch = out
		scratches.Put(scratch)
	}
	if !smaller {
		return batch, NoCompression
	}
	return batch, c
}

// scratchMax is the most that a pooled buffer for compressed bytes may hold.
const scratchMax = 2 * batchTarget

var scratches = sync.Pool{New: func() any { return new([]byte) }}

// encode compresses src into dst, which it may replace by a larger one.
func (k *coders) encode(c Compression, dst, src []byte) []byte {
	if c == Zstd {
		return k.encoder().EncodeAll(src, dst)
	}
	return snappy.Encode(dst[:cap(dst)], src)
}

// unpack returns the records of a stored batch. Decompressed records are in memory of their own.
// No input makes it take more than the batch says and may hold.
func (k *coders) unpack(c Compression, stored []byte) ([]byte, error) {
	if c == NoCompression {
		return stored, nil
	}
	if len(stored) < plainLen {
		return nil, corrupt("compressed batch of %d bytes", len(stored))
	}
	n, src := binary.BigEndian.Uint32(stored), stored[plainLen:]
	if n == 0 || n > maxPlain || !c.announces(src, n) {
		return nil, corrupt("batch of %d bytes says it holds %d", len(stored), n)
	}
	out, err := k.decode(c, make([]byte, 0, n), src)
	if err != nil {
		return nil, corrupt("compressed batch: %v", err)
	}
	if len(out) != int(n) {
		return nil, corrupt("batch says it holds %d bytes, but holds %d", n, len(out))
	}
	return out, nil
}

// announces reports whether the compressed bytes themselves say that they hold
// n: a damaged size is found before memory is taken for it.
func (c Compression) announces(src []byte, n uint32) bool {
	if c == Snappy {
		size, err := snappy.DecodedLen(src)
		return err == nil && size == int(n)
	}
	var h zstd.Header
	err := h.Decode(src)
	return err == nil && h.HasFCS && h.FrameContentSize == uint64(n)
}

// decode fills dst, and never more than its capacity.
func (k *coders) decode(c Compression, dst, src []byte) ([]byte, error) {
	if c == Snappy {
		return snappy.Decode(dst[:cap(dst)], src)
	}
	return k.decoder().DecodeAll(src, dst)
}

// coders are those of Zstd, made at the first use. They run no goroutines, and are
// the store's because they hold channels: one that was made in a bubble of
// testing/synctest must not be used in another.
type coders struct {
	encoder func() *zstd.Encoder
	decoder func() *zstd.Decoder
}

type codersKey struct{}

func codersOf(s *store.Store) *coders {
	return s.Local(codersKey{}, func() any { return newCoders() }).(*coders)
}

func newCoders() *coders {
	return &coders{encoder: sync.OnceValue(newEncoder), decoder: sync.OnceValue(newDecoder)}
}

// newEncoder cannot fail: its options are constants.
func newEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(batchTarget),
		zstd.WithLowerEncoderMem(true),
		zstd.WithSingleSegment(true), // says the size
		zstd.WithEncoderCRC(false),   // the engine has its own
		zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		panic(err)
	}
	return e
}

// newDecoder cannot fail either.
func newDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxPlain),
		zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)))
	if err != nil {
		panic(err)
	}
	return d
}
