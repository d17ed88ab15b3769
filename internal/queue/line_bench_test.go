package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// BenchmarkPassing is the wait for a message of a tenant, or a group, with nothing else, while a line
// of another stands before it: sent now, or found after a restart. With it comes the longest that the
// baton was not free.
func BenchmarkPassing(b *testing.B) {
	for _, fair := range []bool{true, false} {
		for _, restart := range []bool{false, true} {
			for _, n := range []int{100, 10_000, 130_000, 1_000_000} {
				b.Run(fmt.Sprintf("fair=%t/restart=%t/line=%d", fair, restart, n), func(b *testing.B) {
					var waits, longest time.Duration
					takes := 0
					for b.Loop() {
						l := &scene{b: b, fs: vfs.NewMem(), fair: fair}
						b.StopTimer()
						l.build(n, restart)
						b.StartTimer()
						l.pass()
						b.StopTimer()
						waits, longest, takes = waits+l.wait, max(longest, l.longest), takes+l.takes
						require.NoError(b, l.s.Close())
						b.StartTimer()
					}
					b.ReportMetric(float64(waits.Microseconds())/1000/float64(b.N), "ms/wait")
					b.ReportMetric(float64(longest.Microseconds())/1000, "ms/longest")
					b.ReportMetric(float64(takes)/float64(b.N), "takes")
				})
			}
		}
	}
}

// scene is a lane with a line of one tenant, of which some are out.
type scene struct {
	b       testing.TB
	fs      vfs.FS
	fair    bool
	s       *store.Store
	q       *Lane
	ready   chan struct{}
	wait    time.Duration
	longest time.Duration
	takes   int
}

func (l *scene) open() {
	var err error
	l.s, err = store.Open(store.Options{FS: l.fs, Dir: "data"})
	require.NoError(l.b, err)
	l.ready = make(chan struct{}, 1)
	l.q, err = openLane(ctx, l.s, layout, 1, Options{Ready: func(*store.Turn) {
		select {
		case l.ready <- struct{}{}:
		default:
		}
	}, Leased: func(*store.Turn, *Message) {}, Group: groupOf, Fair: l.fair})
	require.NoError(l.b, err)
	l.do(l.q.Start)
}

// do runs f under the baton and notes how long that took.
func (l *scene) do(f func(*store.Turn)) {
	start := time.Now()
	under(l.b, l.s, store.NoSync, f)
	l.longest = max(l.longest, time.Since(start))
}

func (l *scene) put(group string, n int) {
	var put []*Message
	require.NoError(l.b, l.s.Do(ctx, &putAllOp{q: l.q, data: []byte(group + " of a hundred bytes: " + string(make([]byte, 80))), n: n, put: put}, store.NoSync))
}

// build puts the line and takes the first of it.
func (l *scene) build(n int, restart bool) {
	l.open()
	for left := n; left > 0; left -= 1000 {
		l.put("noisy", min(left, 1000))
	}
	for range 10 {
		l.take()
	}
	if restart {
		l.put("quiet", 1)
		require.NoError(l.b, l.s.Close())
		l.open()
	}
	for !l.fair && !l.recalled() {
		<-l.ready
	}
	if !restart {
		l.put("quiet", 1)
	}
	l.longest, l.takes = 0, 0
}

func (l *scene) recalled() (is bool) {
	l.do(func(*store.Turn) { is = l.q.crash.recalled() })
	return is
}

func (l *scene) take() (m *Message) {
	l.takes++
	l.do(func(t *store.Turn) {
		l.q.NextRound(t)
		m = l.q.Take(t, time.Now().Add(time.Hour))
	})
	return m
}

// pass takes messages until the quiet one comes, and settles the others.
func (l *scene) pass() {
	start := time.Now()
	for {
		m := l.take()
		switch {
		case m == nil:
			l.await()
			continue
		case string(groupOf(m.Data)) == "quiet":
			l.wait = time.Since(start)
			return
		}
		require.NoError(l.b, l.s.Do(ctx, &settleOp{l.q, m}, store.NoSync))
	}
}

// await tries the baton as another queue would, until there may be something.
func (l *scene) await() {
	for {
		select {
		case <-l.ready:
			return
		default:
			l.do(func(*store.Turn) {})
		}
	}
}

// putAllOp puts some messages at once.
type putAllOp struct {
	q    *Lane
	data []byte
	n    int
	put  []*Message
}

func (o *putAllOp) Run(t *store.Turn) error {
	for range o.n {
		o.put = append(o.put, o.q.Put(t, Content{Data: o.data}))
	}
	return nil
}
func (o *putAllOp) Undo() {}

func (o *putAllOp) Visible(t *store.Turn) {
	for _, m := range o.put {
		o.q.Show(t, m)
	}
}
