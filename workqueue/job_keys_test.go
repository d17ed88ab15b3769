package workqueue

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestGoldenJob(t *testing.T) {
	require.Equal(t, "28"+"00000007"+"6a", hex.EncodeToString(jobKey(7, "j")))
	require.Equal(t, "01"+"0000000000000102"+"7b7d", hex.EncodeToString(encodeJob(time.Unix(0, 258), []byte("{}"))))
	_, _, err := decodeJob(make([]byte, 9))
	require.ErrorIs(t, err, store.ErrFormat)
	_, _, err = decodeJob([]byte{version, 1, 2})
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func FuzzDecodeJob(f *testing.F) {
	f.Add(encodeJob(time.Unix(0, 258), []byte("{}")))
	f.Fuzz(func(t *testing.T, v []byte) {
		if next, text, err := decodeJob(v); err == nil {
			require.Equal(t, v, encodeJob(next, text))
			_, _ = decodeJobText(text)
		}
	})
}
