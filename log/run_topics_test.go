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
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

func TestARunReadsSeveralTopics(t *testing.T) {
	for _, batches := range []bool{false, true} {
		t.Run(fmt.Sprint(batches), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, orders, payments := twoTopics(t)
				appendAll(t, orders, numbered(20)...)
				appendAll(t, payments, numbered(30)...)
				g := openGroup(t, orders, "billing")
				running, stop := context.WithCancel(ctx)
				var mu sync.Mutex
				seen := map[string]int{}
				handle := func(_ context.Context, r log.Record) error {
					mu.Lock()
					defer mu.Unlock()
					seen[r.Topic()]++
					return nil
				}
				o := &log.RunOptions{Concurrency: 3, Topics: []*log.Topic{payments}}
				ended := make(chan error, 1)
				go func() {
					if !batches {
						ended <- g.Run(running, handle, o)
						return
					}
					ended <- g.RunBatch(running, func(ctx context.Context, batch []log.Record) (err error) {
						for _, r := range batch {
							err = errors.Join(err, handle(ctx, r))
						}
						return err
					}, o)
				}()
				<-time.After(time.Minute)
				stop()
				require.NoError(t, <-ended)
				require.Equal(t, map[string]int{"orders": 20, "payments": 30}, seen)
				for _, topic := range []*log.Topic{orders, payments} {
					lags, err := openGroup(t, topic, "billing").Lag(ctx)
					require.NoError(t, err)
					for _, l := range lags {
						require.Zero(t, l.Records, "%s/%d", topic.Name(), l.Partition)
					}
				}
			})
		})
	}
}

// Partitions of both topics are handed over as those of one are.
func TestRunsOfSeveralTopicsShareTheirPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, orders, payments := twoTopics(t)
		for _, topic := range []*log.Topic{orders, payments} {
			for p := range 2 {
				_, err := topic.AppendWith(ctx, into(p), values("v")...)
				require.NoError(t, err)
			}
		}
		r := runs{t: t, group: openGroup(t, orders, "billing")}
		d := newDiary()
		o := d.options("a")
		o.Topics, o.Concurrency = []*log.Topic{payments}, 4
		endA := r.start(func(_ context.Context, rec log.Record) error {
			if rec.Topic() == "payments" {
				<-time.After(10 * time.Second)
			}
			return nil
		}, o)
		<-time.After(time.Second)
		again := d.options("b")
		again.Topics = o.Topics
		endB := r.start(func(context.Context, log.Record) error {
			t.Error("nothing is handled twice")
			return nil
		}, again)
		<-time.After(time.Minute)
		endB()
		endA()
		require.ElementsMatch(t, []string{"0s: a has orders[0 1] <nil>", "0s: a has payments[0 1] <nil>"}, d.list[:2])
		require.Equal(t, []string{
			"1s: a gives orders[1] <nil>", "1s: b has orders[1] <nil>", "10s: a gives payments[1] <nil>", "10s: b has payments[1] <nil>",
		}, d.list[2:6], "each when its handlers have returned")
	})
}

func TestARunOfSeveralTopicsAcknowledgesInTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, orders, payments := twoTopics(t)
		appendAll(t, payments, values("v")...)
		g := openGroup(t, orders, "billing")
		running, stop := context.WithCancel(ctx)
		require.NoError(t, g.Run(running, func(ctx context.Context, r log.Record) error {
			defer stop()
			return db.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Ack(r) })
		}, &log.RunOptions{Topics: []*log.Topic{payments}}))
		var total int64
		for _, n := range committed(t, openGroup(t, payments, "billing")) {
			total += n
		}
		require.EqualValues(t, 1, total)
	})
}

// Records that are given up go to the dead letters of their own topic, also by way of a Retry topic
// that the topics share.
func TestARunOfSeveralTopicsHasDeadLettersOfEach(t *testing.T) {
	for _, retried := range []bool{false, true} {
		t.Run(fmt.Sprint(retried), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, orders, payments := twoTopics(t)
				appendAll(t, orders, values("order")...)
				appendAll(t, payments, values("payment")...)
				o := &log.RunOptions{MaxAttempts: 1, Topics: []*log.Topic{payments}}
				if retried {
					again, err := log.OpenTopic(ctx, db, "again", nil)
					require.NoError(t, err)
					o.Retry = &log.Retry{Topic: again, Delay: time.Minute}
				}
				running, stop := context.WithTimeout(ctx, time.Hour)
				defer stop()
				calls := map[string]int{}
				require.NoError(t, openGroup(t, orders, "billing").Run(running, func(_ context.Context, r log.Record) error {
					calls[string(r.Value)]++
					return errors.New("failed")
				}, o))
				want := 1
				if retried {
					want = 2
				}
				require.Equal(t, map[string]int{"order": want, "payment": want}, calls)
				for name, value := range map[string]string{"orders.dead": "order", "payments.dead": "payment"} {
					dead, err := log.LookupTopic(ctx, db, name)
					require.NoError(t, err)
					require.Equal(t, []string{value}, fetchAll(t, dead, 0, log.Start()), name)
				}
			})
		})
	}
}

func TestTopicsOfARunThatMakeNoSenseAreRefused(t *testing.T) {
	_, orders, payments := twoTopics(t)
	foreign, err := log.OpenTopic(ctx, storetest.Open(t, nil), "payments", nil)
	require.NoError(t, err)
	g := openGroup(t, orders, "billing")
	for name, o := range map[string]log.RunOptions{
		"nil":            {Topics: []*log.Topic{nil}},
		"its own":        {Topics: []*log.Topic{orders}},
		"twice":          {Topics: []*log.Topic{payments, payments}},
		"another store":  {Topics: []*log.Topic{foreign}},
		"as dead letter": {Topics: []*log.Topic{payments}, DeadLetter: payments},
		"as retry":       {Topics: []*log.Topic{payments}, Retry: &log.Retry{Topic: payments}},
	} {
		require.ErrorIs(t, g.Run(ctx, func(context.Context, log.Record) error { return nil }, &o), pebblemq.ErrInvalid, name)
	}
}
