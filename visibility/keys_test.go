package visibility

import (
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func goldenMessage() []byte {
	return encodeMessage("id", &Message{
		Body: []byte("body"),
		Attributes: map[string]Attribute{
			"b": BinaryAttribute([]byte{0xff}), "a": StringAttribute("x"),
		},
	}, time.Unix(0, 5))
}

func TestGoldenBytes(t *testing.T) {
	m := goldenMessage()
	require.Equal(t, "0100"+"0000000000000005"+"026964"+"02"+"0161"+"01"+"0178"+"0162"+"03"+"01ff"+"626f6479", hex.EncodeToString(m))
	for _, deaths := range []string{"00000001", "00000002"} { // the second move replaces what is known of the first
		var err error
		m, err = encodeDead(m, &DeadLetterInfo{Queue: "q", ReceiveCount: 3, Deaths: 1, At: time.Unix(0, 9), Reason: ReasonExpired, LastError: "e"})
		require.NoError(t, err)
		require.Equal(t, "0101"+"0000000000000005"+"0000000000000009"+"00000003"+deaths+"02"+"0171"+"0165"+"026964"+"02"+"0161"+"01"+"0178"+"0162"+"03"+"01ff"+"626f6479", hex.EncodeToString(m))
	}
	m = encodeMessage("id", &Message{Group: "g", Body: []byte("body")}, time.Unix(0, 5))
	require.Equal(t, "0102"+"0000000000000005"+"0167"+"026964"+"00"+"626f6479", hex.EncodeToString(m))
	require.Equal(t, "g", string(groupOf(m)))
	m, err := encodeDead(m, &DeadLetterInfo{Queue: "q", ReceiveCount: 3, Deaths: 1, At: time.Unix(0, 9), Reason: ReasonExpired, LastError: "e"})
	require.NoError(t, err)
	require.Equal(t, "0103"+"0000000000000005"+"0167"+"0000000000000009"+"00000003"+"00000001"+"02"+"0171"+"0165"+"026964"+"00"+"626f6479", hex.EncodeToString(m))
	require.Equal(t, "g", string(groupOf(m)))
	m = encodeMessage("id", &Message{DedupeID: "d", Body: []byte("body"), Attributes: map[string]Attribute{"n": NumberAttribute("1").Labeled("int")}}, time.Unix(0, 5))
	require.Equal(t, "0104"+"0000000000000005"+"026964"+"0164"+"01"+"016e"+"82"+"03696e74"+"0131"+"626f6479", hex.EncodeToString(m))
	m, err = encodeDead(m, &DeadLetterInfo{Queue: "q", ReceiveCount: 3, Deaths: 1, At: time.Unix(0, 9), Reason: ReasonExpired, LastError: "e"})
	require.NoError(t, err)
	r, err := decodeMessage(m)
	require.NoError(t, err)
	require.Equal(t, "d", r.DedupeID, "it stays with the message")
	require.Equal(t, "Number.int", r.Attributes["n"].DataType())
	first := original{seq: 1, body: 2, id: "id"}
	require.Equal(t, "0000000000000001"+"0000000000000002"+"6964", hex.EncodeToString(first.encode()))
	require.Equal(t, "01"+"0000000000000005"+"0000000000000006", hex.EncodeToString(hold{5, 6}.encode()))
	s := newSealer(7, make([]byte, secretLen))
	receipt := s.seal(delivery{seq: 1, count: 2, since: 3, born: 5, print: 4})
	require.Equal(t, Receipt("AQAAAAcAAAAAAAAAAAEAAAACAAAAAAAAAAMAAAAAAAAABQAAAAS2aFv9GiEHWXnD6rRg_S0o"), receipt)
	c := QueueConfig{FIFO: true, VisibilityTimeout: 1, Delay: 2, DeadLetterQueue: "d", MaxReceives: 3, MaxBodyBytes: 4, DeadLetterSources: []string{"s"}}
	encoded, err := stored{Config: c, State: secret{[]byte("s")}, Created: 5}.Encode()
	require.NoError(t, err)
	require.Equal(t, `{"version":1,"created":5,"config":{"fifo":true,"visibilityTimeout":1,"maxVisibilityTimeout":0,"delay":2,"retention":0,"deadLetterQueue":"d",`+
		`"maxReceives":3,"deadLetterSources":["s"],"maxBodyBytes":4,"maxAttributes":0},"state":{"secret":"cw=="}}`, string(encoded))
}

func TestOtherVersionIsRefusedAsSuch(t *testing.T) {
	m := goldenMessage()
	m[0] = 2
	_, err := decodeMessage(m)
	require.ErrorIs(t, err, store.ErrFormat)
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(goldenMessage())
	dead, _ := encodeDead(goldenMessage(), &DeadLetterInfo{Queue: "q", Reason: ReasonMaxReceives})
	f.Add(dead)
	f.Add(encodeMessage("id", &Message{Group: "g"}, time.Unix(0, 5)))
	f.Add(encodeMessage("id", &Message{DedupeID: "d", Attributes: map[string]Attribute{"n": NumberAttribute("1").Labeled("int")}}, time.Unix(0, 5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeMessage(b)
		if err != nil {
			return
		}
		require.Equal(t, r.Group, string(groupOf(b)))
		require.Equal(t, r.ID, string(idOf(b)))
		origin := ""
		if r.DeadLetter != nil {
			origin = r.DeadLetter.Queue
		}
		require.Equal(t, origin, originOf(b))
		again := encodeMessage(r.ID, &r.Message, r.SentAt)
		if r.DeadLetter != nil {
			again, err = encodeDead(again, r.DeadLetter)
			require.NoError(t, err)
		}
		require.Equal(t, b, again)
	})
}

func FuzzDecodeOriginal(f *testing.F) {
	f.Add((&original{seq: 1, body: 2, id: "id"}).encode())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOriginal(b)
		if err != nil {
			require.ErrorIs(t, err, store.ErrCorrupt)
			return
		}
		require.Equal(t, b, o.encode())
	})
}

func FuzzDecodeHold(f *testing.F) {
	f.Add(hold{1, 2}.encode())
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeHold(b); err == nil {
			require.Equal(t, b, h.encode())
		} else if len(b) > 0 && b[0] != holdVersion {
			require.ErrorIs(t, err, store.ErrFormat)
		} else {
			require.ErrorIs(t, err, store.ErrCorrupt)
		}
	})
}

func FuzzReceipt(f *testing.F) {
	s := newSealer(7, []byte("secret"))
	f.Add("", uint64(1), uint32(2), int64(3), uint32(4))
	f.Add(string(s.seal(delivery{seq: 1})), uint64(1), uint32(2), int64(3), uint32(4))
	f.Fuzz(func(t *testing.T, r string, seq uint64, count uint32, since int64, print uint32) {
		if d, err := s.open(Receipt(r)); err == nil {
			require.Equal(t, Receipt(r), s.seal(d), "one text for each receipt")
		}
		d := delivery{byte(seq), seq, count, since, -since, print}
		got, err := s.open(s.seal(d))
		require.NoError(t, err)
		require.Equal(t, d, got)
		_, err = newSealer(8, []byte("secret")).open(s.seal(d))
		require.ErrorIs(t, err, ErrInvalidReceipt)
		_, err = newSealer(7, []byte("other")).open(s.seal(d))
		require.ErrorIs(t, err, ErrInvalidReceipt)
	})
}

func FuzzDecodeConfig(f *testing.F) {
	f.Add([]byte(`{"version":1,"config":{"visibilityTimeout":1},"state":{"secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeConfig(&store.Object{Name: "q", Config: b}); err == nil {
			require.Len(t, c.State.Secret, secretLen)
		} else {
			require.True(t, errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrFormat), err)
		}
	})
}
