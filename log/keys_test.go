package log

import (
	"bytes"
	"encoding/hex"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestPartitionerIsKafkas(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                       -973932308,
		"foobar":                   -790332482,
		"abc":                      479470107,
		"a-little-bit-long-string": -985981536,
	} {
		require.Equal(t, want, murmur2([]byte(key)), key)
	}
	require.Equal(t, int(uint32(0x7fffffff&-790332482))%7, partitionOf([]byte("foobar"), 7))
}

// unhex reads bytes that are written in groups for the eye.
func unhex(t testing.TB, parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		v, err := hex.DecodeString(p)
		require.NoError(t, err)
		b = append(b, v...)
	}
	return b
}

func TestGoldenKeysAndValues(t *testing.T) {
	require.Equal(t, unhex(t, "10", "00000007", "00000003", "0000000000000102"), batchKey(7, 3, 0x102))
	put := make([]byte, batchKeyLen)
	putBatchKey(put, 7, 3, 0x102)
	require.Equal(t, batchKey(7, 3, 0x102), put)
	require.Equal(t, unhex(t, "11", "00000007", "00000003"), partitionKey(store.KindLogMeta, 7, 3))
	require.Equal(t, unhex(t, "12", "00000009", "00000003"), partitionKey(store.KindLogCommit, 9, 3))
	require.Equal(t, unhex(t, "01", "0000000000000005", "0000000000000004", "0000000000000003", "0000000000000002", "0000000000000001"), startRecord{5, 4, 3, 2, 1}.encode())
	require.Equal(t, unhex(t, "01", "0000000000000005", "00"), progress{next: 5}.encode())
	require.Equal(t, unhex(t, "01", "0000000000000005", "026d65", "0203", "8001", "01"),
		progress{next: 5, metadata: "me", above: []span{{7, 10}, {138, 139}}}.encode())
	require.Equal(t, unhex(t, "01", "0000000000000005", "0000000000000003", "0000000000000007", "00000002", "09000000000000000000000000000008"), somewhat.encode())
	require.Equal(t, unhex(t, "13", "00000009", "00000003", "70"), producerKey(9, 3, "p"))
	require.Equal(t, unhex(t, "13", "00000009", "ffffffff", "70"), producerKey(9, allPartitions, "p"))
	require.Equal(t, unhex(t, "01", "0000000000000005"), encodeEpoch(5))
	require.Equal(t, "\x00\x00\x00\x07g", groupName(7, "g"))

	h := header{codec: Zstd, stamped: true, count: 2, base: 0x10, maxTime: -1, retainTime: 3, bytes: 0x400}
	v := make([]byte, headerLen)
	h.encode(v)
	require.Equal(t, unhex(t, "01", "12", "00000002", "0000000000000010", "ffffffffffffffff", "0000000000000003", "0000000000000400"), v)
	got, err := decodeHeader(v, 0x11)
	require.NoError(t, err)
	require.Equal(t, h, got)

	for want, r := range map[string]Record{
		"09" + "0000000000000005" + "00":          {},
		"0b" + "0000000000000005" + "02" + "6162": {Value: []byte("ab")},
		"0a" + "0000000000000005" + "03" + "00":   {Key: []byte{}, Value: []byte{}},
		"12" + "0000000000000005" + "07" + "016b" + "02" + "016e00" + "01" + "6d01": {
			Key: []byte("k"), Headers: []Header{{Name: "n"}, {Name: "m", Value: []byte{}}}, Value: []byte{},
		},
	} {
		require.Equal(t, want, hex.EncodeToString(appendRecord(nil, &r, 5)))
		require.Equal(t, len(want)/2, r.encodedLen())
	}
}

func TestBrokenValuesAreErrors(t *testing.T) {
	good := make([]byte, headerLen)
	header{count: 2, base: 0x10, bytes: 0}.encode(good)
	edit := func(b []byte, i int, x byte) []byte { b = bytes.Clone(b); b[i] = x; return b }
	type decode func() error
	head := func(v []byte, last uint64) decode {
		return func() error { _, err := decodeHeader(v, last); return err }
	}
	start := func(v []byte) decode { return func() error { _, err := decodeStart(v); return err } }
	commit := func(v []byte) decode { return func() error { _, err := decodeProgress(v); return err } }
	producer := func(v []byte) decode { return func() error { _, err := decodeProduced(v); return err } }
	epoch := func(v []byte) decode { return func() error { _, err := decodeEpoch(v); return err } }
	for name, c := range map[string]struct {
		f    decode
		want error
	}{
		"empty batch":            {head(nil, 0x11), store.ErrCorrupt},
		"short batch":            {head(good[:headerLen-1], 0x11), store.ErrCorrupt},
		"newer batch":            {head(edit(good, 0, 2), 0x11), store.ErrFormat},
		"newer short batch":      {head([]byte{2, 0}, 0x11), store.ErrFormat},
		"batch of another codec": {head(edit(good, 1, 3), 0x11), store.ErrFormat},
		"batch with flags":       {head(edit(good, 1, 0x40), 0x11), store.ErrFormat},
		"deadlines, not sparse":  {head(edit(good, 1, 0x20), 0x11), store.ErrCorrupt},
		"batch of none":          {head(edit(good, 5, 0), 0x11), store.ErrCorrupt},
		"batch of another count": {head(edit(good, 5, 3), 0x11), store.ErrCorrupt},
		"batch at another key":   {head(good, 0x12), store.ErrCorrupt},
		"batch below its base":   {head(good, 0x0f), store.ErrCorrupt},
		"batch of huge offsets":  {head(edit(good, 6, 0xff), 0xff00000000000011), store.ErrCorrupt},
		"empty start":            {start(nil), store.ErrCorrupt},
		"short start":            {start(startRecord{5, 4, 3, 2, 1}.encode()[:40]), store.ErrCorrupt},
		"newer start":            {start(edit(startRecord{5, 4, 3, 2, 1}.encode(), 0, 9)), store.ErrFormat},
		"start below cleared":    {start(startRecord{4, 5, 0, 0, 0}.encode()), store.ErrCorrupt},
		"start below swept":      {start(startRecord{4, 3, 0, 5, 0}.encode()), store.ErrCorrupt},
		"huge start":             {start(startRecord{math.MaxUint64, 5, 0, 0, 0}.encode()), store.ErrCorrupt},
		"empty producer":         {producer(nil), store.ErrCorrupt},
		"odd producer":           {producer(append(somewhat.encode(), 0)), store.ErrCorrupt},
		"producer of many":       {producer(append(somewhat.encode(), make([]byte, 5*producedBatchLen)...)), store.ErrCorrupt},
		"newer producer":         {producer(edit(somewhat.encode(), 0, 9)), store.ErrFormat},
		"empty epoch":            {epoch(nil), store.ErrCorrupt},
		"epoch of none":          {epoch(encodeEpoch(0)), store.ErrCorrupt},
		"huge epoch":             {epoch(encodeEpoch(math.MaxUint64)), store.ErrCorrupt},
		"newer epoch":            {epoch(edit(encodeEpoch(5), 0, 9)), store.ErrFormat},
		"empty commit":           {commit(nil), store.ErrCorrupt},
		"short commit":           {commit(progress{next: 1}.encode()[:9]), store.ErrCorrupt},
		"odd commit":             {commit(append(progress{next: 1}.encode(), 1)), store.ErrCorrupt},
		"commit without a gap":   {commit(append(progress{next: 1}.encode(), 0, 1)), store.ErrCorrupt},
		"commit of nothing":      {commit(append(progress{next: 1}.encode(), 1, 0)), store.ErrCorrupt},
		"metadata over the end":  {commit(edit(progress{next: 1}.encode(), 9, 1)), store.ErrCorrupt},
		"newer commit":           {commit(edit(progress{next: 1}.encode(), 0, 9)), store.ErrFormat},
		"huge commit":            {commit(progress{next: math.MaxUint64}.encode()), store.ErrCorrupt},
		"batch key":              {func() error { _, err := decodeBatchKey([]byte("x")); return err }, store.ErrCorrupt},
		"partition key":          {func() error { _, err := decodePartitionKey([]byte("x")); return err }, store.ErrCorrupt},
	} {
		require.ErrorIs(t, c.f(), c.want, name)
	}
}

func FuzzHeader(f *testing.F) {
	v := make([]byte, headerLen)
	header{count: 2, base: 0x10, bytes: 7}.encode(v)
	f.Add(v, uint64(0x11))
	header{codec: Snappy, stamped: true, count: 2, base: 0x10, bytes: 7}.encode(v)
	f.Add(v, uint64(0x11))
	f.Fuzz(func(t *testing.T, v []byte, last uint64) {
		h, err := decodeHeader(v, last)
		if err != nil {
			return
		}
		again := make([]byte, headerLen)
		h.encode(again)
		require.Equal(t, v[:headerLen], again)
	})
}

var somewhat = produced{next: 5, batches: []producedBatch{{first: 3, base: 7, count: 2, content: content{0: 9, 15: 8}}}}

func FuzzSmallValues(f *testing.F) {
	f.Add(somewhat.encode())
	f.Add(startRecord{5, 4, 3, 2, 1}.encode())
	f.Add(encodeEpoch(5))
	f.Add(progress{next: 7}.encode())
	f.Add(progress{next: 5, metadata: "me", above: []span{{7, 10}, {138, 139}}}.encode())
	f.Fuzz(func(t *testing.T, v []byte) {
		if r, err := decodeStart(v); err == nil {
			require.Equal(t, v, r.encode())
		}
		if p, err := decodeProduced(v); err == nil {
			require.Equal(t, v, p.encode())
		}
		if epoch, err := decodeEpoch(v); err == nil {
			require.Equal(t, v, encodeEpoch(epoch))
		}
		if p, err := decodeProgress(v); err == nil {
			require.Equal(t, v, p.encode())
		}
		if last, err := decodeBatchKey(v); err == nil {
			require.Equal(t, v[9:], batchKey(0, 0, last)[9:])
		}
	})
}

func FuzzRecords(f *testing.F) {
	f.Add(appendRecord(appendRecord(nil, &Record{Value: []byte("v")}, 1), &Record{
		Key: []byte("k"), Headers: []Header{{Name: "n"}, {Name: "m", Value: []byte("x")}},
	}, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		var heads headerRoom
		for len(b) > 0 {
			body, rest, err := cutRecord(b)
			if err != nil {
				require.ErrorIs(t, err, store.ErrCorrupt)
				return
			}
			var r, again Record
			if err := decodeRecord(body, &r, &heads); err != nil {
				require.ErrorIs(t, err, store.ErrCorrupt)
				return
			}
			body, none, err := cutRecord(appendRecord(nil, &r, r.Timestamp.UnixNano()))
			require.NoError(t, err)
			require.Empty(t, none)
			require.NoError(t, decodeRecord(body, &again, &heads))
			require.Equal(t, r, again)
			b = rest
		}
	})
}

func TestRecordsRoundTrip(t *testing.T) {
	maybe := func(g *rapid.Generator[[]byte]) *rapid.Generator[[]byte] {
		return rapid.OneOf(rapid.Just([]byte(nil)), g)
	}
	data := maybe(rapid.SliceOfN(rapid.Byte(), 0, 300))
	headers := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Header {
		return Header{Name: rapid.String().Draw(t, "name"), Value: data.Draw(t, "header")}
	}), 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		in := Record{Key: data.Draw(t, "key"), Value: data.Draw(t, "value"), Headers: headers.Draw(t, "headers")}
		nanos := rapid.Int64().Draw(t, "time")
		enc := appendRecord(nil, &in, nanos)
		if len(enc) != in.encodedLen() {
			t.Fatalf("encoded to %d bytes, announced %d", len(enc), in.encodedLen())
		}
		body, rest, err := cutRecord(enc)
		if err != nil || len(rest) != 0 {
			t.Fatal(rest, err)
		}
		var heads headerRoom
		var out Record
		if err := decodeRecord(body, &out, &heads); err != nil {
			t.Fatal(err)
		}
		if len(in.Headers) == 0 {
			in.Headers = nil
		}
		in.Timestamp = time.Unix(0, nanos).UTC()
		require.Equal(t, in, out)
	})
}

func TestSpreadIsEvenCompleteAndSticky(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "members")
		parts := rapid.IntRange(1, 20).Draw(t, "partitions")
		before := rapid.SliceOfN(rapid.IntRange(nobody, n-1), parts, parts).Draw(t, "owners")
		owners := append([]int(nil), before...)
		spread(owners, n)
		have := make(map[int]int)
		had := make(map[int]int)
		kept := 0
		for i, m := range owners {
			if (m == nobody) != (n == 0) {
				t.Fatalf("partition %d has owner %d", i, m)
			}
			have[m]++
			had[before[i]]++
			if m == before[i] && m != nobody {
				kept++
			}
		}
		if n == 0 {
			return
		}
		base, more := parts/n, parts%n
		most, large := 0, 0
		for m := range n {
			if have[m] < base || have[m] > base+1 {
				t.Fatalf("shares %v", have)
			}
			most += min(had[m], base)
			if had[m] > base {
				large++
			}
		}
		most += min(large, more)
		if kept != most {
			t.Fatalf("kept %d, could have kept %d: %v -> %v", kept, most, before, owners)
		}
	})
}

func TestPositionsAreStoredInRuns(t *testing.T) {
	at := []Position{{0, 5}, {0, 6}, {2, 9}, {0, 7}}
	b := encodePositions(at)
	require.Equal(t, "000502"+"020901"+"000701", hex.EncodeToString(b))
	got, err := decodePositions(b)
	require.NoError(t, err)
	require.Equal(t, at, got)
	for name, bad := range map[string][]byte{
		"cut off":        b[:len(b)-1],
		"empty run":      {0, 5, 0},
		"no partition":   {0xff, 0xff, 1, 5, 1},
		"beyond the end": {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 2},
		"too many":       {0, 0, 0xff, 0xff, 0xff, 0x7f},
	} {
		_, err := decodePositions(bad)
		require.ErrorIs(t, err, store.ErrCorrupt, name)
	}
}

func FuzzDecodePositions(f *testing.F) {
	f.Add(encodePositions([]Position{{0, 5}, {0, 6}, {2, 9}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, err := decodePositions(b); err == nil {
			again, err := decodePositions(encodePositions(at))
			require.NoError(t, err)
			require.Equal(t, at, again)
		}
	})
}

func TestIndexEntries(t *testing.T) {
	require.Equal(t, "15"+"00000007"+"6162", hex.EncodeToString(indexKey(7, []byte("ab"))))
	v := encodeIndex(3, 9)
	require.Equal(t, "01"+"00000003"+"0000000000000009", hex.EncodeToString(v))
	at, err := decodeIndex(v)
	require.NoError(t, err)
	require.Equal(t, Position{3, 9}, at)
	for name, bad := range map[string][]byte{
		"none": {}, "short": v[:5], "no such partition": encodeIndex(MaxPartitions, 9), "offset too large": encodeIndex(0, 1<<63),
	} {
		_, err := decodeIndex(bad)
		require.ErrorIs(t, err, store.ErrCorrupt, name)
	}
	_, err = decodeIndex([]byte{9})
	require.ErrorIs(t, err, store.ErrFormat)
}

func FuzzDecodeIndex(f *testing.F) {
	f.Add(encodeIndex(3, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, err := decodeIndex(b); err == nil {
			require.Equal(t, b, encodeIndex(uint32(at.Partition), uint64(at.Offset)))
		}
	})
}
