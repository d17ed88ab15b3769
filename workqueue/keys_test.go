package workqueue

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/workqueue/internal/routing"
	"github.com/stretchr/testify/require"
)

var sample = envelope{
	Message: Message{
		Body: []byte("body"), Headers: map[string]string{"b": "2", "a": ""}, MessageID: "id", CorrelationID: "c", UniqueKey: "u",
		Timestamp: time.UnixMicro(258), Priority: 7, TTL: 5 * time.Microsecond, CC: []string{"c1", "c2"},
	},
	exchange: "e", key: "k",
	deaths: []Death{{Queue: "q", Reason: "r", Count: 3, Time: time.UnixMicro(7), Exchange: "x", RoutingKeys: []string{"k", "c"}, TTL: 6 * time.Microsecond, Latest: time.UnixMicro(9), Error: "no"}},
}

var sampleBinding = binding{exchange: "e", to: destination{store.ClassQueue, "q"}, key: "k", arguments: encodeArguments([]routing.Argument{{Name: "a", Null: true}, {Name: "b", Value: "2"}})}

func TestGoldenBytes(t *testing.T) {
	require.Equal(t, "01"+"07"+"0000000000000102"+"05"+"0165"+"016b"+"02"+"026331"+"026332"+"026964"+"0163"+"0000000000"+"0175"+
		"02"+"016100"+"01620132"+
		"01"+"0171"+"0172"+"03"+"0000000000000007"+"06"+"0178"+"02"+"016b"+"0163"+"0000000000000009"+"026e6f"+
		"626f6479", hex.EncodeToString(encodeMessage(&sample)))
	require.Equal(t, "24"+"00000007"+"0165"+"05"+"0171"+"016b"+"016100"+"01620101"+"32", hex.EncodeToString(bindingKey(7, sampleBinding)))
	require.Equal(t, "01"+"00000102"+"0000000000000103", hex.EncodeToString(encodeRecord(record{258, 259})))
}

func TestMalformedValues(t *testing.T) {
	good := encodeMessage(&sample)
	_, err := decodeMessage(append([]byte{2}, good[1:]...))
	require.ErrorIs(t, err, store.ErrFormat)
	for n := range len(good) - len(sample.Body) {
		_, err := decodeMessage(good[:n])
		require.ErrorIs(t, err, store.ErrCorrupt, "cut to %d bytes", n)
	}
	key, id := bindingKey(7, sampleBinding), encodeRecord(record{3, 4})
	_, _, err = decodeBinding(key, append([]byte{2}, id[1:]...))
	require.ErrorIs(t, err, store.ErrFormat)
	for n := range len(key) - len(sampleBinding.arguments) {
		_, _, err := decodeBinding(key[:n], id)
		require.ErrorIs(t, err, store.ErrCorrupt, "cut to %d bytes", n)
	}
	for n := range len(id) {
		_, _, err := decodeBinding(key, id[:n])
		require.ErrorIs(t, err, store.ErrCorrupt, "cut to %d bytes", n)
	}
	for _, arguments := range []string{"\x01b\x01\x012\x01a\x00", "\x01a\x00\x01a\x00", "\x01a\x02", "\x81\x00a\x00", "\x01a", "\x01"} {
		b := sampleBinding
		b.arguments = arguments
		_, _, err := decodeBinding(bindingKey(7, b), id)
		require.ErrorIs(t, err, store.ErrCorrupt, "%q", arguments)
	}
	sink := bindingKey(7, binding{exchange: "e", to: destination{store.ClassNamespace, "q"}})
	_, _, err = decodeBinding(sink, id)
	require.ErrorIs(t, err, store.ErrCorrupt, "a class that nothing can be bound to")
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(encodeMessage(&sample))
	f.Add(encodeMessage(&envelope{}))
	f.Fuzz(func(t *testing.T, v []byte) {
		e, err := decodeMessage(v)
		if err != nil {
			return
		}
		require.Equal(t, e.MessageID, string(messageIDOf(v)))
		again, err := decodeMessage(encodeMessage(&e))
		require.NoError(t, err)
		require.Equal(t, e, again)
	})
}

func FuzzDecodeBinding(f *testing.F) {
	f.Add(bindingKey(7, sampleBinding), encodeRecord(record{1, 2}))
	f.Fuzz(func(t *testing.T, k, v []byte) {
		if b, made, err := decodeBinding(k, v); err == nil {
			require.Equal(t, k[5:], bindingKey(7, b)[5:])
			require.Equal(t, v, encodeRecord(made))
		}
	})
}
