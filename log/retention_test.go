package log_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

func retained(t testing.TB, c *log.TopicConfig) (*pebblemq.DB, *log.Topic) {
	t.Helper()
	db := storetest.Open(t, nil)
	topic, err := log.OpenTopic(ctx, db, "orders", c)
	require.NoError(t, err)
	return db, topic
}

func bounds(t tester, topic *log.Topic) (start, end int64) {
	t.Helper()
	start, end, err := topic.Offsets(ctx, 0)
	require.NoError(t, err)
	return start, end
}

func TestRecordsLeaveWhenTheyAreOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{RetentionTime: time.Hour})
		for range 10 { // a batch every ten minutes
			appendAll(t, topic, numbered(3)...)
			<-time.After(10 * time.Minute)
		}
		synctest.Wait()
		start, end := bounds(t, topic)
		require.EqualValues(t, 30, end)
		require.EqualValues(t, 4*3, start, "those of the last hour are there: 10 to 60 minutes old")
		<-time.After(30 * time.Minute)
		synctest.Wait()
		start, _ = bounds(t, topic)
		require.EqualValues(t, 7*3, start)
		<-time.After(time.Hour)
		synctest.Wait()
		start, end = bounds(t, topic)
		require.EqualValues(t, 30, start, "all are gone")
		require.EqualValues(t, 30, end)
		appendAll(t, topic, values("new")...)
		<-time.After(30 * time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"new"}, fetchAll(t, topic, 0, log.Start()))
		<-time.After(32 * time.Minute)
		synctest.Wait()
		start, _ = bounds(t, topic)
		require.EqualValues(t, 31, start)
	})
}

func TestATimestampFromTheFutureDoesNotKeepTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{RetentionTime: time.Hour})
		appendAll(t, topic, log.Record{Timestamp: time.Now().Add(1000 * time.Hour)})
		<-time.After(2 * time.Hour)
		synctest.Wait()
		start, _ := bounds(t, topic)
		require.EqualValues(t, 1, start)
	})
}

func TestAPartitionShrinksToItsLimitAndNotBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		_, topic := retained(t, &log.TopicConfig{RetentionBytes: limit})
		noise := make([]byte, 1000)
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		for i := range 5000 {
			_, err := topic.Append(noSync, log.Record{Value: noise})
			require.NoError(t, err)
			if i%50 == 0 {
				synctest.Wait()
				start, end := bounds(t, topic)
				kept := (end - start) * 1011 // as encoded
				require.True(t, start == 0 || kept >= limit, "%d bytes kept", kept)
				require.LessOrEqual(t, kept, int64(limit+limit/16+2*(128<<10)+100<<10))
			}
		}
		require.NoError(t, topic.EnforceRetention(ctx))
		start, end := bounds(t, topic)
		require.GreaterOrEqual(t, (end-start)*1011, int64(limit))
		require.LessOrEqual(t, (end-start)*1011, int64(limit+128<<10))
		require.Len(t, fetchAll(t, topic, 0, log.Start()), int(end-start))
	})
}

func TestBothLimitsApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{RetentionTime: time.Hour, RetentionBytes: 1 << 20})
		appendAll(t, topic, numbered(3)...)
		<-time.After(2 * time.Hour)
		synctest.Wait()
		start, _ := bounds(t, topic)
		require.EqualValues(t, 3, start, "old, though it is little")
		for range 40 {
			appendAll(t, topic, log.Record{Value: make([]byte, 100<<10)})
			synctest.Wait()
		}
		start, _ = bounds(t, topic)
		require.Greater(t, start, int64(20), "much, though it is young")
	})
}

func TestRetentionGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		c := &log.TopicConfig{RetentionTime: time.Hour, RetentionBytes: 1 << 30}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", c)
		require.NoError(t, err)
		_, err = topic.Append(ctx, numbered(10)...)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		<-time.After(30 * time.Minute)
		db, err = storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err = log.OpenTopic(ctx, db, "orders", c)
		require.NoError(t, err)
		synctest.Wait()
		start, _ := bounds(t, topic)
		require.Zero(t, start)
		<-time.After(32 * time.Minute)
		synctest.Wait()
		start, _ = bounds(t, topic)
		require.EqualValues(t, 10, start)
		require.NoError(t, db.Close())
	})
}

func TestAlteredRetentionCountsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, topic := retained(t, nil)
		appendAll(t, topic, numbered(10)...)
		<-time.After(2 * time.Hour)
		require.NoError(t, topic.EnforceRetention(ctx))
		require.NoError(t, alterTopic(db, "orders", log.TopicConfig{RetentionTime: time.Hour}))
		synctest.Wait()
		start, _ := bounds(t, topic)
		require.EqualValues(t, 10, start)
		require.Equal(t, time.Hour, topic.Config().RetentionTime)
		_, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{})
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, "RetentionTime 1h0m0s, not 0s")
		require.NoError(t, alterTopic(db, "orders", log.TopicConfig{}))
		_, err = log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		require.ErrorIs(t, alterTopic(db, "none", log.TopicConfig{}), log.ErrUnknownTopic)
		for _, c := range []log.TopicConfig{{RetentionTime: 1}, {RetentionTime: -1}, {RetentionBytes: -1}, {Partitions: -1}} {
			require.ErrorIs(t, alterTopic(db, "orders", c), pebblemq.ErrInvalid, "%+v", c)
		}
	})
}

func TestRetentionGivesTheDiskBack(t *testing.T) {
	db, err := storetest.OpenFS(vfs.NewMem(), store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{RetentionBytes: 1 << 20})
	require.NoError(t, err)
	random, most := rand.NewChaCha8([32]byte{}), uint64(0)
	value := make([]byte, 64<<10)
	for range 400 { // 25 MiB
		_, _ = random.Read(value)
		appendAll(t, topic, log.Record{Value: value})
		most = max(most, db.Stats().DiskBytes)
	}
	require.Greater(t, most, uint64(2<<20))
	require.Eventually(t, func() bool { return db.Stats().DiskBytes < 10<<20 }, time.Minute, 10*time.Millisecond,
		"%v", fmt.Sprint(db.Stats().DiskBytes))
	require.NoError(t, db.Close())
}

// TestAPassWaitsForWhatTheDiskIsBusyWith: what was written and is not to be seen yet
// has set the timer, so the pass has to see it.
func TestAPassWaitsForWhatTheDiskIsBusyWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewMem())
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{RetentionTime: time.Second})
		require.NoError(t, err)
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		fs.SetHook(gate.Hook)
		gate.Shut()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := topic.Append(ctx, values("x")...)
			assert.NoError(t, err)
		})
		<-time.After(2 * time.Second)
		gate.Open()
		wg.Wait()
		<-time.After(2 * time.Second)
		synctest.Wait()
		start, end := bounds(t, topic)
		require.EqualValues(t, 1, end)
		require.EqualValues(t, 1, start)
		require.NoError(t, db.Close())
	})
}
