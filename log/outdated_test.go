package log_test

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// A config that is altered counts at once, also for a pass that has begun by the old one.

// pausedClock stops whoever asks from a function with that name, while it is on.
type pausedClock struct {
	in   string
	on   atomic.Bool
	held atomic.Bool
	goOn chan struct{}
}

func (c *pausedClock) now() time.Time {
	if c.on.Load() {
		pcs := make([]uintptr, 32)
		frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
		for {
			f, more := frames.Next()
			if strings.HasSuffix(f.Function, c.in) && c.on.CompareAndSwap(true, false) {
				c.held.Store(true)
				<-c.goOn
				break
			}
			if !more {
				break
			}
		}
	}
	return time.Now()
}

func TestAShorterRetentionDuringAPassIsHeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := 24 * time.Hour
		c := &pausedClock{in: "log.(*Topic).retain", goOn: make(chan struct{})}
		db, err := storetest.OpenFS(vfs.NewMem(), store.Options{Clock: c.now})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{RetentionTime: 30 * day})
		require.NoError(t, err)
		appendAll(t, topic, numbered(10)...)
		<-time.After(2 * day)
		c.on.Store(true)
		require.NoError(t, alterTopic(db, "orders", log.TopicConfig{RetentionTime: 29 * day})) // or any pass
		synctest.Wait()
		require.True(t, c.held.Load())
		require.NoError(t, alterTopic(db, "orders", log.TopicConfig{RetentionTime: time.Hour}))
		synctest.Wait()
		close(c.goOn)
		<-time.After(2 * day)
		start, _ := bounds(t, topic)
		require.NoError(t, db.Close())
		require.EqualValues(t, 10, start, "4 days old, retention 1 hour")
	})
}

func TestAPassTrimsNothingThatIsToStayByNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &pausedClock{in: "log.(*Topic).retain", goOn: make(chan struct{})}
		db, err := storetest.OpenFS(vfs.NewMem(), store.Options{Clock: c.now})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{RetentionTime: time.Hour})
		require.NoError(t, err)
		appendAll(t, topic, numbered(10)...)
		<-time.After(30 * time.Minute)
		c.on.Store(true)
		<-time.After(time.Hour)
		synctest.Wait()
		require.True(t, c.held.Load())
		require.NoError(t, alterTopic(db, "orders", log.TopicConfig{}))
		start, _ := bounds(t, topic)
		require.Zero(t, start)
		close(c.goOn)
		<-time.After(time.Second)
		start, _ = bounds(t, topic)
		require.NoError(t, db.Close())
		require.Zero(t, start, "kept for ever since Alter returned")
	})
}

func TestAPassDropsNothingOnceTheTopicIsNotCompacted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &pausedClock{in: "log.(*partition).compact", goOn: make(chan struct{})}
		db, err := storetest.OpenFS(vfs.NewMem(), store.Options{Clock: c.now})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Compact: true})
		require.NoError(t, err)
		for range 10 {
			_, err = topic.Append(ctx, log.Record{Key: []byte("k"), Value: []byte("v")})
			require.NoError(t, err)
		}
		c.on.Store(true)
		done := make(chan error, 1)
		go func() { done <- topic.Compact(ctx) }()
		synctest.Wait()
		require.True(t, c.held.Load())
		require.NoError(t, alterTopic(db, "orders", log.TopicConfig{}))
		require.Len(t, fetchAll(t, topic, 0, log.Start()), 10)
		close(c.goOn)
		require.NoError(t, <-done)
		n := len(fetchAll(t, topic, 0, log.Start()))
		require.NoError(t, db.Close())
		require.Equal(t, 10, n, "no compaction since Alter returned")
	})
}
