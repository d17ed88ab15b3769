package log_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// Batches that were merged while the topic was not compacted are compacted later, even if they
// are merged no more.
func TestATopicThatGetsCompactIsCompactedFromItsStart(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	add := func(n int) {
		for i := range n {
			_, err := topic.Append(ctx, kv(fmt.Sprint("k", i%2), i))
			require.NoError(t, err)
		}
	}
	add(10)
	require.NoError(t, topic.Compact(ctx), "merges")
	require.Len(t, all(t, topic), 10)
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	require.NoError(t, alterTopic(db, "orders", log.TopicConfig{Compact: true}))
	topic, err = log.LookupTopic(ctx, db, "orders")
	require.NoError(t, err)
	_, err = topic.Append(ctx, kv("k9", "last"))
	require.NoError(t, err)
	require.NoError(t, topic.Compact(ctx))
	require.Equal(t, []string{"8 k0=8", "9 k1=9", "10 k9=last"}, show(all(t, topic)))

	require.NoError(t, alterTopic(db, "orders", log.TopicConfig{}))
	add(4)
	require.NoError(t, topic.Compact(ctx))
	require.NoError(t, alterTopic(db, "orders", log.TopicConfig{Compact: true}))
	_, err = topic.Append(ctx, kv("k9", "end"))
	require.NoError(t, err)
	require.NoError(t, topic.Compact(ctx))
	require.Equal(t, []string{"10 k9=last", "13 k0=2", "14 k1=3", "15 k9=end"}, show(all(t, topic)), "the newest batch is left alone")
	require.NoError(t, db.Close())
}

// Trims, compactions and changes of the configuration may come together.
func TestACompactionBearsTrimsAndChanges(t *testing.T) {
	db := storetest.Open(t, nil)
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 2, Compact: true})
	require.NoError(t, err)
	var writers, compactors sync.WaitGroup
	stop := make(chan struct{})
	for p := range 2 {
		writers.Go(func() {
			for i := range 3000 {
				at, err := topic.AppendWith(noSync, into(p), kv(fmt.Sprint("k", i%7), i), kv(fmt.Sprint("k", i%5), i))
				if err == nil && i%10 == 0 {
					err = topic.TrimTo(noSync, p, log.Offset(max(0, at[0].Offset-300)))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		compactors.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := topic.Compact(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Go(func() {
		for i := range 100 {
			if err := topic.Alter(noSync, &log.TopicConfig{Partitions: 2, Compact: i%2 == 0}); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Wait()
	close(stop)
	compactors.Wait()
	require.NoError(t, topic.CheckInvariants())
	for p := range 2 {
		got := fetchAll(t, topic, p, log.Start())
		require.Equal(t, "2999", got[len(got)-1])
	}
}
