package workqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/workqueue"
)

// A ring of expiries would turn for ever: q dies into other, and other into q.
func TestARingOfDeadLettersWithoutARejectionIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: &workqueue.DeadLetter{Key: "other"}})
		require.NoError(t, b.DeclareQueue(bg, "other", &workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: &workqueue.DeadLetter{Key: "q"}}))
		publishTTL(t, b, "round", 0)
		pass(time.Second)
		require.Equal(t, 1, ready(t, b, "other"))
		pass(time.Second)
		require.Zero(t, ready(t, b, "q"), "it has been here")
		require.Zero(t, ready(t, b, "other"))
	})
}

// The usual way to retry later: whoever rejects sends it round, and the history
// counts.
func TestARejectionMayCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "later"}})
		require.NoError(t, b.DeclareQueue(bg, "later", &workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: &workqueue.DeadLetter{Key: "q"}}))
		publishTTL(t, b, "again", 0)
		for range 3 {
			require.NoError(t, get(t, b, "q", "again").Reject(bg))
			pass(time.Second)
		}
		d := get(t, b, "q", "again")
		var got []workqueue.Death
		for _, x := range d.Deaths {
			got = append(got, workqueue.Death{Queue: x.Queue, Reason: x.Reason, Count: x.Count})
		}
		require.Equal(t, []workqueue.Death{
			{Queue: "later", Reason: workqueue.ReasonExpired, Count: 3},
			{Queue: "q", Reason: workqueue.ReasonRejected, Count: 3},
		}, got)
	})
}
