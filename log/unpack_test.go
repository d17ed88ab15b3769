package log

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

var codecs = []Compression{NoCompression, Snappy, Zstd}

var theCoders = newCoders()

// packed is what a batch with these records is stored as, without its header.
func packed(c Compression, records []byte) (Compression, []byte) {
	s := newSegment(exactBuffer(headerLen+len(records)), false)
	s.buf.b = append(s.buf.b, records...)
	s.pack(theCoders, c)
	return s.codec, s.records()
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func TestPackedRecordsComeBack(t *testing.T) {
	for _, c := range codecs {
		for _, plain := range [][]byte{
			{}, []byte("short"), bytes.Repeat([]byte("a"), packMin-1), bytes.Repeat([]byte("a"), packMin),
			bytes.Repeat([]byte("some text "), 10_000), make([]byte, maxPlain), noise(5000),
			append(noise(batchTarget/2), make([]byte, batchTarget/2)...),
		} {
			codec, stored := packed(c, plain)
			got, err := theCoders.unpack(codec, stored)
			require.NoError(t, err)
			require.True(t, bytes.Equal(plain, got))
			require.LessOrEqual(t, len(stored), len(plain))
		}
	}
}

func TestWhatDoesNotGetSmallerIsStoredPlain(t *testing.T) {
	for _, c := range codecs[1:] {
		codec, stored := packed(c, noise(5000))
		require.Equal(t, NoCompression, codec)
		require.Equal(t, noise(5000), stored)
		codec, _ = packed(c, make([]byte, packMin-1))
		require.Equal(t, NoCompression, codec)
		codec, stored = packed(c, make([]byte, packMin))
		require.Equal(t, c, codec)
		require.Less(t, len(stored), packMin)
	}
}

// TestGoldenCompressedRecords holds bytes that every later version must read;
// what it writes may differ.
func TestGoldenCompressedRecords(t *testing.T) {
	plain := []byte(strings.Repeat("pebble", 30))
	for c, stored := range map[Compression]string{
		Snappy: goldenSnappy,
		Zstd:   goldenZstd,
	} {
		v, err := hex.DecodeString(stored)
		require.NoError(t, err)
		got, err := theCoders.unpack(c, v)
		require.NoError(t, err, c)
		require.Equal(t, plain, got)
	}
}

func TestLiesOfCompressedBatchesAreErrors(t *testing.T) {
	plain := bytes.Repeat([]byte("pebble"), 3000)
	for _, c := range codecs[1:] {
		_, good := packed(c, plain)
		sized := func(n int) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(n)), good[plainLen:]...) }
		_, large := packed(c, make([]byte, maxPlain))
		beyond := append(binary.BigEndian.AppendUint32(nil, maxPlain+1), theCoders.encode(c, nil, make([]byte, maxPlain+1))...)
		for name, v := range map[string][]byte{
			"nothing":          {},
			"no size":          good[:plainLen-1],
			"no bytes":         good[:plainLen],
			"cut":              good[:len(good)-1],
			"a size of 0":      sized(0),
			"a smaller size":   sized(len(plain) - 1),
			"a larger size":    sized(len(plain) + 1),
			"a huge size":      sized(1<<32 - 1),
			"a size for noise": append(sized(len(plain))[:plainLen], noise(100)...),
			"a size, then a bomb": append(binary.BigEndian.AppendUint32(nil, uint32(len(plain))),
				large[plainLen:]...),
			"more than fits":   beyond,
			"something behind": append(bytes.Clone(good), 1, 2, 3),
			"two of them":      append(bytes.Clone(good), good[plainLen:]...),
		} {
			_, err := theCoders.unpack(c, v)
			require.ErrorIs(t, err, store.ErrCorrupt, "%v: %s", c, name)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, c := range codecs[1:] {
		_, v := packed(c, bytes.Repeat([]byte("pebble"), 100))
		f.Add(byte(c), v)
		_, v = packed(c, append(noise(200), make([]byte, 2000)...))
		f.Add(byte(c), v)
	}
	f.Fuzz(func(t *testing.T, codec byte, v []byte) {
		c := Compression(codec) % (lastCompression + 1)
		plain, err := theCoders.unpack(c, v)
		if err != nil {
			require.ErrorIs(t, err, store.ErrCorrupt)
			return
		}
		if c != NoCompression {
			require.EqualValues(t, binary.BigEndian.Uint32(v), len(plain))
			require.Equal(t, len(plain), cap(plain))
		}
		codec2, again := packed(c, plain)
		got, err := theCoders.unpack(codec2, again)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, got))
	})
}

const (
	goldenSnappy = "000000b4b40114706562626c65ee0600ee0600d60600"
	goldenZstd   = "000000b428b52ffd20b475000030706562626c65015406032bab04"
)
