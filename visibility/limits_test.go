package visibility_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestLargestMessage(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for limit, c := range map[int]*visibility.QueueConfig{1 << 20: nil, 64 << 20: {MaxBodyBytes: visibility.MaxBodyBytes}} {
		name := "default"
		if c != nil {
			name = "largest"
		}
		q := open(t, db, name, c)
		body := bytes.Repeat([]byte{7}, limit+1)
		_, err := q.Send(ctx, visibility.Message{Body: body})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		_, err = q.Send(ctx, visibility.Message{Body: body[:limit]})
		require.NoError(t, err)
		m := one(t, q)
		require.True(t, bytes.Equal(body[:limit], m.Body))
		require.NoError(t, q.Delete(ctx, m.Receipt))
	}
}
