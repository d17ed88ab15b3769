package log_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// ledger notes what handlers do that run at the same time.
type ledger struct {
	mu    sync.Mutex
	calls map[string]int
	busy  map[string]bool
	twice []string // keys with two handlers at a time
}

func newLedger() *ledger { return &ledger{calls: map[string]int{}, busy: map[string]bool{}} }

func (l *ledger) enter(r log.Record) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := string(r.Key)
	l.calls[string(r.Value)]++
	if l.busy[key] {
		l.twice = append(l.twice, key)
	}
	l.busy[key] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.busy[key] = false
	}
}

func TestAPartitionIsHandedOverWhenItsHandlersHaveReturned(t *testing.T) {
	for _, fails := range []bool{false, true} {
		for _, batches := range []bool{false, true} {
			t.Run(fmt.Sprint(fails, batches), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testHandover(t, fails, batches) })
			})
		}
	}
}

func testHandover(t *testing.T, fails, batches bool) {
	_, topic := openTopic(t, 8)
	for i := range 400 {
		appendAll(t, topic, log.Record{Key: fmt.Append(nil, "k", i%40), Value: fmt.Append(nil, i)})
	}
	l := newLedger()
	failed := map[string]bool{}
	handle := func(ctx context.Context, r log.Record) error {
		defer l.enter(r)()
		<-time.After(5 * time.Millisecond)
		l.mu.Lock()
		defer l.mu.Unlock()
		if v := string(r.Value); fails && r.Offset%7 == 3 && !failed[v] {
			failed[v] = true
			l.calls[v]--
			return errors.New("once")
		}
		return ctx.Err()
	}
	var runs sync.WaitGroup
	for i := range 4 {
		runs.Go(func() {
			<-time.After(time.Duration(i) * 23 * time.Millisecond)
			running, stop := context.WithTimeout(ctx, time.Minute-time.Duration(i)*55*time.Second/4)
			defer stop()
			o := &log.RunOptions{Concurrency: 8}
			if batches {
				o.BatchSize = 3
				require.NoError(t, openGroup(t, topic, "g").RunBatch(running, func(ctx context.Context, batch []log.Record) error {
					errs := make(pebblemq.BatchError, len(batch))
					for i, r := range batch {
						errs[i] = handle(ctx, r)
					}
					return errs
				}, o))
				return
			}
			require.NoError(t, openGroup(t, topic, "g").Run(running, handle, o))
		})
	}
	runs.Wait()
	require.Len(t, l.calls, 400)
	for v, n := range l.calls {
		require.Equal(t, 1, n, "record %s is handled once", v)
	}
	require.Empty(t, l.twice, "two handlers of one key")
	var total int64
	for _, n := range committed(t, openGroup(t, topic, "g")) {
		total += n
	}
	require.EqualValues(t, 400, total)
}

func TestAHandoverEndsWithTheDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 2)
		for p := range 2 {
			_, err := topic.AppendWith(ctx, into(p), values(fmt.Sprint("v", p))...)
			require.NoError(t, err)
		}
		g := openGroup(t, topic, "g")
		running, stop := context.WithCancel(ctx)
		begin := time.Now()
		var mu sync.Mutex
		var causes []error
		ended := make(chan error, 1)
		go func() {
			ended <- g.Run(running, func(ctx context.Context, _ log.Record) error {
				select {
				case <-ctx.Done():
				case <-time.After(time.Hour):
				}
				mu.Lock()
				defer mu.Unlock()
				causes = append(causes, context.Cause(ctx))
				return ctx.Err()
			}, &log.RunOptions{Concurrency: 2, DrainTimeout: time.Minute})
		}()
		<-time.After(time.Second)
		m := join(t, g)
		require.Empty(t, m.Partitions(), "the handlers go on")
		found, err := m.Poll(ctx, 10)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, time.Minute+time.Second, time.Since(begin))
		require.NoError(t, m.Ack(ctx, found...))
		synctest.Wait()
		mu.Lock()
		require.Len(t, causes, 1)
		require.ErrorIs(t, causes[0], log.ErrFenced)
		mu.Unlock()
		stop()
		require.NoError(t, <-ended)
	})
}

func TestAHandoverChangesItsMind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, numbered(3)...)
		g := openGroup(t, topic, "g")
		l := newLedger()
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		// The first member keeps the partition when another one joins, so it leaves.
		first, leave := context.WithCancel(ctx)
		run := func(ctx context.Context) error {
			return g.Run(ctx, func(ctx context.Context, r log.Record) error {
				defer l.enter(r)()
				<-time.After(10 * time.Second)
				return ctx.Err()
			}, nil)
		}
		gone := make(chan error, 1)
		go func() { gone <- run(first) }()
		<-time.After(time.Second)
		passing := join(t, g)
		go func() { ended <- run(running) }()
		synctest.Wait()
		leave()
		require.NoError(t, passing.Leave(ctx))
		require.NoError(t, <-gone)
		<-time.After(time.Minute)
		stop()
		require.NoError(t, <-ended)
		require.Equal(t, map[string]int{"v0": 1, "v1": 1, "v2": 1}, l.calls)
		require.Equal(t, []int64{3}, committed(t, g))
	})
}

// Whatever joins, leaves and seeks, the partitions have owners in the end.
func TestAHandoverAmongMembersThatComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 5)
		const n = 300
		for i := range n {
			appendAll(t, topic, log.Record{Key: fmt.Append(nil, "k", i%30), Value: fmt.Append(nil, i)})
		}
		g := openGroup(t, topic, "g")
		l := newLedger()
		running, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for n := 1; running.Err() == nil; n++ {
					stay, leave := context.WithTimeout(running, time.Duration((i*13+n*7)%50+1)*10*time.Millisecond)
					if i == 0 {
						stay, leave = context.WithCancel(running)
					}
					require.NoError(t, g.Run(stay, func(ctx context.Context, r log.Record) error {
						defer l.enter(r)()
						<-time.After(time.Duration(r.Offset%5) * 20 * time.Millisecond)
						return ctx.Err()
					}, &log.RunOptions{Concurrency: 1 + i*2}))
					leave()
					if n > 20 {
						return
					}
				}
			})
		}
		all.Go(func() {
			for range 30 {
				m, err := g.Join(ctx, nil)
				require.NoError(t, err)
				<-time.After(7 * time.Millisecond)
				require.NoError(t, m.Leave(ctx))
				<-time.After(11 * time.Millisecond)
			}
		})
		all.Wait()
		require.Len(t, l.calls, n)
		require.Empty(t, l.twice)
		for v, n := range l.calls {
			require.Equal(t, 1, n, v)
		}
	})
}

// A Seek fences the handlers that are under way, and they keep the partition from its next owner
// all the same, whether that comes before or after it.
func TestAPartitionThatWasMovedIsHandedOverToo(t *testing.T) {
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testHandoverAfterSeek(t, before) })
		})
	}
}

// testHandoverAfterSeek lets a second Run begin before or after a Seek, while the first has
// handlers that do not return at once.
func testHandoverAfterSeek(t *testing.T, before bool) {
	_, topic := openTopic(t, 2)
	for p := range 2 {
		_, err := topic.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(p)}, log.Record{Key: fmt.Append(nil, p), Value: fmt.Append(nil, p)})
		require.NoError(t, err)
	}
	g, l := openGroup(t, topic, "g"), newLedger()
	handle := func(_ context.Context, r log.Record) error {
		defer l.enter(r)()
		<-time.After(4 * time.Second) // Run waits for 5 s at most for one that was fenced
		return nil
	}
	var runs sync.WaitGroup
	defer runs.Wait()
	start := func(span time.Duration) {
		running, stop := context.WithTimeout(ctx, span)
		runs.Go(func() {
			defer stop()
			require.NoError(t, g.Run(running, handle, &log.RunOptions{Concurrency: 2}))
		})
		synctest.Wait()
	}
	start(time.Hour)
	if before {
		start(time.Hour)
	}
	require.NoError(t, g.Seek(ctx, log.Start()))
	synctest.Wait()
	if !before {
		start(time.Hour)
	}
	<-time.After(time.Minute)
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(t, l.twice, "two handlers of one key")
	require.Equal(t, map[string]int{"0": 2, "1": 2}, l.calls)
	require.Equal(t, []int64{1, 1}, committed(t, g))
}
