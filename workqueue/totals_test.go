package workqueue_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func totals(t *testing.T, b *workqueue.Broker, queue string) workqueue.QueueTotals {
	t.Helper()
	info, err := queueOf(t, b, queue).Info(bg)
	require.NoError(t, err)
	return info.Totals
}

func TestTotalsCountWhatHappenedToTheMessagesOfAQueue(t *testing.T) {
	dead := &workqueue.DeadLetter{Key: "dead"}
	for name, c := range map[string]struct {
		config workqueue.QueueConfig
		happen func(t *testing.T, db *pebblemq.DB, b *workqueue.Broker)
		want   workqueue.QueueTotals
		died   uint64 // that came into the other queue
	}{
		"published, delivered, acknowledged": {
			happen: func(t *testing.T, _ *pebblemq.DB, b *workqueue.Broker) {
				require.NoError(t, b.PublishBatch(bg, "", []workqueue.Publishing{{Key: "q"}, {Key: "q"}}))
				c := consume(t, b, "q", 10)
				next(t, c, "")
				require.NoError(t, next(t, c, "").AckUpTo(bg))
			},
			want: workqueue.QueueTotals{Published: 2, Delivered: 2, Acked: 2},
		},
		"a requeued message is delivered again and not published": {
			happen: func(t *testing.T, _ *pebblemq.DB, b *workqueue.Broker) {
				publish(t, b, "q", "m")
				require.NoError(t, get(t, b, "q", "m").Nack(bg, true))
				require.NoError(t, get(t, b, "q", "m").Requeue(bg, workqueue.Requeue{Delay: time.Second}))
				pass(time.Second)
				get(t, b, "q", "m")
			},
			want: workqueue.QueueTotals{Published: 1, Delivered: 3, Redelivered: 2},
		},
		"rejected": {
			config: workqueue.QueueConfig{DeadLetter: dead},
			happen: func(t *testing.T, _ *pebblemq.DB, b *workqueue.Broker) {
				publish(t, b, "q", "m")
				require.NoError(t, get(t, b, "q", "m").Reject(bg))
			},
			want: workqueue.QueueTotals{Published: 1, Delivered: 1, Dead: workqueue.Dead{Rejected: 1}}, died: 1,
		},
		"over the delivery limit, and dropped": {
			config: workqueue.QueueConfig{DeliveryLimit: 1},
			happen: func(t *testing.T, _ *pebblemq.DB, b *workqueue.Broker) {
				publish(t, b, "q", "m")
				require.NoError(t, get(t, b, "q", "m").Nack(bg, true))
				_, ok, err := queueOf(t, b, "q").Get(bg)
				require.NoError(t, err)
				require.False(t, ok)
			},
			want: workqueue.QueueTotals{Published: 1, Delivered: 1, Dead: workqueue.Dead{DeliveryLimit: 1}},
		},
		"expired": {
			config: workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: dead},
			happen: func(t *testing.T, _ *pebblemq.DB, b *workqueue.Broker) {
				publish(t, b, "q", "a")
				publish(t, b, "q", "b")
				pass(time.Second)
			},
			want: workqueue.QueueTotals{Published: 2, Dead: workqueue.Dead{Expired: 2}}, died: 2,
		},
		"one too many": {
			config: workqueue.QueueConfig{MaxLength: 1, DeadLetter: dead},
			happen: func(t *testing.T, _ *pebblemq.DB, b *workqueue.Broker) {
				publish(t, b, "q", "a")
				publish(t, b, "q", "b")
			},
			want: workqueue.QueueTotals{Published: 2, Dead: workqueue.Dead{MaxLen: 1}}, died: 1,
		},
		"what was refused or rolled back does not count": {
			config: workqueue.QueueConfig{MaxLength: 1, Overflow: workqueue.RejectPublish, DeadLetter: dead},
			happen: func(t *testing.T, db *pebblemq.DB, b *workqueue.Broker) {
				publish(t, b, "q", "m")
				require.ErrorIs(t, b.Publish(bg, "", "q", workqueue.Message{}), workqueue.ErrQueueFull)
				d := get(t, b, "q", "m")
				stop := errors.New("stop")
				require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
					require.NoError(t, b.In(tx).Ack(d))
					return stop
				}), stop)
				require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
					require.NoError(t, b.In(tx).Publish("", "dead", workqueue.Message{}))
					require.NoError(t, b.In(tx).Nack(d, false))
					return b.In(tx).Publish("", "nowhere", workqueue.Message{Mandatory: true})
				}), workqueue.ErrUnroutable)
				require.NoError(t, d.Ack(bg))
			},
			want: workqueue.QueueTotals{Published: 1, Delivered: 1, Acked: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, b := open(t)
				declareWith(t, b, c.config)
				declare(t, b, "dead")
				c.happen(t, db, b)
				synctest.Wait()
				require.Equal(t, c.want, totals(t, b, "q"))
				require.Equal(t, workqueue.QueueTotals{Published: c.died}, totals(t, b, "dead"))
			})
		})
	}
}
