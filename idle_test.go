package pebblemq_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// crowd is a store with many queues and topics. Waiting for a moment to come takes
// looks at the store's clock, which are counted.
type crowd struct {
	t      *testing.T
	fs     vfs.FS
	db     *pebblemq.DB
	broker *workqueue.Broker
	looks  atomic.Int64
}

func openCrowd(t *testing.T, size int) *crowd {
	t.Helper()
	c := &crowd{t: t, fs: vfs.NewMem()}
	c.open()
	for n := range size {
		c.join(fmt.Sprint(n))
	}
	return c
}

func (c *crowd) open() {
	c.t.Helper()
	var err error
	c.db, err = storetest.OpenFS(c.fs, store.Options{Clock: func() time.Time {
		c.looks.Add(1)
		return time.Now()
	}})
	require.NoError(c.t, err)
	c.broker, err = workqueue.OpenBroker(bg, c.db, "broker")
	require.NoError(c.t, err)
}

// join makes a topic and two queues and uses them. What they hold expires within two
// hours.
func (c *crowd) join(name string) {
	t, relaxed, body := c.t, pebblemq.WithDurability(bg, pebblemq.NoSync), []byte("body")
	topic, err := log.OpenTopic(bg, c.db, name, &log.TopicConfig{
		RetentionTime: time.Hour, DedupeWindow: time.Minute, OffsetRetention: time.Hour,
	})
	require.NoError(t, err)
	group, err := topic.OpenGroup(bg, "readers", nil)
	require.NoError(t, err)
	member, err := group.Join(bg, nil)
	require.NoError(t, err)
	_, err = topic.AppendWith(relaxed, log.AppendOptions{ID: "id"}, log.Record{Value: body})
	require.NoError(t, err)
	records, err := member.Poll(bg, 1)
	require.NoError(t, err)
	require.NoError(t, member.Commit(relaxed, records...))

	declareQueue(t, c.broker, name, &workqueue.QueueConfig{DedupeWindow: time.Minute, MessageTTL: time.Hour})
	require.NoError(t, c.broker.Publish(relaxed, "", name, workqueue.Message{MessageID: "id", Body: body, Delay: time.Second}))
	queue, err := visibility.OpenQueue(bg, c.db, name, &visibility.QueueConfig{DedupeWindow: time.Minute, Retention: time.Hour})
	require.NoError(t, err)
	_, err = queue.Send(relaxed, visibility.Message{DedupeID: "id", Body: body})
	require.NoError(t, err)
	got, err := queue.Receive(bg, nil)
	require.NoError(t, err)
	require.Len(t, got, 1)
}

// looksIn returns how often the clock is looked at meanwhile.
func (c *crowd) looksIn(d time.Duration) int64 {
	before := c.looks.Load()
	<-time.After(d)
	synctest.Wait()
	return c.looks.Load() - before
}

// requireSleep lets a year pass, after a day in which what is due ends.
func (c *crowd) requireSleep() {
	c.t.Helper()
	require.Positive(c.t, c.looksIn(24*time.Hour))
	groups := c.db.Stats().Groups
	require.Zero(c.t, c.looksIn(365*24*time.Hour))
	require.Equal(c.t, groups, c.db.Stats().Groups)
}

// A ticker of the engine or of a layer would make the year last for minutes.
func TestAStoreWithNothingDueSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openCrowd(t, 1000)
		defer func() { require.NoError(t, c.db.Close()) }()
		c.requireSleep()
	})
}

// The same of what an earlier life has left, in the next one, and of calls that wait.
func TestAStoreThatWasOpenedAgainSleepsBesideWaitingCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openCrowd(t, 1000)
		require.NoError(t, c.db.Close())
		c.open()
		ctx, stop := context.WithCancel(bg)
		var waiting sync.WaitGroup
		for n := range 1000 {
			name := fmt.Sprint(n)
			topic, err := log.LookupTopic(bg, c.db, name)
			require.NoError(t, err)
			group, err := topic.LookupGroup(bg, "readers")
			require.NoError(t, err)
			member, err := group.Join(bg, nil)
			require.NoError(t, err)
			queue, err := visibility.LookupQueue(bg, c.db, name)
			require.NoError(t, err)
			_, _, err = queueOf(t, c.broker, name).Get(bg)
			require.NoError(t, err)
			if n%100 != 0 {
				continue
			}
			waiting.Go(func() { _, _ = member.Poll(ctx, 1) })
			waiting.Go(func() { _ = queue.Run(ctx, func(context.Context, *visibility.Received) error { return nil }, nil) })
			waiting.Go(func() {
				_ = queueOf(t, c.broker, name).Run(ctx, func(context.Context, *workqueue.Delivery) error { return nil }, nil)
			})
		}
		c.requireSleep()
		stop()
		waiting.Wait()
		require.NoError(t, c.db.Close())
	})
}

// The clock may jump, so it is looked at once a minute, but however much is due.
func TestAStoreWithMuchDueLaterWakesUpOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openCrowd(t, 100)
		defer func() { require.NoError(t, c.db.Close()) }()
		require.Positive(t, c.looksIn(10*time.Minute)) // delays and windows end
		const quiet = 40
		require.InDelta(t, quiet, c.looksIn(quiet*time.Minute), 1)
	})
}
