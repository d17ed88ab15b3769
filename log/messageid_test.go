package log_test

import (
	"fmt"
	"strings"
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

var deduped = &log.TopicConfig{Partitions: 3, DedupeWindow: 5 * time.Minute}

func TestARepeatedMessageIDReturnsTheOriginalOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, deduped)
		var calls []log.Record
		for i := range 20 { // over all partitions
			calls = append(calls, kv(fmt.Sprint(i), i))
		}
		first, err := topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, calls...)
		require.NoError(t, err)
		other, err := topic.AppendWith(ctx, log.AppendOptions{ID: "order-2"}, calls[0])
		require.NoError(t, err)
		require.NotContains(t, first, other[0])
		for _, again := range [][]log.Record{calls, calls[:1], {kv("other", 1)}} {
			got, err := topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, again...)
			require.NoError(t, err)
			require.Equal(t, first, got)
		}
		require.Equal(t, 21, total(t, topic))

		<-time.After(deduped.DedupeWindow - 1)
		got, err := topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, calls...)
		require.NoError(t, err)
		require.Equal(t, first, got)
		<-time.After(1)
		got, err = topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, calls...)
		require.NoError(t, err)
		require.NotEqual(t, first, got, "the window is over")
		require.Equal(t, 41, total(t, topic))
	})
}

// total counts the records of a topic.
func total(t testing.TB, topic *log.Topic) (n int) {
	t.Helper()
	for p := range topic.Partitions() {
		n += len(fetchAll(t, topic, p, log.Start()))
	}
	return n
}

func TestMessageIDsSurviveRestartsAndCrashesWithTheirRecords(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var first []log.Position
	for life := range 4 {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", deduped)
		require.NoError(t, err)
		_, err = topic.AppendWith(noSync, log.AppendOptions{ID: fmt.Sprint("lost", life)}, values("lost")...)
		require.NoError(t, err)
		at, err := topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, values("x")...)
		require.NoError(t, err)
		if life == 0 {
			first = at
		}
		require.Equal(t, first, at)
		_, err = topic.AppendWith(noSync, log.AppendOptions{ID: "after"}, values("y")...)
		require.NoError(t, err)
		if life%2 == 0 {
			fs = fs.CrashClone(vfs.CrashCloneCfg{})
		}
		require.NoError(t, db.Close())
	}
}

func TestAMessageIDCountsOnlyIfItsTransactionIsCommitted(t *testing.T) {
	db, topic := retained(t, deduped)
	errNo := fmt.Errorf("no")
	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		_, err := topic.In(tx).AppendWith(log.AppendOptions{ID: "order-1"}, values("x")...)
		require.NoError(t, err)
		return errNo
	}), errNo)
	var results [2]*log.Placement
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
		for i := range results { // the second repeats the first
			if results[i], err = topic.In(tx).AppendWith(log.AppendOptions{ID: "order-1"}, values("y")...); err != nil {
				return err
			}
		}
		return nil
	}))
	a, err := results[0].Positions()
	require.NoError(t, err)
	b, err := results[1].Positions()
	require.NoError(t, err)
	require.Equal(t, a, b)
	require.Equal(t, 1, total(t, topic))
}

func TestOfCallsAtTheSameTimeWithOneMessageIDOneAppends(t *testing.T) {
	_, topic := retained(t, deduped)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[log.Position]bool{}
	for i := range 32 {
		wg.Go(func() {
			at, err := topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, kv(fmt.Sprint(i), i))
			if assert.NoError(t, err) {
				mu.Lock()
				defer mu.Unlock()
				seen[at[0]] = true
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 1)
	require.Equal(t, 1, total(t, topic))
}

func TestBadMessageIDsAreRefused(t *testing.T) {
	db, topic := retained(t, deduped)
	_, err := topic.AppendWith(ctx, log.AppendOptions{ID: strings.Repeat("x", log.MaxMessageID)}, values("x")...)
	require.NoError(t, err)
	_, err = topic.AppendWith(ctx, log.AppendOptions{ID: "no records"})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)

	plain, err := log.OpenTopic(ctx, db, "plain", nil)
	require.NoError(t, err)
	_, err = plain.AppendWith(ctx, log.AppendOptions{ID: "id"}, values("x")...)
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.ErrorContains(t, err, "DedupeWindow")
	require.ErrorIs(t, alterTopic(db, "plain", *deduped), pebblemq.ErrConfigMismatch)
	_, err = log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 3})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	_, err = log.OpenTopic(ctx, db, "bad", &log.TopicConfig{DedupeWindow: -1})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}

func TestADeletedTopicTakesItsMessageIDsAlong(t *testing.T) {
	db, topic := retained(t, deduped)
	_, err := topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, values("x")...)
	require.NoError(t, err)
	require.NoError(t, deleteTopic(db, "orders"))
	_, err = topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, values("x")...)
	require.ErrorIs(t, err, log.ErrTopicDeleted)
	topic, err = log.OpenTopic(ctx, db, "orders", deduped)
	require.NoError(t, err)
	_, err = topic.AppendWith(ctx, log.AppendOptions{ID: "order-1"}, values("y")...)
	require.NoError(t, err)
	require.Equal(t, 1, total(t, topic))
}
