package log_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// headersOf returns a record's headers as a map, without its time.
func headersOf(r log.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		if h.Name != log.HeaderDue {
			m[h.Name] = string(h.Value)
		}
	}
	return m
}

func TestRunAcknowledgesWhatItsHandlerFinished(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	var seen []string
	oops := errors.New("oops")
	handler := func(at string, fail func() error) log.Handler {
		return func(_ context.Context, r log.Record) error {
			seen = append(seen, string(r.Value))
			if string(r.Value) == at {
				return fail()
			}
			return nil
		}
	}
	err := g.Run(ctx, handler("v3", func() error { return pebblemq.Stop(oops) }), nil)
	require.Equal(t, oops, err)
	require.Equal(t, []int64{3}, committed(t, g))
	err = g.Run(ctx, handler("v5", func() error { return fmt.Errorf("so: %w", pebblemq.Stop(oops)) }), nil)
	require.Equal(t, oops, err)
	running, cancel := context.WithCancel(ctx)
	require.NoError(t, g.Run(running, handler("v9", func() error { cancel(); return nil }), nil))
	require.Equal(t, []int64{10}, committed(t, g), "what was finished when ctx ended counts")
	require.Equal(t, []string{"v0", "v1", "v2", "v3", "v3", "v4", "v5", "v5", "v6", "v7", "v8", "v9"}, seen)
}

// With more handlers than partitions, records of one key come in order and one at
// a time, and different keys at once.
func TestRunIsParallelByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		const keys, each = 20, 10
		for n := range each {
			for k := range keys {
				appendAll(t, topic, log.Record{Key: fmt.Append(nil, k), Value: fmt.Append(nil, n)})
			}
		}
		g := openGroup(t, topic, "g")
		running, stop := context.WithCancel(ctx)
		var mu sync.Mutex
		next, busy, most, done := map[string]int{}, map[string]bool{}, 0, 0
		begin := time.Now()
		require.NoError(t, g.Run(running, func(_ context.Context, r log.Record) error {
			key := string(r.Key)
			mu.Lock()
			if busy[key] || fmt.Sprint(next[key]) != string(r.Value) {
				t.Errorf("key %s: %s out of order, %d is next", key, r.Value, next[key])
			}
			busy[key] = true
			most = max(most, len(busy))
			mu.Unlock()
			<-time.After(time.Second)
			mu.Lock()
			defer mu.Unlock()
			next[key]++
			delete(busy, key)
			if done++; done == keys*each {
				stop()
			}
			return nil
		}, &log.RunOptions{Concurrency: 10, MaxInFlight: 200}))
		require.Equal(t, keys*each, done)
		require.Greater(t, most, 3)
		require.Less(t, time.Since(begin), keys*each*time.Second/3)
		require.Equal(t, []int64{keys * each}, committed(t, g))
	})
}

func TestRunSharesKeylessRecordsAmongAllHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, numbered(100)...)
		running, stop := context.WithCancel(ctx)
		var done atomic.Int32
		begin := time.Now()
		require.NoError(t, openGroup(t, topic, "g").Run(running, func(context.Context, log.Record) error {
			<-time.After(time.Second)
			if done.Add(1) == 100 {
				stop()
			}
			return nil
		}, &log.RunOptions{Concurrency: 10}))
		require.Equal(t, 10*time.Second, time.Since(begin))
	})
}

// A slow record does not hold up the others for longer than MaxInFlight allows,
// and is the only one to be delivered again.
func TestOnlyWhatIsUnfinishedIsDeliveredAgain(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(20)...)
	g := openGroup(t, topic, "g")
	running, stop := context.WithCancel(ctx)
	var others atomic.Int32
	started := make(chan struct{})
	err := g.Run(running, func(_ context.Context, r log.Record) error {
		if string(r.Value) == "v3" {
			<-started
			return pebblemq.Stop(errors.New("slow one failed"))
		}
		if others.Add(1) == 19 {
			close(started)
		}
		return nil
	}, &log.RunOptions{Concurrency: 4})
	stop()
	require.ErrorContains(t, err, "slow one failed")
	require.Equal(t, []string{"v3"}, valuesOf(drain(t, join(t, g), 1)))
}

func TestARecordIsTriedAgainInPlaceWithABackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, numbered(2)...)
		running, stop := context.WithCancel(ctx)
		var at []time.Duration
		begin := time.Now()
		require.NoError(t, openGroup(t, topic, "g").Run(running, func(_ context.Context, r log.Record) error {
			at = append(at, time.Since(begin))
			switch {
			case string(r.Value) == "v1":
				stop()
			case len(at) == 2:
				panic("the second time")
			case len(at) < 4:
				return errors.New("not yet")
			}
			return nil
		}, &log.RunOptions{MaxAttempts: 4, Backoff: pebblemq.Backoff{Min: time.Second, Jitter: pebblemq.NoJitter}}))
		require.Equal(t, []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 7 * time.Second}, at)
	})
}

func TestAFailingRecordGoesToTheRetryTopicAndThenToTheDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, topic := openTopic(t, 2)
		again, err := log.OpenTopic(ctx, db, "orders.retry", nil)
		require.NoError(t, err)
		dead, err := log.OpenTopic(ctx, db, "orders.dead", nil)
		require.NoError(t, err)
		_, err = topic.AppendWith(ctx, into(1), log.Record{Key: []byte("k"), Value: []byte("good")}, log.Record{Key: []byte("k"), Value: []byte("bad"), Headers: []log.Header{{Name: "mine", Value: []byte("v")}}}, log.Record{Value: []byte("late")})
		require.NoError(t, err)
		g := openGroup(t, topic, "g")
		running, stop := context.WithCancel(ctx)
		calls := map[string][]time.Duration{}
		begin := time.Now()
		go func() {
			<-time.After(10 * time.Hour)
			stop()
		}()
		require.NoError(t, g.Run(running, func(_ context.Context, r log.Record) error {
			v := string(r.Value)
			calls[v] = append(calls[v], time.Since(begin))
			if v == "bad" || v == "late" && len(calls[v]) < 3 {
				return fmt.Errorf("%s no. %d", v, len(calls[v]))
			}
			return nil
		}, &log.RunOptions{
			MaxAttempts: 2, Backoff: pebblemq.Backoff{Min: time.Second, Jitter: pebblemq.NoJitter},
			Retry: &log.Retry{Topic: again, Delay: time.Hour, Times: 2}, DeadLetter: dead,
		}))
		require.Len(t, calls["good"], 1)
		require.Equal(t, []time.Duration{
			0, time.Second, time.Hour + time.Second, time.Hour + 2*time.Second, 2*time.Hour + 2*time.Second, 2*time.Hour + 3*time.Second,
		}, calls["bad"])
		require.Len(t, calls["late"], 3)
		require.Equal(t, []int64{0, 3}, committed(t, g))
		require.Equal(t, []int64{3}, committed(t, openGroup(t, again, "g")))

		r, err := dead.NewReader(0, log.Start())
		require.NoError(t, err)
		found, err := r.Fetch(ctx, 10, 1<<20)
		require.NoError(t, err)
		require.Equal(t, []string{"bad"}, valuesOf(found))
		require.Equal(t, "k", string(found[0].Key))
		require.Equal(t, map[string]string{
			"mine": "v", log.HeaderError: "bad no. 6", log.HeaderAttempts: "6", log.HeaderRetries: "2", log.HeaderGroup: "g",
			log.HeaderOriginTopic: "orders", log.HeaderOriginPartition: "1", log.HeaderOriginOffset: "1",
		}, headersOf(found[0]))
	})
}

// The move of a record is one commit: wherever the process dies, the record is in
// exactly one of the places.
func TestAMoveToTheDeadLettersIsOneCommit(t *testing.T) {
	db, topic := openTopic(t, 1)
	dead, err := log.OpenTopic(ctx, db, "dead", nil)
	require.NoError(t, err)
	appendAll(t, topic, values("bad")...)
	g := openGroup(t, topic, "g")
	running, stop := context.WithCancel(ctx)
	defer stop()
	err = g.Run(running, func(context.Context, log.Record) error {
		// The group moves while the handler runs: the acknowledgement is refused,
		// and the dead letter with it.
		require.NoError(t, g.Seek(ctx, log.End()))
		stop()
		return errors.New("failed")
	}, &log.RunOptions{DeadLetter: dead, MaxAttempts: 1})
	require.NoError(t, err)
	require.Empty(t, fetchAll(t, dead, 0, log.Start()))
}

func TestRunWaitsForHandlersUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, numbered(10)...)
		g := openGroup(t, topic, "g")
		running, stop := context.WithCancel(ctx)
		var handled atomic.Int32
		require.NoError(t, g.Run(running, func(ctx context.Context, _ log.Record) error {
			stop()
			<-time.After(time.Minute)
			handled.Add(1)
			return ctx.Err() // nil: what has begun may be finished
		}, &log.RunOptions{Concurrency: 3, DrainTimeout: 2 * time.Minute}))
		require.LessOrEqual(t, handled.Load(), int32(3))
		lags, err := g.Lag(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 10-handled.Load(), lags[0].Records)
	})
}

func TestAHandlerIsToldThatItLostItsPartition(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(1)...)
	g := openGroup(t, topic, "g")
	running, stop := context.WithCancel(ctx)
	var causes []error
	require.NoError(t, g.Run(running, func(ctx context.Context, _ log.Record) error {
		if len(causes) == 1 {
			stop()
			return nil
		}
		require.NoError(t, g.Seek(running, log.Start()))
		<-ctx.Done()
		causes = append(causes, context.Cause(ctx))
		return ctx.Err()
	}, nil))
	require.Len(t, causes, 1)
	require.ErrorIs(t, causes[0], log.ErrFenced)
	require.Equal(t, []int64{1}, committed(t, g))
}

// A handler is under way when its group is moved, and ends in one way or another. Run goes on at the
// new place, and counts and tells no failure: the record was not its any more.
func TestRunGoesOnWhenItsGroupIsMoved(t *testing.T) {
	for name, end := range map[string]func(db *pebblemq.DB, g *log.Group, r log.Record) error{
		"nil":    func(*pebblemq.DB, *log.Group, log.Record) error { return nil },
		"error":  func(*pebblemq.DB, *log.Group, log.Record) error { return errors.New("failed") },
		"reject": func(*pebblemq.DB, *log.Group, log.Record) error { return pebblemq.Reject(errors.New("failed")) },
		"transaction": func(db *pebblemq.DB, g *log.Group, r log.Record) error {
			return db.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Ack(r) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, topic := openTopic(t, 1)
				appendAll(t, topic, numbered(3)...)
				g := openGroup(t, topic, "g")
				running, stop := context.WithTimeout(ctx, time.Hour)
				defer stop()
				var seen []string
				require.NoError(t, g.Run(running, func(_ context.Context, r log.Record) error {
					seen = append(seen, string(r.Value))
					switch len(seen) {
					case 2:
						require.NoError(t, g.Seek(ctx, log.Start()))
						return end(db, g, r)
					case 5:
						stop()
					}
					return nil
				}, &log.RunOptions{OnError: func(_ context.Context, _ log.Record, err error) { t.Errorf("failure told: %v", err) }}))
				require.Equal(t, []string{"v0", "v1", "v0", "v1", "v2"}, seen)
				require.Equal(t, []int64{3}, committed(t, g))
			})
		})
	}
}

// A Seek in a transaction refuses acknowledgements before members hear of it, because it is not on
// disk yet. A handler that is refused meanwhile has not failed.
func TestASeekOnItsWayToTheDiskIsNoFailureOfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cold := storetest.OpenCold(t, "")
		topic, err := log.OpenTopic(ctx, cold.DB, "orders", nil)
		require.NoError(t, err)
		appendAll(t, topic, numbered(2)...)
		g := openGroup(t, topic, "g")
		running, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		rebuilt := make(chan error, 1)
		var seen []string
		require.NoError(t, g.Run(running, func(_ context.Context, r log.Record) error {
			seen = append(seen, string(r.Value))
			if len(seen) == 2 {
				cold.Freeze()
				go func() {
					rebuilt <- cold.DB.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Seek(log.Start()) })
				}()
				synctest.Wait()
				time.AfterFunc(time.Second, cold.Thaw)
			}
			if len(seen) == 4 {
				stop()
			}
			return cold.DB.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Ack(r) })
		}, &log.RunOptions{OnError: func(_ context.Context, _ log.Record, err error) { t.Errorf("failure told: %v", err) }}))
		require.NoError(t, <-rebuilt)
		require.Equal(t, []string{"v0", "v1", "v0", "v1"}, seen)
		require.Equal(t, []int64{2}, committed(t, g))
		storetest.Close(t, cold.DB)
	})
}

func TestBadRunOptionsAreRefused(t *testing.T) {
	db, topic := openTopic(t, 1)
	foreign, err := log.OpenTopic(ctx, storetest.Open(t, nil), "dead", nil)
	require.NoError(t, err)
	again, err := log.OpenTopic(ctx, db, "retry", nil)
	require.NoError(t, err)
	g := openGroup(t, topic, "g")
	for name, o := range map[string]log.RunOptions{
		"negative concurrency": {Concurrency: -1},
		"absurd concurrency":   {Concurrency: pebblemq.MaxConcurrency + 1},
		"negative in flight":   {MaxInFlight: -1},
		"absurd in flight":     {MaxInFlight: log.MaxGaps + 1},
		"negative attempts":    {MaxAttempts: -2},
		"absurd attempts":      {MaxAttempts: pebblemq.MaxAttempts + 1},
		"bad backoff":          {Backoff: pebblemq.Backoff{Min: -1}},
		"own topic as dead":    {DeadLetter: topic},
		"foreign dead letters": {DeadLetter: foreign},
		"retry nowhere":        {Retry: &log.Retry{}},
		"retry in itself":      {Retry: &log.Retry{Topic: topic}},
		"retry elsewhere":      {Retry: &log.Retry{Topic: foreign}},
		"negative delay":       {Retry: &log.Retry{Topic: again, Delay: -1}},
		"absurd delay":         {Retry: &log.Retry{Topic: again, Delay: log.MaxRetryDelay + 1}},
		"negative times":       {Retry: &log.Retry{Topic: again, Times: -1}},
	} {
		require.ErrorIs(t, g.Run(ctx, func(context.Context, log.Record) error { return nil }, &o), pebblemq.ErrInvalid, name)
	}
	require.ErrorIs(t, g.Run(ctx, nil, nil), pebblemq.ErrInvalid)
}

// Every record is handled, whatever comes and goes, and nothing is finished that
// was not handled.
func TestManyRunsShareATopic(t *testing.T) {
	db, topic := openTopic(t, 3)
	again, err := log.OpenTopic(ctx, db, "retry", nil)
	require.NoError(t, err)
	const n = 600
	for i := range n {
		appendAll(t, topic, log.Record{Key: fmt.Append(nil, i%50), Value: fmt.Append(nil, i)})
	}
	g := openGroup(t, topic, "g")
	running, stop := context.WithCancel(ctx)
	var mu sync.Mutex
	handled := map[string]bool{}
	handler := func(_ context.Context, r log.Record) error {
		mu.Lock()
		defer mu.Unlock()
		if len(handled)%7 == 3 && !slices.ContainsFunc(r.Headers, func(h log.Header) bool { return h.Name == log.HeaderRetries }) {
			handled["x"+string(r.Value)] = true // moves the count on
			return errors.New("try later")
		}
		handled[string(r.Value)] = true
		count := 0
		for v := range handled {
			if v[0] != 'x' {
				count++
			}
		}
		if count == n {
			stop()
		}
		return nil
	}
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for running.Err() == nil {
				stay, leave := context.WithTimeout(running, time.Duration(1+w*10)*time.Millisecond)
				if err := g.Run(stay, handler, &log.RunOptions{
					Concurrency: 1 + w, MaxAttempts: 1, Retry: &log.Retry{Topic: again, Delay: time.Nanosecond, Times: 1000},
				}); err != nil {
					t.Error(err)
					stop()
				}
				leave()
			}
		})
	}
	wg.Wait()
}
