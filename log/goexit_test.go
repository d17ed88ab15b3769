package log_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/workqueue"
)

// exit ends the goroutine of a handler, as a failed require does.
func exit(context.Context, log.Record) error {
	runtime.Goexit()
	return nil
}

func TestAHandlerThatExitsItsGoroutineIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 2)
		appendAll(t, topic, numbered(6)...)
		g := openGroup(t, topic, "g")
		running, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		calls := map[string]int{}
		begin := time.Now()
		require.NoError(t, g.Run(running, func(ctx context.Context, r log.Record) error {
			if calls[string(r.Value)]++; calls[string(r.Value)] < 3 {
				return exit(ctx, r)
			}
			return nil
		}, &log.RunOptions{MaxAttempts: 3}))
		require.Equal(t, time.Minute, time.Since(begin), "Run ends with its context")
		require.Equal(t, map[string]int{"v0": 3, "v1": 3, "v2": 3, "v3": 3, "v4": 3, "v5": 3}, calls)
	})
}

func TestARecordWhoseHandlerExitsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, topic := openTopic(t, 1)
		dead, err := log.OpenTopic(ctx, db, "dead", nil)
		require.NoError(t, err)
		appendAll(t, topic, numbered(3)...)
		g := openGroup(t, topic, "g")
		running, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		require.NoError(t, g.Run(running, exit, &log.RunOptions{Concurrency: 4, DeadLetter: dead}))
		require.Equal(t, []int64{3}, committed(t, g))
		r, err := dead.NewReader(0, log.Start())
		require.NoError(t, err)
		found, err := r.Fetch(ctx, 10, 1<<20)
		require.NoError(t, err)
		require.Len(t, found, 3)
		require.Contains(t, headersOf(found[0])[log.HeaderError], "handler called runtime.Goexit")
	})
}

func TestAPartitionerThatExitsRefusesTheAppend(t *testing.T) {
	db, topic := openTopic(t, 2)
	topic.SetPartitioner(func(r log.Record, _ int) int {
		if string(r.Value) == "bad" {
			runtime.Goexit()
		}
		return 1
	})
	_, err := topic.Append(ctx, values("good", "bad")...)
	var refused *log.RecordError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 1, refused.Index)
	require.ErrorContains(t, err, "runtime.Goexit")
	_, err = topic.Append(ctx, values("bad")...)
	require.ErrorContains(t, err, "runtime.Goexit")

	b, err := workqueue.OpenBroker(ctx, db, "b")
	require.NoError(t, err)
	require.NoError(t, b.DeclareExchange(ctx, "x", workqueue.Fanout, nil))
	require.NoError(t, b.Bind(ctx, workqueue.Binding{Exchange: "x", Topic: topic.Name()}))
	require.ErrorContains(t, b.Publish(ctx, "x", "", workqueue.Message{Body: []byte("bad")}), "runtime.Goexit")
	require.NoError(t, b.Publish(ctx, "x", "", workqueue.Message{Body: []byte("good")}), "the store is in order")
	require.Equal(t, []string{"good"}, fetchAll(t, topic, 1, log.Start()))
}

// A reader's loop belongs to its caller: the end of the goroutine leaves nothing open.
func TestALoopOverRecordsThatExitsLeavesNothingOpen(t *testing.T) {
	db, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(3)...)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	m := join(t, openGroup(t, topic, "g"))
	for _, loop := range []func(){
		func() {
			for range r.Records(ctx) {
				runtime.Goexit()
			}
		},
		func() {
			for range m.Records(ctx) {
				runtime.Goexit()
			}
		},
	} {
		exited(t, loop)
	}
	found, err := m.Poll(ctx, 10)
	require.NoError(t, err)
	require.Equal(t, "v1 v2", strings.Join(valuesOf(found), " "))
	require.NoError(t, db.Close())
	_, err = m.Poll(ctx, 10)
	require.ErrorIs(t, err, pebblemq.ErrClosed)
}

// exited runs f on a goroutine that f ends.
func exited(t *testing.T, f func()) {
	t.Helper()
	returned := make(chan bool, 1)
	go func() {
		normal := false
		defer func() { returned <- normal }()
		f()
		normal = true
	}()
	require.False(t, <-returned, "the goroutine has ended")
}
