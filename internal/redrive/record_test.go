package redrive

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

var goldenRedrive = Info{
	ID: 9, State: Running, To: "q", Rate: 1.5, Burst: 2, StartedAt: time.Unix(0, 5), Moved: 3, Failed: 4, Reason: "why",
}

func TestGoldenRecord(t *testing.T) {
	key, v := keyOf(store.KindVisRedrive, 7, 9), encode(goldenRedrive, []queue.Span{{Lane: 1, From: 2, To: 3}})
	require.Equal(t, "3d000000070000000000000009", hex.EncodeToString(key))
	require.Equal(t, "\x01"+`{"state":"running","to":"q","rate":1.5,"burst":2,"started":5,"moved":3,"failed":4,"reason":"why","left":[{"Lane":1,"From":2,"To":3}]}`, string(v))
	i, left, err := Decode(key, v)
	require.NoError(t, err)
	require.Equal(t, goldenRedrive, i)
	require.Equal(t, []queue.Span{{Lane: 1, From: 2, To: 3}}, left)
	v[0] = 2
	_, _, err = Decode(key, v)
	require.ErrorIs(t, err, store.ErrFormat)
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(keyOf(store.KindVisRedrive, 7, 9), encode(goldenRedrive, []queue.Span{{Lane: 1, From: 2, To: 3}}))
	f.Add([]byte{}, []byte{1, '{'})
	f.Fuzz(func(t *testing.T, key, v []byte) {
		i, left, err := Decode(key, v)
		if err != nil {
			return
		}
		again, leftAgain, err := Decode(key, encode(i, left))
		require.NoError(t, err)
		require.Equal(t, i, again)
		require.ElementsMatch(t, left, leftAgain)
	})
}
