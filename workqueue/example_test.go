package workqueue_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func Example() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	_ = broker.DeclareExchange(ctx, "events", workqueue.Topic, nil)
	invoices, _ := broker.DeclareQueue(ctx, "invoices", nil)
	_ = broker.Bind(ctx, workqueue.Binding{Exchange: "events", Queue: "invoices", Key: "order.#"})

	_ = broker.Publish(ctx, "events", "order.paid.eu", workqueue.Message{Body: []byte("order 42")})

	consumer, _ := invoices.Consume(ctx, nil)
	defer consumer.Close()
	for d, err := range consumer.Deliveries(ctx) {
		if err != nil {
			break
		}
		fmt.Println(string(d.Body), d.RoutingKey, d.Ack(ctx))
		break
	}
	// Output: order 42 order.paid.eu <nil>
}

func ExampleBroker_Publish() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")

	fmt.Println(broker.Publish(ctx, "", "emals", workqueue.Message{Body: []byte("welcome")}))
	// Output: workqueue: unknown queue: "emals", which a message for the default exchange names
}

func ExampleDelivery_Nack() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	failed, _ := broker.DeclareQueue(ctx, "failed", nil)
	jobs, _ := broker.DeclareQueue(ctx, "jobs", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "failed"}})
	_ = broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte("job")})

	d, _, _ := jobs.Get(ctx)
	_ = d.Nack(ctx, true) // back to its old place
	d, _, _ = jobs.Get(ctx)
	fmt.Println(d.Redelivered, d.DeliveryCount)
	_ = d.Nack(ctx, false) // to the dead letter place
	d, _, _ = failed.Get(ctx)
	fmt.Println(string(d.Body), d.Deaths[0].Reason)
	// Output:
	// true 2
	// job rejected
}

func ExampleBrokerTx_Ack() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	jobs, _ := broker.DeclareQueue(ctx, "jobs", nil)
	_ = broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte("job")})

	d, _, _ := jobs.Get(ctx)
	err := db.Update(ctx, func(tx *pebblemq.Tx) error { // the effect and the ack are one commit
		return errors.Join(tx.Set([]byte("done"), d.Body), broker.In(tx).Ack(d))
	})
	fmt.Println(err, d.Ack(ctx))
	// Output: <nil> workqueue: delivery is settled already: queue "jobs"
}

func ExampleQueue_Run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	jobs, _ := broker.DeclareQueue(ctx, "jobs", nil)
	_ = broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte("job")})

	err := jobs.Run(ctx, func(_ context.Context, d *workqueue.Delivery) error {
		fmt.Println("doing", string(d.Body), d.DeliveryCount)
		if d.DeliveryCount == 1 {
			return errors.New("not this time")
		}
		cancel()
		return nil
	}, nil)
	fmt.Println(err)
	// Output:
	// doing job 1
	// doing job 2
	// <nil>
}
