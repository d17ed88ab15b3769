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
		declareQueue(t, b, "other", &workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: &workqueue.DeadLetter{Key: "q"}})
		publishTTL(t, b, "round", 0)
		pass(time.Second)
		require.Equal(t, 1, ready(t, b, "other"))
		pass(time.Second)
		require.Zero(t, ready(t, b, "q"), "it has been here")
		require.Zero(t, ready(t, b, "other"))
	})
}

// The usual way to retry later: a rejected message goes round, and its history counts.
func TestARejectionMayCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "later"}})
		declareQueue(t, b, "later", &workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: &workqueue.DeadLetter{Key: "q"}})
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

func TestADeadLetterWhosePlaceIsMissingIsTriedAgain(t *testing.T) {
	for name, make := range map[string]func(*testing.T, *workqueue.Broker){
		"when it appears": func(t *testing.T, b *workqueue.Broker) { declare(t, b, "dead") },
		"when the queue has another": func(t *testing.T, b *workqueue.Broker) {
			declare(t, b, "other")
			require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{DeliveryLimit: 1, DeadLetter: &workqueue.DeadLetter{Key: "other"}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declareWith(t, b, workqueue.QueueConfig{DeliveryLimit: 1, DeadLetter: toDead})
				publishTTL(t, b, "expired", time.Second)
				publishTTL(t, b, "tired", 0)
				pass(time.Second)
				require.NoError(t, get(t, b, "q", "tired").Nack(bg, true))
				require.Empty(t, drain(t, b))
				pass(time.Hour)
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.Equal(t, workqueue.Dead{Expired: 1, DeliveryLimit: 1}, st.Stuck)

				make(t, b)
				pass(0)
				st, err = queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.Zero(t, st.Stuck.Total()+st.Unacked+st.Ready)
				got := 0
				list, err := b.Queues(bg)
				require.NoError(t, err)
				for _, place := range list {
					got += int(place.Stats.Ready)
				}
				require.Equal(t, 2, got)
			})
		})
	}
}

func TestADeadLetterThatIsRefusedIsTriedAgainUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareQueue(t, b, "dead", &workqueue.QueueConfig{MaxLength: 1, Overflow: workqueue.RejectPublish})
		declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
		publishTTL(t, b, "1", time.Second)
		publishTTL(t, b, "2", 2*time.Second)
		pass(time.Minute)
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Equal(t, workqueue.Dead{Expired: 1}, st.Stuck)
		require.NoError(t, get(t, b, "dead", "1").Ack(bg))
		pass(time.Minute)
		require.NoError(t, get(t, b, "dead", "2").Ack(bg))
	})
}

func TestDropIfMissingDropsADeadLetterWithoutAPlace(t *testing.T) {
	for name, d := range map[string]workqueue.DeadLetter{
		"no queue":    {Key: "missing", DropIfMissing: true},
		"no exchange": {Exchange: "missing", DropIfMissing: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, b := open(t)
			declareWith(t, b, workqueue.QueueConfig{DeadLetter: &d})
			publish(t, b, "q", "m")
			require.NoError(t, get(t, b, "q", "m").Reject(bg))
			st, err := queueOf(t, b, "q").Stats(bg)
			require.NoError(t, err)
			require.Zero(t, st)
		})
	}
}
