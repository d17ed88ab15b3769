package log_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// openTopics opens topics of one partition each.
func openTopics(t testing.TB, names ...string) (*pebblemq.DB, []*log.Topic) {
	t.Helper()
	db := storetest.Open(t, nil)
	topics := make([]*log.Topic, len(names))
	for i, name := range names {
		var err error
		topics[i], err = log.OpenTopic(ctx, db, name, nil)
		require.NoError(t, err)
	}
	return db, topics
}

// Keys that share a partition share the low bits of their hash; they must not
// share a handler for that.
func TestKeysOfOnePartitionAreHandledInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 4)
		for i := 0; i < 200; i++ {
			appendAll(t, topic, log.Record{Key: fmt.Append(nil, "key", i)})
		}
		g := openGroup(t, topic, "g")
		require.NoError(t, g.Seek(ctx, log.End(), 0, 1, 2))
		running, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		release := make(chan struct{})
		var busy atomic.Int32
		go func() {
			done <- g.Run(running, func(context.Context, log.Record) error {
				busy.Add(1)
				<-release
				return nil
			}, &log.RunOptions{Concurrency: 4, MaxInFlight: 100})
		}()
		synctest.Wait()
		atOnce := busy.Load()
		stop()
		close(release)
		require.NoError(t, <-done)
		require.EqualValues(t, 4, atOnce)
	})
}

// The headers that a move adds must not make a record too large to be moved: it
// would be handled for ever.
func TestTheLargestRecordCanBeGivenUp(t *testing.T) {
	headers := make([]log.Header, log.MaxHeaders)
	for i := range headers {
		headers[i] = log.Header{Name: "h", Value: make([]byte, log.MaxHeaderBytes/log.MaxHeaders-1)}
	}
	largest := log.Record{Value: make([]byte, log.MaxRecordBytes-log.MaxHeaderBytes), Headers: headers}
	synctest.Test(t, func(t *testing.T) {
		db, topics := openTopics(t, "retry", "dead") // which take no such records from others
		orders, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{MaxRecordBytes: log.MaxRecordBytes})
		require.NoError(t, err)
		appendAll(t, orders, largest)
		g := openGroup(t, orders, "g")
		running, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		require.NoError(t, g.Run(running, func(context.Context, log.Record) error {
			return errors.New("failed")
		}, &log.RunOptions{Retry: &log.Retry{Topic: topics[0]}, DeadLetter: topics[1]}))
		r, err := topics[1].NewReader(0, log.Start())
		require.NoError(t, err)
		found, err := r.Fetch(ctx, 10, 1<<20)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, largest.Value, found[0].Value)
		require.Equal(t, headers, found[0].Headers[:len(headers)])
	})
}

// Groups may share a Retry topic: each handles again what it gave up itself.
func TestARetryIsForTheGroupThatGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topics := openTopics(t, "orders", "retry")
		appendAll(t, topics[0], values("a")...)
		running, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		var mu sync.Mutex
		calls := map[string]int{}
		done := make(chan error, 2)
		for _, name := range []string{"fails", "works"} {
			g := openGroup(t, topics[0], name)
			go func() {
				done <- g.Run(running, func(_ context.Context, r log.Record) error {
					mu.Lock()
					defer mu.Unlock()
					if calls[name]++; name == "fails" && calls[name] == 1 {
						return errors.New("failed")
					}
					return nil
				}, &log.RunOptions{Retry: &log.Retry{Topic: topics[1]}})
			}()
			synctest.Wait()
		}
		require.NoError(t, errors.Join(<-done, <-done))
		require.Equal(t, map[string]int{"fails": 2, "works": 1}, calls)
		for _, name := range []string{"fails", "works"} {
			lags, err := openGroup(t, topics[1], name).Lag(ctx)
			require.NoError(t, err)
			require.Zero(t, lags[0].Records, name)
		}
	})
}

// A dead letter that is appended to the topic again, headers and all, has all its
// retries before it.
func TestADeadLetterThatComesBackIsRetriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topics := openTopics(t, "orders", "retry", "dead")
		appendAll(t, topics[0], log.Record{Value: []byte("a"), Headers: []log.Header{
			{Name: log.HeaderRetries, Value: []byte("7")}, {Name: log.HeaderGroup, Value: []byte("other")},
		}})
		g := openGroup(t, topics[0], "g")
		running, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		calls := 0
		require.NoError(t, g.Run(running, func(context.Context, log.Record) error {
			if calls++; calls == 1 {
				return errors.New("failed")
			}
			return nil
		}, &log.RunOptions{Retry: &log.Retry{Topic: topics[1]}, DeadLetter: topics[2]}))
		require.Equal(t, 2, calls)
		require.Empty(t, fetchAll(t, topics[2], 0, log.Start()))
	})
}

func TestTheErrorOfADeadLetterIsCutBetweenRunes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topics := openTopics(t, "t", "dead")
		appendAll(t, topics[0], numbered(1)...)
		running, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		long := strings.Repeat("a", 1023) + "é"
		require.NoError(t, openGroup(t, topics[0], "g").Run(running, func(context.Context, log.Record) error {
			return pebblemq.Reject(errors.New(long))
		}, &log.RunOptions{DeadLetter: topics[1]}))
		r, err := topics[1].NewReader(0, log.Start())
		require.NoError(t, err)
		found, err := r.Fetch(ctx, 10, 1<<20)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, long[:1023], headersOf(found[0])[log.HeaderError])
	})
}
