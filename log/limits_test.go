package log_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// TestATopicSaysHowLargeItsRecordsMayBe appends what is just allowed, and one
// byte more, with the largest limit in each way that a record can take.
func TestATopicSaysHowLargeItsRecordsMayBe(t *testing.T) {
	noise := make([]byte, log.MaxRecordBytes+1) // does not get smaller
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	zeros := make([]byte, log.MaxRecordBytes+1)
	for name, c := range map[string]struct {
		config log.TopicConfig
		limit  int
		value  []byte
	}{
		"default":         {log.TopicConfig{}, log.DefaultRecordBytes, noise},
		"one byte":        {log.TopicConfig{MaxRecordBytes: 1}, 1, noise},
		"large":           {log.TopicConfig{MaxRecordBytes: log.MaxRecordBytes}, log.MaxRecordBytes, noise},
		"large, snappy":   {log.TopicConfig{MaxRecordBytes: log.MaxRecordBytes, Compression: log.Snappy}, log.MaxRecordBytes, zeros},
		"large, zstd":     {log.TopicConfig{MaxRecordBytes: log.MaxRecordBytes, Compression: log.Zstd}, log.MaxRecordBytes, zeros},
		"noise with zstd": {log.TopicConfig{MaxRecordBytes: log.MaxRecordBytes, Compression: log.Zstd}, log.MaxRecordBytes, noise},
	} {
		t.Run(name, func(t *testing.T) {
			db := storetest.Open(t, nil)
			topic, err := log.OpenTopic(ctx, db, "orders", &c.config)
			require.NoError(t, err)
			fits, over := log.Record{Value: c.value[:c.limit]}, log.Record{Value: c.value[:c.limit+1]}
			_, err = topic.Append(ctx, over)
			require.ErrorIs(t, err, pebblemq.ErrTooLarge)
			_, err = topic.Append(ctx, fits)
			require.NoError(t, err)
			require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
				_, err := topic.In(tx).Append(over)
				return err
			}), pebblemq.ErrTooLarge)
			require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
				_, err := topic.In(tx).Append(fits)
				return err
			}))
			r, err := topic.NewReader(0, log.Start())
			require.NoError(t, err)
			found, err := r.Fetch(ctx, 2, 2*c.limit)
			require.NoError(t, err)
			require.Len(t, found, 2)
			for _, rec := range found {
				require.True(t, bytes.Equal(fits.Value, rec.Value))
			}
		})
	}
}

// TestALargeRecordIsAppendedAlone is where the limit of a record meets that of a
// call.
func TestALargeRecordIsAppendedAlone(t *testing.T) {
	db := storetest.Open(t, nil)
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{MaxRecordBytes: log.MaxRecordBytes})
	require.NoError(t, err)
	full := make([]byte, log.MaxBatchBytes)
	_, err = topic.Append(ctx, log.Record{}, log.Record{Value: append(full, 0)})
	require.ErrorIs(t, err, pebblemq.ErrTooLarge)
	var bad *log.RecordError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, 1, bad.Index)
	_, err = topic.Append(ctx, log.Record{}, log.Record{Value: full})
	require.NoError(t, err)
	_, err = topic.Append(ctx, log.Record{Value: append(full, 0)})
	require.NoError(t, err)
}

// TestLargeRecordsFillATransactionToItsLimit ends at the limit of the store.
func TestLargeRecordsFillATransactionToItsLimit(t *testing.T) {
	db := storetest.Open(t, nil)
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{MaxRecordBytes: log.MaxRecordBytes})
	require.NoError(t, err)
	large := log.Record{Value: make([]byte, pebblemq.MaxTxBytes/2-1000)}
	fill := func(n int) error {
		return db.Update(ctx, func(tx *pebblemq.Tx) error {
			for range n {
				if _, err := topic.In(tx).Append(large); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, fill(2))
	require.ErrorIs(t, fill(3), pebblemq.ErrTooLarge)
	_, end, err := topic.Offsets(ctx, 0)
	require.NoError(t, err)
	require.EqualValues(t, 2, end)
}
