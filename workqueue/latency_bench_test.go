//go:build linux

package workqueue_test

import (
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// BenchmarkLatency publishes 1,000 messages a second, whether or not those before are
// through (an open loop), and measures from the moment when one is due to when it is
// received. Raw is the bare queue on Pebble. Beside the Sync figures stands what an
// fsync takes, alone, in the same run. With -benchtime 5000x it takes five seconds.
func BenchmarkLatency(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 1)) // one sleeps in the kernel
	for _, d := range []pebblemq.Durability{pebblemq.NoSync, pebblemq.Sync} {
		b.Run(d.String()+"/raw", func(b *testing.B) {
			q := openRawQueue(b).(*rawQueue)
			var writers sync.WaitGroup
			steady(b, q, d, func(body []byte) {
				writers.Go(func() {
					if err := q.publish(d, body, 1); err != nil {
						b.Error(err)
					}
				})
			})
			writers.Wait()
		})
		b.Run(d.String()+"/pebblemq", func(b *testing.B) {
			q := openQueue(b).(brokerQueue)
			ctx := pebblemq.WithDurability(bg, d)
			var confirms []*pebblemq.Future[workqueue.Published]
			steady(b, q, d, func(body []byte) {
				confirms = append(confirms, q.broker.PublishAsync(ctx, "", "q", workqueue.Message{Body: body}))
			})
			for _, c := range confirms {
				require.NoError(b, errOf(c.Wait(bg)))
			}
		})
	}
}

func steady(b *testing.B, q benchQueue, d pebblemq.Durability, publish func(body []byte)) {
	const period = time.Millisecond
	fsync := time.Duration(0)
	if d == pebblemq.Sync {
		fsync = fsyncTime(b)
	}
	ctx, stop := context.WithCancel(bg)
	defer stop()
	begin := time.Now().Add(10 * time.Millisecond)
	b.ResetTimer()
	consumed := make(chan error, 1)
	var times []time.Duration
	go func() {
		consumed <- q.consume(ctx, func(body []byte) bool {
			due := begin.Add(time.Duration(binary.BigEndian.Uint64(body)) * period)
			if times = append(times, time.Since(due)); len(times) == b.N {
				stop()
			}
			return true
		})
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for n := range b.N {
		body := make([]byte, 100)
		binary.BigEndian.PutUint64(body, uint64(n))
		waitUntil(begin.Add(time.Duration(n) * period))
		publish(body)
	}
	require.NoError(b, <-consumed)
	b.StopTimer()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1e3, "µs-p50")
	b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1e3, "µs-p99")
	if d == pebblemq.Sync {
		b.ReportMetric(float64(fsync.Nanoseconds())/1e3, "µs-fsync-p50")
	}
}

// waitUntil sleeps in the kernel, since the runtime's timers are too coarse, and spins at
// the end, since the kernel's slack and the waking of an idle processor would count.
func waitUntil(due time.Time) {
	const spin = 200 * time.Microsecond
	for left := time.Until(due); left > 0; left = time.Until(due) {
		if left < spin {
			continue
		}
		ts := syscall.NsecToTimespec(int64(left - spin))
		_ = syscall.Nanosleep(&ts, nil) // interrupted is as good as early
	}
}

// fsyncTime is the median of lone fsyncs, as Pebble does them for a small write.
func fsyncTime(b *testing.B) time.Duration {
	db := openRaw(b, b.TempDir())
	times := make([]time.Duration, min(b.N, 200))
	for i := range times {
		waitUntil(time.Now().Add(time.Millisecond))
		begin := time.Now()
		require.NoError(b, db.Set(rawKey(uint64(i)), payload, pebble.Sync))
		times[i] = time.Since(begin)
	}
	slices.Sort(times)
	require.NoError(b, db.Close())
	return times[len(times)/2]
}
