package workqueue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// failures are the ways in which a message fails for good.
var failures = map[string]func(db *pebblemq.DB, b *workqueue.Broker, q *workqueue.Queue, d *workqueue.Delivery) error{
	"rejected": func(_ *pebblemq.DB, _ *workqueue.Broker, _ *workqueue.Queue, d *workqueue.Delivery) error {
		return d.Reject(bg)
	},
	"rejected with those before it": func(_ *pebblemq.DB, _ *workqueue.Broker, _ *workqueue.Queue, d *workqueue.Delivery) error {
		return d.NackUpTo(bg, false)
	},
	"rejected in a transaction": func(db *pebblemq.DB, b *workqueue.Broker, _ *workqueue.Queue, d *workqueue.Delivery) error {
		return db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Nack(d, false) })
	},
	"rejected in a transaction with those before it": func(db *pebblemq.DB, b *workqueue.Broker, _ *workqueue.Queue, d *workqueue.Delivery) error {
		return db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).NackUpTo(d, false) })
	},
	"over the delivery limit": func(_ *pebblemq.DB, _ *workqueue.Broker, q *workqueue.Queue, d *workqueue.Delivery) error {
		_, _, err := q.Get(bg)
		return errors.Join(d.Nack(bg, true), err, errOf(next1(q)))
	},
}

// next1 looks for the next message, whereby one over the limit is found.
func next1(q *workqueue.Queue) (*workqueue.Delivery, error) {
	d, _, err := q.Get(bg)
	return d, err
}

func TestWhatFailsForGoodIsKeptInAQueueOfItsOwn(t *testing.T) {
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			db, b := restart(t, fs, nil)
			q := declareQueue(t, b, "jobs", &workqueue.QueueConfig{DeliveryLimit: 1})
			publish(t, b, "jobs", "fails")
			require.Equal(t, []string{"jobs"}, queues(t, b), "until it is needed")
			require.NoError(t, fail(db, b, q, get(t, b, "jobs", "fails")))
			require.Equal(t, []string{"jobs", "jobs.dead"}, queues(t, b))

			db, b = restart(t, fs, db)
			p, err := waited(queueOf(t, b, "jobs.dead").Redrive(bg, nil))
			require.NoError(t, err)
			require.EqualValues(t, 1, p.Moved)
			require.NoError(t, get(t, b, "jobs", "fails").Ack(bg))
			info, err := queueOf(t, b, "jobs.dead").Info(bg)
			require.NoError(t, err)
			require.Equal(t, workqueue.DeadRetention, info.Config.MessageTTL)
			require.NoError(t, db.Close())
		})
	}
}

func TestADeadLetterQueueThatWasDeletedIsMadeAgain(t *testing.T) {
	for name, fail := range failures {
		t.Run(name, func(t *testing.T) {
			db, b := open(t)
			q := declareQueue(t, b, "jobs", &workqueue.QueueConfig{DeliveryLimit: 1})
			for range 3 {
				publish(t, b, "jobs", "fails")
				require.NoError(t, fail(db, b, q, get(t, b, "jobs", "fails")))
				require.Equal(t, 1, ready(t, b, "jobs.dead"))
				require.NoError(t, queueOf(t, b, "jobs.dead").Delete(bg))
			}
		})
	}
}

func TestWhoWantsFailuresDroppedGetsNoQueueForThem(t *testing.T) {
	for what, config := range map[string]workqueue.QueueConfig{
		"asked for":                  {DropDead: true},
		"of an exclusive queue":      {Exclusive: true},
		"to a place of its own":      {DeadLetter: &workqueue.DeadLetter{Key: "other"}},
		"altered after its creation": {DropDead: true, MaxLength: 5},
	} {
		for name, fail := range failures {
			t.Run(what+", "+name, func(t *testing.T) {
				db, b := open(t)
				declare(t, b, "other")
				config.DeliveryLimit = 1
				q := declareQueue(t, b, "jobs", &config)
				publish(t, b, "jobs", "fails")
				require.NoError(t, fail(db, b, q, get(t, b, "jobs", "fails")))
				require.Equal(t, []string{"jobs", "other"}, queues(t, b))
				if config.MaxLength == 0 {
					return
				}
				require.NoError(t, q.Alter(bg, &workqueue.QueueConfig{DeliveryLimit: 1}))
				publish(t, b, "jobs", "fails")
				require.NoError(t, fail(db, b, q, get(t, b, "jobs", "fails")))
				require.Equal(t, 1, ready(t, b, "jobs.dead"))
			})
		}
	}
}

// Expiry and limits are asked for: a message that goes by them has not failed.
func TestWhatExpiresOrIsTooMuchIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{MessageTTL: time.Second, MaxLength: 1})
		publish(t, b, "q", "too many", "expires")
		pass(time.Minute)
		require.Zero(t, ready(t, b, "q"))
		require.Equal(t, []string{"q"}, queues(t, b))
	})
}

func TestWhatADeadLetterQueueIsRejectedIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		for range 2 {
			publish(t, b, "q", "m")
			require.NoError(t, get(t, b, "q", "m").Reject(bg))
		}
		require.NoError(t, get(t, b, "q.dead", "m").Reject(bg))
		require.Equal(t, 1, ready(t, b, "q.dead"))
		pass(workqueue.DeadRetention + time.Second)
		require.Zero(t, ready(t, b, "q.dead"))
		require.Equal(t, []string{"q", "q.dead"}, queues(t, b))
	})
}

func TestAHandlerThatAlwaysFailsLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, nil)
		b := openBroker(t, db)
		declare(t, b, "q")
		publish(t, b, "q", "m")
		ctx, cancel := context.WithTimeout(bg, time.Hour)
		defer cancel()
		require.NoError(t, queueOf(t, b, "q").Run(ctx, func(context.Context, *workqueue.Delivery) error { return errors.New("no") }, nil))
		d := get(t, b, "q.dead", "m")
		require.Equal(t, workqueue.ReasonDeliveryLimit, d.Deaths[0].Reason)
	})
}
