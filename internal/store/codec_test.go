package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// The bytes in this file are on people's disks. A test that fails here is not
// to be mended but to be understood: it means a new format version.

func TestGoldenCatalogEntry(t *testing.T) {
	o := &Object{ID: 0x01020304, Class: ClassQueue, Name: "mail", Config: []byte(`{"a":1}`)}
	k, v := catalogKey(o.Class, o.Name), encodeObject(o)
	require.Equal(t, "01056d61696c", hex.EncodeToString(k))
	require.Equal(t, "01010203047b2261223a317d", hex.EncodeToString(v))
	back, err := decodeObject(k, v)
	require.NoError(t, err)
	require.Equal(t, o, back)

	for _, bad := range []struct {
		key, value []byte
		want       error
	}{
		{k, nil, ErrCorrupt},
		{k, v[:4], ErrCorrupt},
		{k[:1], v, ErrCorrupt},
		{nil, nil, ErrCorrupt},
		{k, append([]byte{2}, v[1:]...), ErrFormat},
		{k, append([]byte{0}, v[1:]...), ErrFormat},
	} {
		_, err := decodeObject(bad.key, bad.value)
		require.ErrorIs(t, err, bad.want)
	}
}

func TestGoldenPayload(t *testing.T) {
	h := holding{Holder{ID: 7, Slot: 1}, 2}
	v := binary.BigEndian.AppendUint64([]byte{payloadVersion}, 3)
	require.Equal(t, "030000000200000003", hex.EncodeToString(payloadKey(2, 3)))
	require.Equal(t, "04"+"00000007"+"0001"+"00000002", hex.EncodeToString(h.key()))
	back, copies, err := decodeHolding(h.key(), v)
	require.NoError(t, err)
	require.Equal(t, h, back)
	require.EqualValues(t, 3, copies)
	for _, bad := range []struct {
		key, value []byte
		want       error
	}{
		{h.key(), nil, ErrCorrupt},
		{h.key(), v[:8], ErrCorrupt},
		{h.key()[:9], v, ErrCorrupt},
		{holding{Holder{ID: 7, Slot: holderSlots}, 2}.key(), v, ErrCorrupt},
		{h.key(), append([]byte{2}, v[1:]...), ErrFormat},
	} {
		_, _, err := decodeHolding(bad.key, bad.value)
		require.ErrorIs(t, err, bad.want)
	}
	b, err := cutPayload([]byte("\x01body"), nil)
	require.NoError(t, err)
	require.Equal(t, "body", string(b))
	_, err = cutPayload([]byte("\x02body"), nil)
	require.ErrorIs(t, err, ErrFormat)
	_, err = cutPayload([]byte{}, nil)
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestGoldenSyncRecord(t *testing.T) {
	var one, two [slotSize]byte
	encodeSlot(&one, progress{number: 1, seq: 1})
	encodeSlot(&two, progress{number: 2, seq: 0x0102030405060708, manifest: written{9, 10, 11}, wals: [maxWALs]uint64{14: 12, 15: 13}})
	require.Equal(t, goldenFirstSlot, hex.EncodeToString(one[:]))
	require.Equal(t, goldenSlot, hex.EncodeToString(two[:]))

	both := append(one[:], two[:]...)
	swapped := append(two[:], one[:]...)
	for name, c := range map[string]struct {
		bytes []byte
		seq   uint64
	}{
		"none":               {nil, 0},
		"first slot only":    {one[:], 1},
		"both":               {both, 0x0102030405060708},
		"the other way":      {swapped, 0x0102030405060708},
		"torn second":        {both[:2*slotSize-1], 1},
		"damaged second":     {flipped(both, slotSize+5), 1},
		"damaged first":      {flipped(both, 5), 0x0102030405060708},
		"never written":      {make([]byte, 2*slotSize), 0},
		"first never was":    {append(make([]byte, slotSize), one[:]...), 1},
		"damaged version":    {flipped(one[:], 3), 0},
		"longer than it was": {append(bytes.Clone(both), 1, 2, 3), 0x0102030405060708},
	} {
		p, err := decodeRecord(c.bytes)
		require.NoError(t, err, name)
		require.Equal(t, c.seq, p.seq, name)
	}

	newer, err := hex.DecodeString(goldenNewerSlot)
	require.NoError(t, err)
	_, err = decodeRecord(newer)
	require.ErrorIs(t, err, ErrFormat)
}

// Version, number, seq, MANIFEST, bytes, checksum, WALs, CRC32.
var (
	goldenFirstSlot = "00000001" + "0000000000000001" + "0000000000000001" + strings.Repeat("00", 8+8+4+16*8) + "7ef5d2d1"
	goldenSlot      = "00000001" + "0000000000000002" + "0102030405060708" + "0000000000000009" + "000000000000000a" + "0000000b" +
		strings.Repeat("00", 14*8) + "000000000000000c" + "000000000000000d" + "5dc9cc52"
	goldenNewerSlot = "00000002" + "0000000000000001" + strings.Repeat("00", 8+8+8+4+16*8) + "5d74d8ab"
)

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestGoldenFormatFile(t *testing.T) {
	require.NoError(t, parseFormat("data", "pebblemq store, format 1\n"))
	require.Equal(t, 1, FormatVersion)
	require.ErrorIs(t, parseFormat("data", "pebblemq store, format 2\n"), ErrFormat)
	require.ErrorIs(t, parseFormat("data", "pebblemq store, format 1"), ErrCorrupt)
	require.ErrorIs(t, parseFormat("data", ""), ErrCorrupt)
}

func TestGoldenKeys(t *testing.T) {
	require.Equal(t, []byte{0, 'c'}, keyClean)
	require.Equal(t, []byte{0, 'i'}, keyNextID)
	require.Equal(t, []byte{0, 's', 0, 0, 0, 0, 1, 2, 3, 4}, seqKey(0x01020304))
	require.Equal(t, []byte{0x31, 1, 2, 3, 4}, Key(KindVisState, 0x01020304, 0))
	require.Equal(t, pebble.FormatMajorVersion(21), formatMajor)
}

func FuzzDecodeObject(f *testing.F) {
	f.Add([]byte{1, 1, 'a'}, []byte{1, 0, 0, 0, 1, '{', '}'})
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		o, err := decodeObject(key, value)
		if err != nil {
			return
		}
		require.Equal(t, value, encodeObject(o))
		require.Equal(t, key[1:], catalogKey(o.Class, o.Name)[1:])
	})
}

func FuzzDecodeHolding(f *testing.F) {
	f.Add(holding{Holder{ID: 7, Slot: 1}, 2}.key(), make([]byte, 9))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		h, copies, err := decodeHolding(key, value)
		if err != nil {
			return
		}
		require.Equal(t, key[1:], h.key()[1:])
		require.Equal(t, value, binary.BigEndian.AppendUint64([]byte{payloadVersion}, copies))
	})
}

func FuzzDecodeRecord(f *testing.F) {
	var slot [slotSize]byte
	encodeSlot(&slot, progress{number: 77, seq: 3, manifest: written{4, 1, 99}})
	f.Add(slot[:])
	f.Add(append(slot[:], slot[:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeRecord(b)
	})
}

func FuzzParseFormat(f *testing.F) {
	f.Add("pebblemq store, format 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		if parseFormat("data", text) == nil {
			require.Equal(t, "pebblemq store, format 1\n", text)
		}
	})
}

// FuzzOverlay builds a batch from the input, three bytes a write, and looks a
// key up after each write and once at the end; both must agree with a plain
// model. Bytes that are no batch never reach an overlay.
func FuzzOverlay(f *testing.F) {
	f.Add([]byte("\x00ab\x01ab\x02ac\x00bb"), byte('a'))
	f.Add([]byte("\x00a\x00\x02\x00z"), byte('a'))
	f.Fuzz(func(t *testing.T, writes []byte, looked byte) {
		var b pebble.Batch
		var whole, pieces overlay
		want, wantKnown := pending{}, false
		for ; len(writes) >= 3; writes = writes[3:] {
			k, v := writes[1], writes[2]
			switch writes[0] % 3 {
			case 0:
				require.NoError(t, b.Set([]byte{k}, []byte{v}, nil))
				if k == looked {
					want, wantKnown = pending{value: []byte{v}}, true
				}
			case 1:
				require.NoError(t, b.Delete([]byte{k}, nil))
				if k == looked {
					want, wantKnown = pending{deleted: true}, true
				}
			case 2:
				require.NoError(t, b.DeleteRange([]byte{k}, []byte{v}, nil))
				if k <= looked && looked < v {
					want, wantKnown = pending{deleted: true}, true
				}
			}
			p, known := pieces.get(b.Repr(), []byte{looked})
			require.Equal(t, want, p)
			require.Equal(t, wantKnown, known)
		}
		p, known := whole.get(b.Repr(), []byte{looked})
		require.Equal(t, want, p)
		require.Equal(t, wantKnown, known)
	})
}
