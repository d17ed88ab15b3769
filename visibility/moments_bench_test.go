package visibility_test

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// benchMessages is how many messages a moment is about. The figures in the documents
// are with 10 M, and 1 M that are in flight: PEBBLEMQ_BENCH_MESSAGES=10000000.
func benchMessages(b *testing.B) int {
	text := os.Getenv("PEBBLEMQ_BENCH_MESSAGES")
	if text == "" {
		return 10_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err)
	return n
}

// watchHeap reports the largest live heap until its result is called.
func watchHeap(b *testing.B) (stop func()) {
	runtime.GC()
	var largest uint64
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(live)
			largest = max(largest, live[0].Value.Uint64())
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
		b.ReportMetric(float64(largest)/(1<<20), "heap-MiB")
	}
}

// moment is a store whose clock can be put forward.
type moment struct {
	b       *testing.B
	db      *pebblemq.DB
	forward atomic.Int64
}

func newMoment(b *testing.B) *moment {
	m := &moment{b: b}
	var err error
	m.db, err = pebblemq.Open(benchDir(b), &pebblemq.Options{
		Durability: pebblemq.NoSync, Clock: func() time.Time { return time.Now().Add(time.Duration(m.forward.Load())) },
	})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, m.db.Close()) })
	return m
}

// fill sends n messages.
func (m *moment) fill(q *visibility.Queue, n int, delay time.Duration) {
	batch := make([]visibility.Message, 1000)
	for sent := 0; sent < n; sent += len(batch) {
		batch = batch[:min(len(batch), n-sent)]
		for i := range batch {
			batch[i] = visibility.Message{Body: make([]byte, benchBody), Delay: delay}
		}
		_, err := q.SendBatch(ctx, batch, nil)
		require.NoError(m.b, err)
	}
}

// pass has an hour pass at once, and waits until that has had its effect.
func (m *moment) pass(q *visibility.Queue, n int, over func(visibility.Stats) bool) {
	defer watchHeap(m.b)()
	other := open(m.b, m.db, "other", nil)
	_, err := other.Send(ctx, visibility.Message{Delay: 20 * time.Millisecond}) // then the kernel looks at the clock
	require.NoError(m.b, err)
	m.b.ResetTimer()
	m.forward.Add(int64(time.Hour))
	for !over(stats(m.b, q)) {
		<-time.After(time.Millisecond)
	}
	m.b.StopTimer()
	m.b.ReportMetric(float64(n)/m.b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkDue is delayed messages that become due at once.
func BenchmarkDue(b *testing.B) {
	b.Run("queue", func(b *testing.B) {
		for range b.N {
			m, n := newMoment(b), benchMessages(b)
			q := open(b, m.db, "q", nil)
			m.fill(q, n, time.Hour)
			m.pass(q, n, func(s visibility.Stats) bool { return s.Delayed == 0 })
		}
	})
	b.Run("pebble", func(b *testing.B) { rawMoment(b, benchMessages(b), benchBody, true) })
}

// BenchmarkLeasesEnd is messages in flight whose leases end at once, a tenth of what
// the others are about.
func BenchmarkLeasesEnd(b *testing.B) {
	n := max(benchMessages(b)/10, 1000)
	b.Run("queue", func(b *testing.B) {
		for range b.N {
			m := newMoment(b)
			q := open(b, m.db, "q", nil)
			m.fill(q, n, 0)
			for taken := 0; taken < n; {
				got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 1000, VisibilityTimeout: time.Hour, Wait: time.Minute})
				require.NoError(b, err)
				taken += len(got)
			}
			m.pass(q, n, func(s visibility.Stats) bool { return s.InFlight == 0 })
		}
	})
	b.Run("pebble", func(b *testing.B) { rawMoment(b, n, 0, false) })
}

// BenchmarkExpire is messages whose retention is over at once: those that wait, and
// those that go to a dead-letter queue.
func BenchmarkExpire(b *testing.B) {
	for name, c := range map[string]*visibility.QueueConfig{
		"gone": {Retention: time.Hour}, "dead letters": {Retention: time.Hour, DeadLetterQueue: "dead", DeadLetterExpired: true},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				m, n := newMoment(b), benchMessages(b)
				open(b, m.db, "dead", nil)
				q := open(b, m.db, "q", c)
				m.fill(q, n, 0)
				m.pass(q, n, func(s visibility.Stats) bool { return s.Visible == 0 })
			}
		})
	}
	b.Run("pebble", func(b *testing.B) { rawMoment(b, benchMessages(b), 0, false) })
}
