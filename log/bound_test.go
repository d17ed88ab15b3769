package log_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// ends reads up to the bound, and fails if that takes for ever.
func ends(t require.TestingT, r *log.Reader) (got []string, err error) {
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for rec, err := range r.Records(soon) {
		if err != nil {
			require.NotErrorIs(t, err, context.DeadlineExceeded, "it waits for what cannot come")
			return got, err
		}
		got = append(got, string(rec.Value))
	}
	return got, nil
}

func TestABoundedReaderEndsWhereACompactionHasLeftNothing(t *testing.T) {
	db := storeFor(t)
	defer db.Close()
	topic, err := log.OpenTopic(ctx, db, "state", &log.TopicConfig{Compact: true})
	require.NoError(t, err)
	appendOne(t, topic, kv("a", 0))
	appendOne(t, topic, kv("b", 1))
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	require.NoError(t, r.Until(log.End()))
	appendOne(t, topic, kv("b", 2))
	appendOne(t, topic, kv("c", 3))
	require.NoError(t, topic.Compact(ctx))
	got, err := ends(t, r)
	require.NoError(t, err)
	require.Equal(t, []string{"0"}, got)
	require.EqualValues(t, 2, r.Offset())
}

// Whatever a reader is bound to, and whatever is appended, compacted and trimmed before it
// gets there, it ends.
func TestABoundedReaderEnds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		db := storeFor(rt)
		defer db.Close()
		topic, err := log.OpenTopic(ctx, db, "state", &log.TopicConfig{
			Compact: true, Compression: rapid.SampledFrom([]log.Compression{log.NoCompression, log.Snappy, log.Zstd}).Draw(rt, "codec"),
		})
		require.NoError(rt, err)
		n := 0
		put := func(count int) {
			for range count {
				var batch []log.Record
				for range rapid.IntRange(1, 3).Draw(rt, "batch") {
					batch = append(batch, kv(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key"), n))
					n++
				}
				appendOne(rt, topic, batch...)
			}
		}
		change := func() {
			switch rapid.IntRange(0, 2).Draw(rt, "change") {
			case 0:
				put(rapid.IntRange(0, 4).Draw(rt, "appends"))
			case 1:
				require.NoError(rt, topic.Compact(ctx))
			case 2:
				require.NoError(rt, topic.TrimTo(ctx, 0, log.Offset(int64(rapid.IntRange(0, n).Draw(rt, "trim")))))
			}
		}
		put(rapid.IntRange(0, 6).Draw(rt, "first"))
		for range rapid.IntRange(0, 2).Draw(rt, "before") {
			change()
		}
		reset := rapid.SampledFrom([]log.Reset{log.None, log.Earliest, log.Latest}).Draw(rt, "reset")
		r, err := topic.NewReader(0, log.Start().Or(reset))
		require.NoError(rt, err)
		start, end := bounds(rt, topic)
		bound := rapid.Int64Range(start, end).Draw(rt, "bound")
		require.NoError(rt, r.Until(log.Offset(bound)))
		if rapid.Bool().Draw(rt, "ahead") { // it holds a batch that is compacted then
			_, err := r.Fetch(ctx, 1, 1)
			require.NoError(rt, err)
		}
		for range rapid.IntRange(0, 5).Draw(rt, "after") {
			change()
		}
		_, err = ends(rt, r)
		if err != nil {
			require.Equal(rt, log.None, reset)
			require.ErrorIs(rt, err, log.ErrOffsetOutOfRange)
			return
		}
		require.GreaterOrEqual(rt, r.Offset(), bound)
	})
}

// appendOne makes a stored batch of its own.
func appendOne(t tester, topic *log.Topic, records ...log.Record) {
	t.Helper()
	_, err := topic.Append(ctx, records...)
	require.NoError(t, err)
}

func storeFor(t tester) *pebblemq.DB {
	t.Helper()
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	return db
}
