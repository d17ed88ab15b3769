package guide_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/workqueue"
)

func declareAll(ctx context.Context, db *pebblemq.DB, definitions []byte) (*workqueue.Broker, error) {
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	if err != nil {
		return nil, err
	}
	topology, err := workqueue.ParseTopology(definitions)
	if err != nil {
		return nil, err
	}
	_, err = broker.Apply(ctx, topology, nil)
	return broker, err
}

var definitions = []byte(`{
	"exchanges": [{"name": "orders", "kind": "topic"}],
	"queues": [
		{"name": "failed"},
		{"name": "emails", "deliveryLimit": 5, "maxLength": 10000, "overflow": "reject-publish", "deadLetter": {"key": "failed"}}
	],
	"bindings": [{"exchange": "orders", "key": "order.*.paid", "queue": "emails"}]
}`)

func publish(ctx context.Context, broker *workqueue.Broker, body []byte) error {
	// Nil is basic.ack: every queue has the message, on disk. ErrUnroutable is basic.return,
	// ErrQueueFull is basic.nack: no queue has it.
	return broker.Publish(ctx, "orders", "order.42.paid", workqueue.Message{
		Body: body, ContentType: "application/json", MessageID: "42", Mandatory: true,
	})
}

func consumeEmails(ctx context.Context, emails *workqueue.Queue, send func([]byte) error) (err error) {
	consumer, err := emails.Consume(ctx, &workqueue.ConsumeOptions{Prefetch: 10})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, consumer.Close()) }() // gives back what is not settled
	for d, err := range consumer.Deliveries(ctx) {
		if err != nil {
			return err
		}
		settle := d.Ack
		if send(d.Body) != nil {
			settle = func(ctx context.Context) error { return d.Nack(ctx, true) }
		}
		if err := settle(ctx); err != nil && !errors.Is(err, workqueue.ErrDeliveryLost) {
			return err
		}
	}
	return nil
}

func runEmails(ctx context.Context, emails *workqueue.Queue, send func([]byte) error) error {
	return emails.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
		return send(d.Body)
	}, &workqueue.RunOptions{Concurrency: 10})
}

func openBrokerWith(t *testing.T, db *pebblemq.DB) (*workqueue.Broker, *workqueue.Queue, *workqueue.Queue) {
	broker, err := declareAll(t.Context(), db, definitions)
	require.NoError(t, err)
	_, err = declareAll(t.Context(), db, definitions)
	require.NoError(t, err, "again")
	return broker, must(broker.Queue(t.Context(), "emails")), must(broker.Queue(t.Context(), "failed"))
}

func TestDefinitionsPublishAndConsume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		broker, emails, failed := openBrokerWith(t, db)
		require.NoError(t, publish(t.Context(), broker, []byte("good")))
		require.NoError(t, publish(t.Context(), broker, []byte("bad")))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- consumeEmails(ctx, emails, func(body []byte) error {
				if string(body) == "bad" {
					return errors.New("bad")
				}
				return nil
			})
		}()
		pebblemqtest.WaitIdle(t, db)
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		m := pebblemqtest.RequirePublished(t, failed, nil)
		require.Equal(t, "bad", string(m.Body))
		require.Equal(t, workqueue.ReasonDeliveryLimit, m.Deaths[0].Reason)

		require.NoError(t, publish(t.Context(), broker, []byte("good")))
		runs(t, func(ctx context.Context) error {
			return runEmails(ctx, emails, func([]byte) error { return nil })
		})
		pebblemqtest.WaitIdle(t, db)
		require.ErrorIs(t, broker.Publish(t.Context(), "orders", "user.new", workqueue.Message{Mandatory: true}), workqueue.ErrUnroutable)
	})
}

// Where the work queue departs from RabbitMQ, as far as the reference does not say so.
func TestDeparturesFromRabbitMQ(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		ctx := t.Context()
		broker := openBroker(t, db)
		jobs := declare(t, broker, "jobs", nil)
		put := func(m workqueue.Message) { require.NoError(t, broker.Publish(ctx, "", "jobs", m)) }
		get := func() *workqueue.Delivery {
			d, ok, err := jobs.Get(ctx)
			require.NoError(t, err)
			require.True(t, ok)
			return d
		}
		require.ErrorIs(t, broker.Publish(ctx, "", "jbos", workqueue.Message{}), workqueue.ErrUnknownQueue)
		_, err := broker.DeclareQueue(ctx, "amq.mine", nil)
		require.Error(t, err)
		require.ErrorIs(t, broker.Unbind(ctx, workqueue.Binding{Exchange: "none", Queue: "jobs"}), pebblemq.ErrNotFound)
		require.ErrorIs(t, broker.DeleteExchange(ctx, "none"), workqueue.ErrUnknownExchange)
		require.ErrorIs(t, broker.Publish(ctx, "", "jobs", workqueue.Message{Body: make([]byte, workqueue.MaxBodyBytes+1)}), pebblemq.ErrTooLarge)

		require.NoError(t, broker.DeclareExchange(ctx, "events", workqueue.Topic, nil))
		require.ErrorIs(t, broker.Bind(ctx, workqueue.Binding{Exchange: "events", Key: "a#b", Queue: "jobs"}), pebblemq.ErrInvalid)

		// The first delivery has count 1, and an unsettled one of Get belongs to the process.
		put(workqueue.Message{Body: []byte("1")})
		d := get()
		require.Equal(t, 1, d.DeliveryCount)
		require.False(t, d.Redelivered)
		require.NoError(t, d.Release(ctx, 0))
		d = get()
		require.Equal(t, 1, d.DeliveryCount, "released, uncounted")
		require.NoError(t, d.Reject(ctx))
		require.ErrorIs(t, d.Ack(ctx), workqueue.ErrSettled)
		pebblemqtest.RequirePublished(t, must(broker.Queue(ctx, "jobs.dead")), nil)

		// A TTL is exact behind a message without one.
		put(workqueue.Message{Body: []byte("first")})
		put(workqueue.Message{Body: []byte("second"), TTL: time.Second})
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 1, must(jobs.Stats(ctx)).Ready)
		_, err = broker.Queue(ctx, "jobs.dead")
		require.NoError(t, err)
		require.EqualValues(t, 1, must(must(broker.Queue(ctx, "jobs.dead")).Stats(ctx)).Ready, "an expired one is dropped by default")

		// An ack timeout gives the message back, and the consumer goes on.
		c := must(jobs.Consume(ctx, nil))
		d = must(c.Next(ctx))
		time.Sleep(32 * time.Minute)
		require.ErrorIs(t, d.Ack(ctx), workqueue.ErrDeliveryLost)
		d = must(c.Next(ctx))
		require.NoError(t, d.Ack(ctx))
		require.NoError(t, c.Close())

		single := declare(t, broker, "single", &workqueue.QueueConfig{SingleActive: true})
		c = must(single.Consume(ctx, nil))
		_, _, err = single.Get(ctx)
		require.ErrorIs(t, err, workqueue.ErrInUse)
		require.NoError(t, c.Close())
		require.NoError(t, single.Delete(ctx))
		_, err = broker.Queue(ctx, "single")
		require.ErrorIs(t, err, workqueue.ErrUnknownQueue)
	})
}
