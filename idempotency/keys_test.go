package idempotency

import (
	"encoding/hex"
	"testing"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/stretchr/testify/require"
)

func TestGoldenBytes(t *testing.T) {
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"record key": {recordKey(7, []byte("k")), "40" + "00000007" + "6b"},
		"expiry key": {expiryKey(7, 258, []byte("k")), "41" + "00000007" + "0000000000000102" + "6b"},
		"record": {record{completed, 3, 259, 258, []byte("fp"), []byte("res")}.encode(),
			"01" + "02" + "0000000000000003" + "0000000000000103" + "0000000000000102" + "02" + "6670" + "726573"},
		"meta": {meta{records: 1, token: 2, nextDue: 3}.encode(),
			"01" + "0000000000000001" + "0000000000000002" + "0000000000000003"},
	} {
		require.Equal(t, c.want, hex.EncodeToString(c.got), name)
	}
}

func TestMalformedValues(t *testing.T) {
	good := record{completed, 3, 259, 258, []byte("fp"), []byte("res")}.encode()
	newer := append([]byte{2}, good[1:]...)
	_, err := decodeRecord(newer)
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodeMeta(append([]byte{2}, make([]byte, metaLen-1)...))
	require.ErrorIs(t, err, store.ErrFormat)
	for name, v := range map[string][]byte{
		"empty": nil, "short": good[:recordHead-1], "cut in the fingerprint": good[:recordHead+1],
		"unknown state":            append([]byte{1, 9}, good[2:]...),
		"reclaimed before it ends": record{completed, 3, 258, 259, nil, nil}.encode(),
	} {
		_, err := decodeRecord(v)
		require.ErrorIs(t, err, store.ErrCorrupt, name)
	}
	_, err = decodeMeta([]byte{1, 0})
	require.ErrorIs(t, err, store.ErrCorrupt)
	_, _, err = decodeExpiryKey(make([]byte, 13))
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(record{completed, 3, 259, 258, []byte("fp"), []byte("res")}.encode())
	f.Fuzz(func(t *testing.T, v []byte) {
		r, err := decodeRecord(v)
		if err == nil {
			require.Equal(t, v, r.encode())
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(meta{records: 1, token: 2, nextDue: 3}.encode())
	f.Fuzz(func(t *testing.T, v []byte) {
		if m, err := decodeMeta(v); err == nil {
			require.Equal(t, v, m.encode())
		}
	})
}

func FuzzDecodeExpiryKey(f *testing.F) {
	f.Add(expiryKey(7, 258, []byte("k")))
	f.Fuzz(func(t *testing.T, k []byte) {
		if expiry, key, err := decodeExpiryKey(k); err == nil {
			require.Equal(t, k[5:], expiryKey(7, expiry, key)[5:])
		}
	})
}
