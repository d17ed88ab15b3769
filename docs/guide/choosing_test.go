package guide_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

func route(ctx context.Context, broker *workqueue.Broker) error {
	_, err := broker.Apply(ctx, &workqueue.Topology{
		Exchanges: []workqueue.ExchangeDefinition{{Name: "events", Kind: workqueue.Topic}},
		Queues:    []workqueue.QueueDefinition{{Name: "emails"}},
		Bindings: []workqueue.Binding{
			{Exchange: "events", Key: "order.#", Queue: "emails"},
			{Exchange: "events", Key: "#", Topic: "audit"},
			{Exchange: "events", Key: "order.paid", VisibilityQueue: "shipping"},
		},
	}, nil)
	return err
}

func moveOn(db *pebblemq.DB, broker *workqueue.Broker, slow *visibility.Queue) workqueue.Handler {
	return func(ctx context.Context, d *workqueue.Delivery) error {
		return db.Update(ctx, func(tx *pebblemq.Tx) error {
			if _, err := slow.In(tx).Send(visibility.Message{ID: d.MessageID, Body: d.Body}); err != nil {
				return err
			}
			return broker.In(tx).Ack(d)
		})
	}
}

func TestAPublishReachesAllThreeKindsOfQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		audit, err := log.OpenTopic(ctx, db, "audit", nil)
		require.NoError(t, err)
		shipping := openQueue(t, db, "shipping", nil)
		broker := openBroker(t, db)
		require.NoError(t, route(ctx, broker))
		require.NoError(t, route(ctx, broker), "again")

		require.NoError(t, broker.Publish(ctx, "events", "order.paid", workqueue.Message{Body: []byte("42")}))
		emails, err := broker.Queue(ctx, "emails")
		require.NoError(t, err)
		pebblemqtest.RequirePublished(t, emails, nil)
		pebblemqtest.RequireSent(t, shipping, nil)
		r := pebblemqtest.RequireAppended(t, audit, nil)
		require.Equal(t, "order.paid", string(r.Key))
	})
}

func TestAMessageMovesToAnotherKindOfQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		slow := openQueue(t, db, "slow", nil)
		broker := openBroker(t, db)
		jobs := declare(t, broker, "jobs", nil)
		require.NoError(t, broker.Publish(ctx, "", "jobs", workqueue.Message{MessageID: "1", Body: []byte("film")}))

		d, ok, err := jobs.Get(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, moveOn(db, broker, slow)(ctx, d))
		pebblemqtest.RequireSent(t, slow, pebblemqtest.SentLike(visibility.Message{ID: "1"}))
		require.Error(t, moveOn(db, broker, slow)(ctx, d), "a second time")
	})
}
