package spool

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestGoldenBytes(t *testing.T) {
	none, shared := store.Payload{}, store.Payload{Generation: 1, Number: 2, Size: 3}
	entry, sharing := make([]byte, entryLen(none, []byte("hi"))), make([]byte, entryLen(shared, []byte("hi")))
	encodeEntry(entry, none, []byte("hi"))
	encodeEntry(sharing, shared, []byte("hi"))
	mk := make([]byte, markLen)
	mark{out: true, count: 3, until: 5, first: 4, since: 6}.encode(mk)
	for want, got := range map[string][]byte{
		"20000000070000000000000009":                 seqKey(store.KindWorkMessage, 7, 9),
		"250000000700000000000000080000000000000009": dueKey(store.KindWorkDelay, 7, 8, 9),
		"016869": entry,
		"02" + "000000010000000200000003" + "6869": sharing,
		"01000000026869": encodeDelayed(2, none, []byte("hi")),
		"0200000002" + "000000010000000200000003" + "6869":                       encodeDelayed(2, shared, []byte("hi")),
		"0101000000030000000000000005" + "0000000000000004" + "0000000000000006": mk,
		"01" + "000000000000000a" + "0000000000000002" + "0000000000000003" + "0000000000000004" + "0000000000000005" +
			"0000000000000006" + "0000000000000007" + "0000000000000008" + "0000000000000009" + "0000000000000001": meta{
			next: 10, low: 2, frontier: 3, entries: 4, bytes: 5, delayed: 6, delayedBytes: 7, nextDue: 8, delaySeq: 9, taken: 1,
		}.encode(),
	} {
		require.Equal(t, want, hex.EncodeToString(got))
	}
}

func TestOtherVersionsAreRefusedAsSuch(t *testing.T) {
	v := make([]byte, metaLen)
	v[0] = 3
	_, _, err := decodeEntry(v)
	require.ErrorIs(t, err, store.ErrFormat)
	_, _, _, err = decodeDelayed(v)
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodeMark(v[:markLen])
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodeMeta(v)
	require.ErrorIs(t, err, store.ErrFormat)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1})
	f.Add(meta{next: 10, low: 2, entries: 4}.encode())
	f.Add(encodeDelayed(1, store.Payload{}, []byte("x")))
	f.Add(encodeDelayed(1, store.Payload{Generation: 1, Number: 2, Size: 3}, []byte("x")))
	f.Add(make([]byte, markLen))
	f.Add(seqKey(store.KindWorkMessage, 7, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMeta(b); err == nil {
			require.Equal(t, b, m.encode())
		}
		if mk, err := decodeMark(b); err == nil {
			v := make([]byte, markLen)
			mk.encode(v)
			require.Equal(t, b, v)
		}
		if n, p, data, err := decodeDelayed(b); err == nil {
			require.Equal(t, b, encodeDelayed(n, p, data))
		}
		if p, data, err := decodeEntry(b); err == nil {
			again := make([]byte, entryLen(p, data))
			encodeEntry(again, p, data)
			require.Equal(t, b, again)
		}
		if len(b) > 0 {
			if seq, err := decodeSeqKey(b); err == nil {
				require.Equal(t, b[5:], seqKey(0, 0, seq)[5:])
			}
			if due, seq, err := decodeDueKey(b); err == nil {
				require.Equal(t, b[5:], dueKey(0, 0, due, seq)[5:])
			}
		}
	})
}

func TestZeroTimeIsNone(t *testing.T) {
	require.Zero(t, nanos(time.Time{}))
	require.True(t, moment(0).IsZero())
	now := time.Unix(1, 2)
	require.True(t, now.Equal(moment(nanos(now))))
}
