package log_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

var exactly = pebblemq.Backoff{Min: time.Second, Max: time.Minute, Jitter: pebblemq.NoJitter}

// runFor runs a handler for a time.
func runFor(g *log.Group, d time.Duration, h log.Handler, o *log.RunOptions) error {
	c, stop := context.WithTimeout(ctx, d)
	defer stop()
	return g.Run(c, h, o)
}

func TestARecordThatFailsForGoodIsInTheDeadTopicByDefault(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error":  func() error { return errors.New("no such account") },
		"panic":  func() error { panic("no such account") },
		"Goexit": func() error { runtime.Goexit(); return nil },
	} {
		for _, concurrency := range []int{1, 8} {
			t.Run(fmt.Sprint(name, concurrency), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					db, topic := openTopic(t, 1)
					appendAll(t, topic, log.Record{Key: []byte("k"), Value: []byte("bad")}, log.Record{Key: []byte("k"), Value: []byte("good")})
					g := openGroup(t, topic, "g")
					var calls []string
					require.NoError(t, runFor(g, time.Hour, func(_ context.Context, r log.Record) error {
						calls = append(calls, string(r.Value))
						if string(r.Value) == "bad" {
							return fail()
						}
						return nil
					}, &log.RunOptions{Concurrency: concurrency, Backoff: exactly}))
					require.Len(t, calls, 21)
					require.Equal(t, "good", calls[20], "its key waits for what is tried again")
					require.Equal(t, []int64{2}, committed(t, g))
					dead, err := log.LookupTopic(ctx, db, "orders.dead")
					require.NoError(t, err)
					require.Equal(t, 14*24*time.Hour, dead.Config().RetentionTime)
					r, err := dead.NewReader(0, log.Start())
					require.NoError(t, err)
					found, err := r.Fetch(ctx, 10, 1<<20)
					require.NoError(t, err)
					require.Equal(t, []string{"bad"}, valuesOf(found))
					require.Equal(t, "20", headersOf(found[0])[log.HeaderAttempts])
					require.NotEmpty(t, headersOf(found[0])[log.HeaderError])
				})
			})
		}
	}
}

func TestARejectedRecordIsDeadAtOnce(t *testing.T) {
	for _, drop := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			db, topic := openTopic(t, 1)
			again, err := log.OpenTopic(ctx, db, "again", nil)
			require.NoError(t, err)
			appendAll(t, topic, values("bad", "good")...)
			g, calls := openGroup(t, topic, "g"), 0
			require.NoError(t, runFor(g, time.Hour, func(_ context.Context, r log.Record) error {
				if calls++; string(r.Value) == "bad" {
					return pebblemq.Reject(errors.New("never"))
				}
				return nil
			}, &log.RunOptions{Retry: &log.Retry{Topic: again}, DropDead: drop}))
			require.Equal(t, 2, calls)
			require.Equal(t, []int64{2}, committed(t, g))
			dead, err := log.LookupTopic(ctx, db, "orders.dead")
			if drop {
				require.ErrorIs(t, err, log.ErrUnknownTopic)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{"bad"}, fetchAll(t, dead, 0, log.Start()))
		})
	}
}

func TestAReleasedRecordComesAgainUncounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, values("a", "b")...)
		g := openGroup(t, topic, "g")
		begin := time.Now()
		var at []time.Duration
		require.NoError(t, runFor(g, 10*time.Hour, func(_ context.Context, r log.Record) error {
			if at = append(at, time.Since(begin)); len(at) < 4 {
				require.Equal(t, "a", string(r.Value))
				return pebblemq.Release(time.Hour)
			}
			return nil
		}, &log.RunOptions{MaxAttempts: 1}))
		require.Equal(t, []time.Duration{0, time.Hour, 2 * time.Hour, 3 * time.Hour, 3 * time.Hour}, at)
		require.Equal(t, []int64{2}, committed(t, g))
	})
}

// The next Run gets records that were not handled, or failed and are to be tried again.
func TestTheNextRunGoesOnWithWhatIsNotFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, values("a", "b", "c")...)
		g := openGroup(t, topic, "g")
		require.NoError(t, runFor(g, time.Minute, func(context.Context, log.Record) error { return errors.New("no") },
			&log.RunOptions{Backoff: pebblemq.Backoff{Min: time.Hour, Max: time.Hour}}))
		require.Equal(t, []int64{0}, committed(t, g))
		var got []string
		require.NoError(t, runFor(g, time.Minute, func(_ context.Context, r log.Record) error {
			got = append(got, string(r.Value))
			return nil
		}, nil))
		require.Equal(t, []string{"a", "b", "c"}, got)
	})
}

func TestAPartitionDoesNotWaitForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 2)
		_, err := topic.AppendWith(ctx, into(0), values("bad", "behind it")...)
		require.NoError(t, err)
		_, err = topic.AppendWith(ctx, into(1), values("x", "y")...)
		require.NoError(t, err)
		g := openGroup(t, topic, "g")
		require.NoError(t, runFor(g, time.Minute, func(_ context.Context, r log.Record) error {
			require.NotEqual(t, "behind it", string(r.Value))
			if string(r.Value) == "bad" {
				return errors.New("no")
			}
			return nil
		}, nil))
		require.Equal(t, []int64{0, 2}, committed(t, g))
	})
}

func TestABatchHasTheRecordsOfAPartitionInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, numbered(250)...)
		g := openGroup(t, topic, "g")
		c, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		var sizes []int
		next := int64(0)
		require.NoError(t, g.RunBatch(c, func(_ context.Context, batch []log.Record) error {
			if sizes = append(sizes, len(batch)); len(sizes) == 2 {
				return errors.New("once")
			}
			for _, r := range batch {
				require.Equal(t, next, r.Offset)
				next++
			}
			return nil
		}, nil))
		require.Equal(t, []int{100, 100, 100, 50}, sizes)
		require.Equal(t, []int64{250}, committed(t, g))
	})
}

func TestABatchIsAcknowledgedInOneChangeOfEachTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, orders, payments := twoTopics(t)
		appendAll(t, orders, numbered(40)...)
		appendAll(t, payments, numbered(10)...)
		g := openGroup(t, orders, "billing")
		c, stop := context.WithCancel(ctx)
		var before uint64
		require.NoError(t, g.RunBatch(c, func(_ context.Context, batch []log.Record) error {
			require.Len(t, batch, 50)
			outcome := make(pebblemq.BatchError, 50)
			outcome[7] = errors.New("failed")
			synctest.Wait()
			before = db.Stats().Operations
			stop()
			return outcome
		}, &log.RunOptions{BatchSize: 50, Topics: []*log.Topic{payments}}))
		require.LessOrEqual(t, db.Stats().Operations-before, uint64(6), "the acknowledgements, and what the end of Run takes")
		unread := int64(0)
		for _, topic := range []*log.Topic{orders, payments} {
			lags, err := openGroup(t, topic, "billing").Lag(ctx)
			require.NoError(t, err)
			for _, l := range lags {
				unread += l.Records
			}
		}
		require.EqualValues(t, 1, unread, "the one that failed")
	})
}

// A batch of which one partition was lost acknowledges the records of the others.
func TestABatchIsAcknowledgedButForWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := onePerPartition(t, 4)
		c, stop := context.WithCancel(ctx)
		require.NoError(t, g.RunBatch(c, func(_ context.Context, batch []log.Record) error {
			require.Len(t, batch, 4)
			require.NoError(t, g.Seek(ctx, log.Start(), 2))
			stop()
			return nil
		}, &log.RunOptions{BatchSize: 4}))
		require.Equal(t, []int64{1, 1, 0, 1}, committed(t, g))
	})
}

func TestRecordsAreHandledByAKeyOfTheOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, numbered(40)...)
		g := openGroup(t, topic, "g")
		var order []int64
		require.NoError(t, runFor(g, time.Hour, func(_ context.Context, r log.Record) error {
			<-time.After(time.Second)
			order = append(order, r.Offset)
			return nil
		}, &log.RunOptions{Concurrency: 8, Key: func(log.Record) string { return "all" }}))
		require.Len(t, order, 40)
		require.IsIncreasing(t, order)
	})
}
