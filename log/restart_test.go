package log_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// inShortLives opens a topic again and again and calls f with it, which does too little
// to start anything in the background. It returns the store of a last life.
func inShortLives(t *testing.T, lives int, c *log.TopicConfig, f func(life int, topic *log.Topic)) *pebblemq.DB {
	t.Helper()
	fs := vfs.NewMem()
	for life := range lives {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", c)
		require.NoError(t, err)
		f(life, topic)
		synctest.Wait()
		require.NoError(t, db.Close())
	}
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	return db
}

func TestShortLivesSweepTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lives, records, kept = 50, 10, 5
		db := inShortLives(t, lives, &log.TopicConfig{IndexKeys: true}, func(life int, topic *log.Topic) {
			topic.SweepAfter(3 * records)
			for n := range records {
				appendAll(t, topic, kv(fmt.Sprint(life, n), "x"))
			}
			_, end := bounds(t, topic)
			require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(end-kept)))
		})
		defer storetest.Close(t, db)
		require.LessOrEqual(t, entries(t, db), 3*records+records+kept)
	})
}

func TestShortLivesCompactATopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lives, records = 400, 10
		db := inShortLives(t, lives, &log.TopicConfig{Compact: true}, func(_ int, topic *log.Topic) {
			for range records {
				appendAll(t, topic, kv("the same", "x"))
			}
		})
		defer storetest.Close(t, db)
		topic, err := log.LookupTopic(ctx, db, "orders")
		require.NoError(t, err)
		require.Less(t, len(all(t, topic)), lives*records/2)
	})
}

func TestShortLivesCompactLargeRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lives, size = 40, 100 << 10
		db := inShortLives(t, lives, &log.TopicConfig{Compact: true}, func(_ int, topic *log.Topic) {
			appendAll(t, topic, kv("the same", string(make([]byte, size))))
		})
		defer storetest.Close(t, db)
		topic, err := log.LookupTopic(ctx, db, "orders")
		require.NoError(t, err)
		require.Less(t, len(all(t, topic)), lives/2)
	})
}
