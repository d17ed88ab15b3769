package queue

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestGoldenBytes(t *testing.T) {
	plain := Content{Data: []byte("hi"), Count: 2}
	full := Content{Data: []byte("hi"), Count: 2, Payload: store.Payload{Generation: 1, Number: 2, Size: 3}, Expires: 4}
	mk := mark{out: true, count: 3, until: 5, first: 4, since: 6}
	st := segmentState{first: 7, settled: bitmap{5}, marks: []seqMark{{8, mk}, {9, mark{accused: true, count: 1, until: 5, first: 4, since: 6, note: "no"}}}}
	at := place{id: 7, lane: 5}
	keyed := full
	keyed.Unique = UniqueKey{15: 0xff}
	old := Content{Data: []byte("hi"), Born: 5, stray: true, number: 6}
	for want, got := range map[string][]byte{
		"200000000705":                                                      laneKey(store.KindWorkMessage, at, 0),
		"2000000007050000000000000009":                                      seqKey(store.KindWorkMessage, at, 9),
		"25000000070500000000000000080000000000000009":                      dueKey(store.KindWorkDelay, at, 8, 9),
		"36000000070500000000000000080000000000000009":                      parkedKey(store.KindVisParked, at, 8, 9),
		"2c00000007050000000000000006" + "00000000000000080000000000000009": idKey(store.KindWorkDelayID, at, 6, Position{Due: 8, Seq: 9}),
		"01006869": stored(plain),
		"0138" + "0000000000000005" + "0000000000000006" + "6869":                                              stored(old),
		"0105" + "0000000000000007":                                                                            pin{lane: 5, messages: 7}.encode(),
		"0103" + "000000010000000200000003" + "0000000000000004" + "6869":                                      stored(full),
		"0107" + "000000010000000200000003" + "0000000000000004" + "000000000000000000000000000000ff" + "6869": stored(keyed),
		"2d0000000701000000000000000000000000000000ff":                                                         uniqueKey(store.KindWorkUnique, 7, slotDelayed, keyed.Unique),
		"01050000000000000009":                                                                                 Position{5, 8, 9}.encode(slotEntries),
		"010500000000000000080000000000000009":                                                                 Position{5, 8, 9}.encode(slotDelayed),
		"0100000000026869":                                                                                     plain.encodeDelayed(),
		"010300000002" + "000000010000000200000003" + "0000000000000004" + "6869":                              full.encodeDelayed(),
		"01" + "0000000000000007" + "0003" + "05" +
			"01" + "01" + "03" + "0000000000000005" + "0000000000000004" + "0000000000000006" +
			"00" + "0e" + "01" + "02" + "6e6f": st.encode(3),
		"0101" + "0000000000000007" + "00000002" + "0004" + "0104" + "01006869" + "01006869": segmentValue{
			first: 7, rewritten: true, items: []item{{7, stored(plain)}, {9, stored(plain)}}}.encode(),
		"01" + "000000000000000a" + "0000000000000002" + "0000000000000003" + "0000000000000004" + "0000000000000005" +
			"0000000000000006" + "0000000000000007" + "0000000000000008" + "0000000000000009" + "0000000000000001" + "000000000000000b" +
			"000000000000000c" + "000000000000000d" + "000000000000000e": meta{
			next: 10, low: 2, frontier: 3, entries: 4, bytes: 5, delayed: 6, delayedBytes: 7, nextDue: 8, delaySeq: 9, taken: 1, expires: 11,
			youngest: 12, oldest: 13, outlived: 14,
		}.encode(),
	} {
		require.Equal(t, want, hex.EncodeToString(got))
	}
}

func stored(c Content) []byte {
	return c.encode()
}

func TestOtherVersionsAreRefusedAsSuch(t *testing.T) {
	v := make([]byte, metaLen)
	v[0] = 3
	_, err := decodeEntry(v)
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodeDelayed(v)
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodeState(v, 9)
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodeSegment(v, 9, nil)
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodeMeta(v)
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodePin(v[:pinLen])
	require.ErrorIs(t, err, store.ErrFormat)
	_, err = decodePosition(slotEntries, v)
	require.ErrorIs(t, err, store.ErrFormat)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1})
	f.Add(meta{next: 10, low: 2, entries: 4}.encode())
	full := Content{Data: []byte("x"), Count: 1, Payload: store.Payload{Generation: 1, Number: 2, Size: 3}, Expires: 4}
	f.Add(full.encodeDelayed())
	f.Add(stored(Content{Data: []byte("x"), Born: 1, stray: true, number: 2}))
	f.Add(pin{lane: 1, messages: 2}.encode())
	f.Add(stored(full))
	full.Unique = UniqueKey{1}
	f.Add(stored(full))
	f.Add(full.encodeDelayed())
	f.Add(stored(Content{Data: []byte("x"), Born: 1, stray: true, number: 2}))
	f.Add(pin{lane: 1, messages: 2}.encode())
	f.Add(Position{5, 8, 9}.encode(slotEntries))
	f.Add(Position{5, 8, 9}.encode(slotDelayed))
	f.Add((&segmentState{first: 7, settled: bitmap{5}, marks: []seqMark{{8, mark{out: true, count: 1, until: 5}}, {9, mark{note: "x"}}}}).encode(3))
	f.Add(segmentValue{first: 7, items: []item{{7, stored(full)}, {9, stored(full)}}}.encode())
	f.Add(seqKey(store.KindWorkMessage, place{id: 7}, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMeta(b); err == nil {
			require.Equal(t, b, m.encode())
		}
		if st, err := decodeState(b, 9); err == nil {
			again, err := decodeState(st.encode(int(9-st.first+1)), 9)
			require.NoError(t, err)
			require.Equal(t, st, again)
		}
		if value, err := decodeSegment(b, 9, nil); err == nil {
			again, err := decodeSegment(value.encode(), 9, nil)
			require.NoError(t, err)
			require.Equal(t, value, again)
		}
		if c, err := decodeDelayed(b); err == nil {
			require.Equal(t, b, c.encodeDelayed())
		}
		if p, err := decodePin(b); err == nil {
			require.Equal(t, b, p.encode())
		}
		if c, err := decodeEntry(b); err == nil {
			require.Equal(t, b, stored(c))
		}
		for _, slot := range []byte{slotEntries, slotDelayed} {
			if at, err := decodePosition(slot, b); err == nil {
				require.Equal(t, b, at.encode(slot))
			}
		}
		if seq, err := decodeSeqKey(b); err == nil {
			require.Equal(t, b[laneKeyLen:], seqKey(0, place{}, seq)[laneKeyLen:])
		}
		if due, seq, err := decodeDueKey(b); err == nil {
			require.Equal(t, b[laneKeyLen:], dueKey(0, place{}, due, seq)[laneKeyLen:])
		}
		if hash, at, err := decodeIDKey(b); err == nil {
			require.Equal(t, b[laneKeyLen-1:], idKey(0, place{lane: at.Lane}, hash, at)[laneKeyLen-1:])
		}
		if seq, err := decodeParkedKey(b); err == nil {
			require.Equal(t, b[laneKeyLen+8:], parkedKey(0, place{}, 0, seq)[laneKeyLen+8:])
		}
	})
}

func TestZeroTimeIsNone(t *testing.T) {
	require.Zero(t, At(time.Time{}))
	require.True(t, Moment(0).Time().IsZero())
	now := time.Unix(1, 2)
	require.True(t, now.Equal(At(now).Time()))
	require.False(t, At(now).After(now))
	require.True(t, At(now.Add(1)).After(now))
}
