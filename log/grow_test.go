package log_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// grow gives a topic more partitions.
func grow(t testing.TB, db *pebblemq.DB, topic *log.Topic, n int) {
	t.Helper()
	c := topic.Config()
	c.Partitions = n
	require.NoError(t, alterTopic(db, topic.Name(), c))
	require.Equal(t, n, topic.Partitions())
}

func TestATopicGrowsAndNeverShrinks(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	appendAll(t, topic, values("old")...)
	_, err = topic.AppendWith(ctx, into(3), values("x")...)
	require.ErrorIs(t, err, log.ErrUnknownPartition)

	grow(t, db, topic, 4)
	at, err := topic.AppendWith(ctx, into(3), values("new")...)
	require.NoError(t, err)
	require.Equal(t, []log.Position{{Partition: 3, Offset: 0}}, at)
	at, err = topic.Append(ctx, log.Record{Key: []byte("foobar")})
	require.NoError(t, err)
	require.Equal(t, 2, at[0].Partition, "by the new number: 1357151166 % 4")
	require.Equal(t, []string{"old"}, fetchAll(t, topic, 0, log.Start()))
	require.Equal(t, []string{"new"}, fetchAll(t, topic, 3, log.Start()))

	for _, n := range []int{0, 1, 3} {
		require.ErrorIs(t, alterTopic(db, "orders", log.TopicConfig{Partitions: n}), pebblemq.ErrConfigMismatch, n)
	}
	require.ErrorIs(t, alterTopic(db, "orders", log.TopicConfig{Partitions: -1}), pebblemq.ErrInvalid)
	require.ErrorIs(t, alterTopic(db, "orders", log.TopicConfig{Partitions: log.MaxPartitions + 1}), pebblemq.ErrTooLarge)
	require.ErrorIs(t, alterTopic(db, "other", log.TopicConfig{Partitions: 8}), log.ErrUnknownTopic)
	require.NoError(t, topic.CheckInvariants())
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	_, err = log.OpenTopic(ctx, db, "orders", &log.TopicConfig{})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	topic, err = log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 4})
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, fetchAll(t, topic, 3, log.Start()))
	grow(t, db, topic, log.MaxPartitions)
	require.NoError(t, db.Close())
}

// A group misses nothing of a new partition, wherever it began in the others, and
// whether it was in use at the time or not; what its members hold stays theirs.
func TestGroupsReadNewPartitionsFromTheirBeginning(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	appendAll(t, topic, values("a", "b")...)
	for _, name := range []string{"live", "asleep"} {
		_, err = topic.OpenGroup(ctx, name, &log.GroupConfig{From: log.End()})
		require.NoError(t, err)
	}
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err = log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	live, err := topic.OpenGroup(ctx, "live", &log.GroupConfig{From: log.End()})
	require.NoError(t, err)
	appendAll(t, topic, values("c")...)
	m, idle := join(t, live), join(t, live)
	held := drain(t, m, 1)
	waiting := make(chan []log.Record)
	go func() {
		found, err := idle.Poll(ctx, 10)
		if err != nil {
			t.Error(err)
		}
		waiting <- found
	}()

	grow(t, db, topic, 2)
	_, err = topic.AppendWith(ctx, into(1), values("first")...)
	require.NoError(t, err)
	found := <-waiting
	require.Equal(t, []string{"first"}, valuesOf(found))
	require.Equal(t, []int{0}, m.Partitions())
	require.Equal(t, []int{1}, idle.Partitions())
	require.NoError(t, m.Commit(ctx, held...), "not fenced")
	require.NoError(t, idle.Commit(ctx, found...))
	require.NoError(t, idle.CommitOffset(ctx, log.Committed{Partition: 1, Next: 1}))
	require.Equal(t, []int64{3, 1}, committed(t, live))

	asleep, err := topic.OpenGroup(ctx, "asleep", &log.GroupConfig{From: log.End()})
	require.NoError(t, err)
	require.Equal(t, []int64{2, 0}, committed(t, asleep))
	require.Equal(t, []string{"c", "first"}, valuesOf(drain(t, join(t, asleep), 2)))
	require.NoError(t, topic.CheckInvariants())
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err = log.LookupTopic(ctx, db, "orders")
	require.NoError(t, err)
	live, err = topic.OpenGroup(ctx, "live", &log.GroupConfig{From: log.End()})
	require.NoError(t, err)
	require.Equal(t, []int64{3, 1}, committed(t, live))
	require.NoError(t, db.Close())
}

func TestADeletedGroupDoesNotGrow(t *testing.T) {
	db, topic := openTopic(t, 1)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	require.NoError(t, topic.DeleteGroup(ctx, "g"))
	grow(t, db, topic, 2)
	require.ErrorIs(t, g.Seek(ctx, log.Start(), 1), log.ErrGroupDeleted)
	require.ErrorIs(t, m.CommitOffset(ctx, log.Committed{Partition: 1}), log.ErrGroupDeleted)
}

// An append that was prepared before the topic grew keeps its places.
func TestATransactionSpansAGrowth(t *testing.T) {
	db, topic := openTopic(t, 2)
	var r *log.Placement
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) (err error) {
		if r, err = topic.In(tx).Append(log.Record{Key: []byte("a")}, log.Record{Key: []byte("b")}, log.Record{Key: []byte("c")}); err != nil {
			return err
		}
		grow(t, db, topic, 5)
		_, err = topic.In(tx).AppendWith(into(4), values("later")...)
		return err
	}))
	at, err := r.Positions()
	require.NoError(t, err)
	for _, p := range at {
		require.Less(t, p.Partition, 2)
	}
	require.Equal(t, []string{"later"}, fetchAll(t, topic, 4, log.Start()))
	require.NoError(t, topic.CheckInvariants())
}

// Everything goes on while a topic grows, step by step, and a crash at the end
// leaves the new partitions with what was acknowledged.
func TestNothingIsLostWhileATopicGrows(t *testing.T) {
	const steps, producers, each = 16, 3, 120
	fs := newCrashFS(t)
	db, topic := fs.open(t)
	g := openGroup(t, topic, "g")
	running, stop := context.WithCancel(ctx)
	var mu sync.Mutex
	seen := map[string]int{}
	all := make(chan struct{})
	var members, workers sync.WaitGroup
	for range 3 {
		members.Go(func() {
			err := g.Run(running, func(_ context.Context, r log.Record) error {
				mu.Lock()
				defer mu.Unlock()
				if seen[string(r.Value)]++; len(seen) == producers*each && seen[string(r.Value)] == 1 {
					close(all)
				}
				return nil
			}, &log.RunOptions{Concurrency: 2})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for w := range producers {
		workers.Go(func() {
			for i := range each {
				v := fmt.Sprintf("%d/%d", w, i)
				if _, err := topic.Append(ctx, log.Record{Key: []byte(v), Value: []byte(v)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Go(func() {
		for i := range 60 {
			_, err := g.Lag(ctx)
			if err == nil {
				err = g.Seek(ctx, log.Shift(0), i%topic.Partitions())
			}
			if err == nil {
				_, err = topic.OpenGroup(ctx, fmt.Sprint("g", i%4), nil)
			}
			if err == nil && i%4 == 3 {
				err = topic.DeleteGroup(ctx, "g1")
			}
			if err != nil && !errors.Is(err, log.ErrUnknownGroup) {
				t.Error(err)
			}
		}
	})
	for n := 2; n <= steps; n++ {
		grow(t, db, topic, n)
		if err := topic.CheckInvariants(); err != nil {
			t.Error(err)
		}
	}
	workers.Wait()
	<-all
	stop()
	members.Wait()
	crashed := fs.crash(1, 0)
	require.NoError(t, db.Close())

	db, err := storetest.OpenFS(crashed, store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	topic, err = log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: steps})
	require.NoError(t, err)
	total := 0
	for p := range steps {
		total += len(fetchAll(t, topic, p, log.Start()))
	}
	require.Equal(t, producers*each, total)
	require.NoError(t, db.Close())
}
