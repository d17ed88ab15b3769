package idemhttp

import (
	"encoding/hex"
	"net/http"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGoldenResponse(t *testing.T) {
	v, err := response{status: 201, header: http.Header{"A": {"b"}}, body: []byte("c")}.encode()
	require.NoError(t, err)
	require.Equal(t, "01"+"00"+"00c9"+"00000008"+"413a20620d0a0d0a"+"63", hex.EncodeToString(v))
	v, err = response{status: 201, dropped: true}.encode()
	require.NoError(t, err)
	require.Equal(t, "01"+"01"+"00c9"+"00000000", hex.EncodeToString(v))
}

func TestMalformedResponses(t *testing.T) {
	good, err := response{status: 201, header: http.Header{"A": {"b"}}, body: []byte("c")}.encode()
	require.NoError(t, err)
	_, err = decodeResponse(append([]byte{2}, good[1:]...))
	require.ErrorIs(t, err, pebblemq.ErrFormat)
	for name, v := range map[string][]byte{
		"empty": nil, "short": good[:responseHead-1], "cut in the header": good[:responseHead+3],
		"unknown flag":            append([]byte{1, 2}, good[2:]...),
		"status 0":                append([]byte{1, 0, 0, 0}, good[4:]...),
		"a dropped one with more": append([]byte{1, 1}, good[2:]...),
		"a broken header":         {1, 0, 0, 200, 0, 0, 0, 1, 'x'},
	} {
		_, err := decodeResponse(v)
		require.ErrorIs(t, err, pebblemq.ErrCorrupt, name)
	}
}

func FuzzDecodeResponse(f *testing.F) {
	v, _ := response{status: 201, header: http.Header{"A": {"b"}}, body: []byte("c")}.encode()
	f.Add(v)
	f.Fuzz(func(t *testing.T, v []byte) {
		r, err := decodeResponse(v)
		if err != nil {
			return
		}
		again, err := r.encode()
		require.NoError(t, err)
		second, err := decodeResponse(again)
		require.NoError(t, err)
		require.Equal(t, r.body, second.body)
		require.Equal(t, r.status, second.status)
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(`"a\"b"`)
	f.Add("abc")
	f.Fuzz(func(t *testing.T, s string) {
		if key, err := parseKey([]string{s}); err == nil {
			require.NotEmpty(t, key)
			require.LessOrEqual(t, len(key), MaxKeyBytes)
		}
	})
}
