package workqueue_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// waiting prints how many messages are ready in each queue.
func waiting(broker *workqueue.Broker) {
	ctx := context.Background()
	queues, _ := broker.Queues(ctx)
	for _, q := range queues {
		fmt.Println(q.Name, q.Stats.Ready)
	}
}

// A topic exchange compares keys word by word: * is one word, # any number.
func ExampleBroker_Bind_topic() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	_ = broker.DeclareExchange(ctx, "events", workqueue.Topic, nil)
	for queue, pattern := range map[string]string{"all": "#", "orders": "order.#", "europe": "*.*.eu"} {
		_, _ = broker.DeclareQueue(ctx, queue, nil)
		_ = broker.Bind(ctx, workqueue.Binding{Exchange: "events", Queue: queue, Key: pattern})
	}

	for _, key := range []string{"order.paid.eu", "order.sent", "user.joined.eu", "user.left.us"} {
		_ = broker.Publish(ctx, "events", key, workqueue.Message{})
	}
	waiting(broker)
	// Output:
	// all 4
	// europe 2
	// orders 2
}

// A headers exchange compares the headers of a message with the arguments of a
// binding. One that is nil asks for any value.
func ExampleBroker_Bind_headers() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	_ = broker.DeclareExchange(ctx, "files", workqueue.Headers, nil)
	for queue, arguments := range map[string]workqueue.Arguments{
		"large images": {"type": "image", "large": nil},
		"to look at":   {"x-match": "any", "type": "image", "reported": "yes"},
	} {
		_, _ = broker.DeclareQueue(ctx, queue, nil)
		_ = broker.Bind(ctx, workqueue.Binding{Exchange: "files", Queue: queue, Arguments: arguments})
	}

	for _, headers := range []map[string]string{
		{"type": "image"},
		{"type": "image", "large": "40 MB"},
		{"type": "text", "reported": "yes"},
	} {
		_ = broker.Publish(ctx, "files", "", workqueue.Message{Headers: headers})
	}
	waiting(broker)
	// Output:
	// large images 1
	// to look at 3
}

// Exchanges lead to exchanges: here events of all sorts are shared out by
// customer, so that those of one customer keep their order.
func ExampleBroker_Bind_exchange() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	_ = broker.DeclareExchange(ctx, "events", workqueue.Topic, nil)
	_ = broker.DeclareExchange(ctx, "billing", workqueue.Hash, &workqueue.ExchangeConfig{HashHeader: "customer", Internal: true})
	_ = broker.Bind(ctx, workqueue.Binding{Exchange: "events", ToExchange: "billing", Key: "order.#"})
	for _, queue := range []string{"billing 1", "billing 2"} {
		_, _ = broker.DeclareQueue(ctx, queue, nil)
		_ = broker.Bind(ctx, workqueue.Binding{Exchange: "billing", Queue: queue, Key: "1"}) // the weight
	}

	for i := range 30 {
		customer := map[string]string{"customer": fmt.Sprint("c", i%5)}
		_ = broker.Publish(ctx, "events", "order.paid", workqueue.Message{Headers: customer})
	}
	waiting(broker)
	// Output:
	// billing 1 12
	// billing 2 18
}

// A queue for the answers to this process, under a name of the broker's making.
func ExampleBroker_DeclareNewQueue() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")

	answers, err := broker.DeclareNewQueue(ctx, &workqueue.QueueConfig{Exclusive: true})
	fmt.Println(answers.Name()[:8], err)
	_ = broker.Publish(ctx, "", answers.Name(), workqueue.Message{Body: []byte("42")})
	d, _, _ := answers.Get(ctx)
	fmt.Println(string(d.Body))
	// Output:
	// amq.gen- <nil>
	// 42
}

// The outcome of a repeated message is that of the first.
func ExampleBroker_PublishAsync() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	_ = broker.DeclareExchange(ctx, "orders", workqueue.Fanout, &workqueue.ExchangeConfig{DedupeWindow: time.Hour})
	for _, queue := range []string{"invoices", "parcels"} {
		_, _ = broker.DeclareQueue(ctx, queue, nil)
		_ = broker.Bind(ctx, workqueue.Binding{Exchange: "orders", Queue: queue})
	}

	for range 2 {
		published, err := broker.PublishAsync(ctx, "orders", "", workqueue.Message{MessageID: "order 42"}).Wait(ctx)
		fmt.Println(published.Routed, err)
	}
	waiting(broker)
	// Output:
	// 2 <nil>
	// 2 <nil>
	// invoices 1
	// parcels 1
}

func ExampleBroker_Apply() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	_ = broker.DeclareExchange(ctx, "events", workqueue.Topic, nil)

	topology, _ := broker.Export(ctx)
	text, _ := json.Marshal(topology.Exchanges)
	fmt.Println(string(text))

	other, _ := workqueue.OpenBroker(ctx, db, "other")
	applied, err := other.Apply(ctx, topology, nil)
	fmt.Println(applied.Exchanges["events"].Created, err)
	again, err := other.Apply(ctx, topology, &workqueue.ApplyOptions{DryRun: true})
	fmt.Println(len(again.Exchanges), err)
	// Output:
	// [{"name":"events","kind":"topic"}]
	// true <nil>
	// 0 <nil>
}
