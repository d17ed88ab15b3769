package workqueue_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// computed is a duration as time.Until returns it.
const computed = 33*time.Second + 123_456_789*time.Nanosecond

func TestAComputedDurationIsTakenEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		c := &workqueue.QueueConfig{
			MessageTTL: computed, AckTimeout: computed, Expires: 2 * computed, DedupeWindow: computed,
			Retry: &pebblemq.Backoff{Min: computed, Max: computed + 1},
		}
		q := declareQueue(t, b, "q", c)
		require.NoError(t, errOf(b.DeclareQueue(bg, "q", c)), "it is the same when it is stored")
		require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Fanout, &workqueue.ExchangeConfig{DedupeWindow: computed}))
		require.NoError(t, b.PutJob(bg, workqueue.Job{Name: "j", Key: "q", Every: computed, Message: workqueue.Message{TTL: computed}}))
		require.NoError(t, b.DeleteJob(bg, "j"))
		require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{TTL: computed, Delay: computed}))
		for _, settle := range []func(*workqueue.Delivery) error{
			func(d *workqueue.Delivery) error { return d.Release(bg, computed-time.Second) },
			func(d *workqueue.Delivery) error {
				return d.Requeue(bg, workqueue.Requeue{Delay: computed - time.Second})
			},
		} {
			publish(t, b, "q", "m")
			d := get(t, b, "q", "m")
			require.NoError(t, d.Extend(bg))
			require.NoError(t, settle(d))
		}
		ctx, cancel := context.WithCancel(bg)
		cancel()
		require.NoError(t, q.Run(ctx, nop, &workqueue.RunOptions{
			Timeout: computed, DrainTimeout: computed, BatchWait: computed / 1000, Backoff: pebblemq.Backoff{Min: computed, Max: computed + 1},
		}))
	})
}

func TestATTLBelowTheUnitThatIsStoredIsTheLeastOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publishTTL(t, b, "short", time.Nanosecond)
		publishTTL(t, b, "down", time.Second+999)
		pass(time.Microsecond)
		require.Equal(t, 1, ready(t, b, "q"))
		d := get(t, b, "q", "down")
		require.Equal(t, time.Second, d.TTL, "rounded down to microseconds")
	})
}
