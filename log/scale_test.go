package log_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// manyTopics makes n topics with a record each.
func manyTopics(t testing.TB, dir string, n int) {
	t.Helper()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	const workers = 64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				topic, err := log.OpenTopic(context.Background(), db, topicName(i), nil)
				if assert.NoError(t, err) {
					_, err = topic.Append(noSync, values("x")...)
					assert.NoError(t, err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, db.Close())
}

func topicName(i int) string { return fmt.Sprintf("orders-%06d", i) }

func TestAnIdleTopicIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector, which runs with -short, needs memory of its own")
	}
	const topics, kib = 4000, 1024
	dir := t.TempDir()
	manyTopics(t, dir, topics)
	empty, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	defer storetest.Close(t, empty)

	before := storetest.Heap()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	defer storetest.Close(t, db)
	known := storetest.Heap()
	opened := make([]*log.Topic, topics)
	for i := range opened {
		opened[i], err = log.LookupTopic(context.Background(), db, topicName(i))
		require.NoError(t, err)
	}
	looked := storetest.Heap()
	for _, topic := range opened {
		require.Len(t, fetchAll(t, topic, 0, log.Start()), 1)
	}
	used := storetest.Heap()
	t.Logf("store with %d topics: %d KiB; each looked up %d bytes, read from %d bytes", topics, (known-before)/kib, (looked-known)/topics, (used-known)/topics)
	require.Less(t, (used-known)/topics, int64(kib))
	require.NotEmpty(t, opened)
}

// BenchmarkOpenTopics opens a store that has 100,000 topics.
func BenchmarkOpenTopics(b *testing.B) {
	const topics = 100_000
	dir := b.TempDir()
	manyTopics(b, dir, topics)
	var heap int64
	for b.Loop() {
		b.StopTimer()
		before := storetest.Heap()
		b.StartTimer()
		db, err := pebblemq.Open(dir, nil)
		b.StopTimer()
		require.NoError(b, err)
		heap = storetest.Heap() - before
		require.NoError(b, db.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(heap)/topics, "heap-B/topic")
}

// BenchmarkOffsetAt looks times up in a log of ten million records.
func BenchmarkOffsetAt(b *testing.B) {
	const batches, perCall = 10_000, 1000
	topic := benchTopic(b)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	records := benchRecords(perCall)
	for i := range batches {
		for j := range records {
			records[j].Timestamp = begin.Add(time.Duration(i*perCall+j) * time.Millisecond)
		}
		_, err := topic.Append(noSync, records...)
		require.NoError(b, err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		want := rng.Int64N(batches * perCall)
		got, ok, err := topic.OffsetAt(context.Background(), 0, begin.Add(time.Duration(want)*time.Millisecond))
		if err != nil || !ok || got != want {
			b.Fatal(got, want, ok, err)
		}
	}
}
