package log_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// tombstones counts those that are left.
func tombstones(t testing.TB, topic *log.Topic) (n int) {
	t.Helper()
	for _, r := range all(t, topic) {
		if r.Value == nil {
			n++
		}
	}
	return n
}

// Each tombstone has a deadline of its own, which no later one moves.
func TestTombstonesGoOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{Compact: true, TombstoneRetention: 24 * time.Hour})
		for i := range 60 {
			for _, v := range []any{1, nil} {
				_, err := topic.Append(ctx, kv(fmt.Sprint("k", i), v))
				require.NoError(t, err)
			}
			require.NoError(t, topic.Compact(ctx))
			require.LessOrEqual(t, tombstones(t, topic), 4)
			<-time.After(12 * time.Hour)
		}
	})
}

func TestATombstoneGoesAlthoughNothingIsAppended(t *testing.T) {
	const patience = 30 * time.Minute // a 48th of the retention
	for _, explicit := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			_, topic := retained(t, &log.TopicConfig{Compact: true, TombstoneRetention: 24 * time.Hour})
			for _, v := range []any{1, nil} {
				_, err := topic.Append(ctx, kv("k", v))
				require.NoError(t, err)
			}
			g := openGroup(t, topic, "g")
			<-time.After(patience)
			synctest.Wait()
			require.Equal(t, []string{"1 k=-"}, show(all(t, topic)), "what it deletes goes soon")
			<-time.After(24*time.Hour - time.Second)
			require.NoError(t, topic.Compact(ctx))
			require.Equal(t, 1, tombstones(t, topic), "readers see it as long as it says")
			if explicit {
				<-time.After(time.Second)
				require.NoError(t, topic.Compact(ctx))
			} else {
				<-time.After(patience + time.Second)
				synctest.Wait()
			}
			require.Empty(t, all(t, topic))
			start, end := bounds(t, topic)
			require.Equal(t, []int64{0, 2}, []int64{start, end})
			lags, err := g.Lag(ctx)
			require.NoError(t, err)
			require.Zero(t, lags[0].Records, "nothing is left to be read")
			at, err := topic.Append(ctx, kv("k", 2))
			require.NoError(t, err)
			require.Equal(t, places(2), at)
			require.Equal(t, []string{"2 k=2"}, show(all(t, topic)))
		})
	}
}

// A pass leaves the newest batch alone while that is young. It is not forgotten.
func TestATombstoneThatComesShortlyBeforeAPassGoesToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{Compact: true, TombstoneRetention: 24 * time.Hour})
		for _, k := range []string{"a", "b"} {
			for _, v := range []any{1, nil} {
				_, err := topic.Append(ctx, kv(k, v))
				require.NoError(t, err)
			}
			<-time.After(20 * time.Minute)
		}
		<-time.After(26 * time.Hour)
		synctest.Wait()
		require.Empty(t, all(t, topic))
	})
}

func TestADeadlineOutlivesTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		open := func() (closing func(), topic *log.Topic) {
			db, err := storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			topic, err = log.OpenTopic(ctx, db, "state", &log.TopicConfig{Compact: true, TombstoneRetention: 24 * time.Hour})
			require.NoError(t, err)
			return func() { require.NoError(t, db.Close()) }, topic
		}
		closing, topic := open()
		for _, v := range []any{1, nil} {
			_, err := topic.Append(ctx, kv("k", v))
			require.NoError(t, err)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		closing()
		for range 5 {
			<-time.After(10 * time.Hour)
			closing, _ = open()
			<-time.After(10 * time.Minute)
			closing()
		}
		closing, topic = open()
		<-time.After(31 * time.Minute)
		synctest.Wait()
		require.Empty(t, all(t, topic))
		closing()
	})
}

// A group lags behind by no record that is left if all of these are finished.
func TestALagOfCompactedRecordsBeforeFinishedOnesIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, &log.TopicConfig{Compact: true, TombstoneRetention: time.Second})
		for _, r := range []log.Record{kv("a", nil), kv("b", 1), kv("c", nil), kv("d", 1)} {
			_, err := topic.Append(ctx, r)
			require.NoError(t, err)
		}
		g := openGroup(t, topic, "g")
		m := join(t, g)
		got := poll(t, m, 10)
		require.NoError(t, m.Ack(ctx, got[1], got[3]))
		<-time.After(10 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"1 b=1", "3 d=1"}, show(all(t, topic)))
		lags, err := g.Lag(ctx)
		require.NoError(t, err)
		require.Zero(t, lags[0].Records)
		require.Zero(t, lags[0].Age)
	})
}
