package workqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestRequeueToTheHeadOrTheTail(t *testing.T) {
	for name, c := range map[string]struct {
		to   workqueue.Requeue
		want []string
	}{
		"tail": {workqueue.Requeue{}, []string{"4", "5", "2", "1"}},
		"head": {workqueue.Requeue{Head: true}, []string{"1", "2", "4", "5"}},
	} {
		for how, requeue := range map[string]func(*pebblemq.DB, *workqueue.Broker, *workqueue.Delivery) error{
			"alone": func(_ *pebblemq.DB, _ *workqueue.Broker, d *workqueue.Delivery) error { return d.Requeue(bg, c.to) },
			"in a transaction": func(db *pebblemq.DB, b *workqueue.Broker, d *workqueue.Delivery) error {
				return db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Requeue(d, c.to) })
			},
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				db := storetest.Open(t, nil)
				b := openBroker(t, db)
				declare(t, b, "q")
				publish(t, b, "q", "1", "2", "3", "4", "5")
				one, two := get(t, b, "q", "1"), get(t, b, "q", "2")
				require.NoError(t, get(t, b, "q", "3").Ack(bg))
				require.NoError(t, requeue(db, b, two))
				require.NoError(t, requeue(db, b, one))
				require.ErrorIs(t, requeue(db, b, one), workqueue.ErrSettled)
				require.Equal(t, c.want, drain(t, b))
			})
		}
	}
}

func TestARequeuedMessageKeepsWhatIsKnownOfIt(t *testing.T) {
	for name, to := range map[string]workqueue.Requeue{"tail": {}, "head": {Head: true}, "delay": {Delay: time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := openBroker(t, storetest.Open(t, nil))
				declare(t, b, "dead")
				declareQueue(t, b, "q", &workqueue.QueueConfig{
					DeliveryLimit: 2, DeadLetter: toDead, MaxPriority: 3, MaxLength: 1, Overflow: workqueue.RejectPublish,
				})
				m := workqueue.Message{Body: make([]byte, 2<<10), Priority: 2, TTL: time.Hour, UniqueKey: "u", MessageID: "id"}
				require.NoError(t, b.Publish(bg, "", "q", m))
				first, _, err := queueOf(t, b, "q").Get(bg)
				require.NoError(t, err)
				other := m
				other.UniqueKey, other.Priority = "", 1
				require.NoError(t, b.Publish(bg, "", "q", other), "there is room while it is out")
				require.NoError(t, first.Requeue(bg, to), "and it is not refused")
				pass(to.Delay)
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.EqualValues(t, 2, st.Ready)

				second, ok, err := queueOf(t, b, "q").Get(bg)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, first.Message, second.Message)
				require.True(t, second.Redelivered)
				require.Equal(t, 2, second.DeliveryCount)

				require.NoError(t, second.Requeue(bg, to))
				pass(to.Delay)
				last, ok, err := queueOf(t, b, "q").Get(bg)
				require.NoError(t, err)
				require.True(t, ok)
				require.EqualValues(t, 1, last.Priority, "the other: the third delivery is over the limit")
				dead, ok, err := queueOf(t, b, "dead").Get(bg)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, workqueue.ReasonDeliveryLimit, dead.Deaths[0].Reason)
			})
		})
	}
}

func TestARequeueWithADelayWaitsAndThenGoesToTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declare(t, b, "q")
		publish(t, b, "q", "late", "1")
		require.NoError(t, get(t, b, "q", "late").Requeue(bg, workqueue.Requeue{Delay: time.Minute}))
		require.Equal(t, []string{"1"}, drain(t, b))
		publish(t, b, "q", "2")
		pass(time.Minute - time.Millisecond)
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.EqualValues(t, 1, st.Delayed)
		pass(time.Millisecond)
		require.Equal(t, []string{"2", "late"}, drain(t, b))
	})
}

func TestARequeueWithADelayExpiresOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declare(t, b, "dead")
		declareQueue(t, b, "q", &workqueue.QueueConfig{DeadLetter: toDead})
		publishTTL(t, b, "m", time.Minute)
		require.NoError(t, get(t, b, "q", "m").Requeue(bg, workqueue.Requeue{Delay: time.Hour}))
		pass(time.Minute - time.Millisecond)
		st, err := queueOf(t, b, "dead").Stats(bg)
		require.NoError(t, err)
		require.Zero(t, st.Ready)
		pass(time.Millisecond)
		get(t, b, "dead", "m")
	})
}

func TestABadRequeueIsRefused(t *testing.T) {
	b := openBroker(t, storetest.Open(t, nil))
	declare(t, b, "q")
	publish(t, b, "q", "m")
	d := get(t, b, "q", "m")
	for _, to := range []workqueue.Requeue{{Delay: -1}, {Delay: workqueue.MaxDelay + 1}, {Head: true, Delay: 1}} {
		require.ErrorIs(t, d.Requeue(bg, to), pebblemq.ErrInvalid)
	}
	require.NoError(t, d.Requeue(bg, workqueue.Requeue{Delay: workqueue.MaxDelay}))
}

func TestARefusedTransactionRequeuesNothing(t *testing.T) {
	for name, to := range map[string]workqueue.Requeue{"tail": {}, "head": {Head: true}, "delay": {Delay: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			db := storetest.Open(t, nil)
			b := openBroker(t, db)
			declare(t, b, "q")
			publish(t, b, "q", "1", "2")
			one, two := get(t, b, "q", "1"), get(t, b, "q", "2")
			require.NoError(t, one.Nack(bg, true))
			err := db.Update(bg, func(tx *pebblemq.Tx) error {
				if err := b.In(tx).Requeue(two, to); err != nil {
					return err
				}
				return b.In(tx).Publish("", "nowhere", workqueue.Message{Mandatory: true})
			})
			require.ErrorIs(t, err, workqueue.ErrUnroutable)
			require.NoError(t, two.Nack(bg, true), "it is still held, and has its old place")
			require.Equal(t, []string{"1", "2"}, drain(t, b))
		})
	}
}
