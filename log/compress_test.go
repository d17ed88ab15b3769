package log_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

var compressions = []log.Compression{log.NoCompression, log.Snappy, log.Zstd}

// eachCompression runs a test on a topic of each kind.
func eachCompression(t *testing.T, f func(t *testing.T, db *pebblemq.DB, topic *log.Topic)) {
	for _, c := range compressions {
		t.Run(c.String(), func(t *testing.T) {
			db := storetest.Open(t, nil)
			topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Compression: c})
			require.NoError(t, err)
			f(t, db, topic)
		})
	}
}

// text makes n records that compress well.
func text(n int) []log.Record {
	records := make([]log.Record, n)
	for i := range records {
		records[i].Value = fmt.Appendf(nil, "record %d: %s", i, strings.Repeat("all work and no play ", 5))
	}
	return records
}

// TestReadersDoNotNoticeCompression has batches that are compressed by the
// caller, when the group is sealed, and not at all.
func TestReadersDoNotNoticeCompression(t *testing.T) {
	eachCompression(t, func(t *testing.T, db *pebblemq.DB, topic *log.Topic) {
		var want []string
		for _, records := range [][]log.Record{
			values("x"), text(3), text(4000), values("y", ""), text(100),
			{{Value: make([]byte, 1<<20)}}, text(1),
		} {
			_, err := topic.Append(ctx, records...)
			require.NoError(t, err)
			want = append(want, valuesOf(records)...)
		}
		require.Equal(t, want, fetchAll(t, topic, 0, log.Start()))
		for _, n := range []int{1, 3, 1000, 4003, 4107} {
			require.Equal(t, want[n:], fetchAll(t, topic, 0, log.Offset(int64(n))))
		}
	})
}

func TestSmallAndLargeAppendsMixInOneGroup(t *testing.T) {
	eachCompression(t, func(t *testing.T, db *pebblemq.DB, topic *log.Topic) {
		var want []string
		err := db.Update(ctx, func(tx *pebblemq.Tx) error {
			for _, n := range []int{1, 2000, 5, 5, 3000, 1} {
				records := text(n)
				want = append(want, valuesOf(records)...)
				if _, err := topic.In(tx).Append(records...); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, want, fetchAll(t, topic, 0, log.Start()))
	})
}

// TestARefusedTransactionLeavesNoCompressedRecords rewinds pending segments of
// either kind.
func TestARefusedTransactionLeavesNoCompressedRecords(t *testing.T) {
	eachCompression(t, func(t *testing.T, db *pebblemq.DB, topic *log.Topic) {
		doomed, err := log.OpenTopic(ctx, db, "doomed", nil)
		require.NoError(t, err)
		kept := text(2000)
		appendAll(t, topic, kept[:2]...)
		err = db.Update(ctx, func(tx *pebblemq.Tx) error {
			for _, n := range []int{2, 3000, 2} {
				if _, err := topic.In(tx).Append(text(n)...); err != nil {
					return err
				}
			}
			if _, err := doomed.In(tx).Append(values("x")...); err != nil {
				return err
			}
			return deleteTopic(db, "doomed")
		})
		require.ErrorIs(t, err, log.ErrTopicDeleted)
		appendAll(t, topic, kept[2:]...)
		require.Equal(t, valuesOf(kept), fetchAll(t, topic, 0, log.Start()))
	})
}

func TestCompressionSurvivesReopeningAndIsPartOfTheConfig(t *testing.T) {
	fs := vfs.NewMem()
	want := valuesOf(text(3000))
	for life := range 2 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Compression: log.Zstd})
		require.NoError(t, err)
		if life == 0 {
			appendAll(t, topic, text(3000)...)
		}
		require.Equal(t, want, fetchAll(t, topic, 0, log.Start()))
		for _, c := range []*log.TopicConfig{{}, {Compression: log.Snappy}} {
			_, err = log.OpenTopic(ctx, db, "orders", c)
			require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
			require.ErrorContains(t, err, "Compression zstd")
		}
		list, err := log.Topics(ctx, db)
		require.NoError(t, err)
		require.Equal(t, log.Zstd, list[0].Config.Compression)
		require.NoError(t, db.Close())
	}
}

// A batch may take more than those that it was merged from: the topic compresses less than it
// did, or Zstd finds less in the whole than in its parts.
func TestAMergedBatchMayBeLargerThanItsSources(t *testing.T) {
	for _, c := range []*log.TopicConfig{{}, {Compression: log.Snappy}, {Compact: true}} {
		_, topic := retained(t, &log.TopicConfig{Compression: log.Zstd, Compact: c.Compact})
		for i := range 5 {
			appendAll(t, topic, log.Record{Key: fmt.Append(nil, i), Value: make([]byte, 10_000)})
			require.Len(t, all(t, topic), i+1) // each in a batch of its own
		}
		require.NoError(t, topic.Alter(ctx, c))
		require.NoError(t, topic.Compact(ctx))
		require.Len(t, all(t, topic), 5)
		require.Empty(t, topic.Damage())
	}
}

func TestAnUnknownCompressionIsRefused(t *testing.T) {
	db := storetest.Open(t, nil)
	_, err := log.OpenTopic(ctx, db, "t", &log.TopicConfig{Compression: 3})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.Equal(t, "Compression(3)", log.Compression(3).String())
}

// TestCompressionWorksInEveryBubble: a test with testing/synctest opens a store in each bubble,
// in one process.
func TestCompressionWorksInEveryBubble(t *testing.T) {
	use := func(t *testing.T) {
		db, err := pebblemq.OpenMemory(nil)
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Compression: log.Zstd})
		require.NoError(t, err)
		_, err = topic.Append(ctx, text(1000)...)
		require.NoError(t, err)
		require.Len(t, fetchAll(t, topic, 0, log.Start()), 1000)
		require.NoError(t, db.Close())
	}
	synctest.Test(t, use)
	synctest.Test(t, use)
	use(t)
}
