package workqueue_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// What cannot be done now goes to the end of the queue, so that others have their turn.
func ExampleDelivery_Requeue() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.Open(db, "main")
	_ = broker.DeclareQueue(ctx, "jobs", nil)
	for _, job := range []string{"big", "small"} {
		_ = broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte(job)})
	}

	d, _, _ := broker.Get(ctx, "jobs")
	fmt.Println(string(d.Body), d.Requeue(ctx, workqueue.Requeue{}))
	for range 2 {
		d, _, _ = broker.Get(ctx, "jobs")
		fmt.Println(string(d.Body), d.DeliveryCount, d.Ack(ctx))
	}
	// Output:
	// big <nil>
	// small 1 <nil>
	// big 2 <nil>
}

// A failed message waits before it is delivered again, longer each time.
func ExampleQueueConfig_retry() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.Open(db, "main")
	_ = broker.DeclareQueue(ctx, "calls", &workqueue.QueueConfig{
		Retry: &pebblemq.Backoff{Min: 10 * time.Millisecond, Max: time.Second},
	})
	_ = broker.Publish(ctx, "", "calls", workqueue.Message{Body: []byte("partner")})

	c, _ := broker.Consume(ctx, "calls", nil)
	defer c.Close()
	d, _ := c.Next(ctx)
	_ = d.Nack(ctx, true)
	st, _ := broker.QueueStats(ctx, "calls")
	fmt.Println("waiting:", st.Delayed)
	d, _ = c.Next(ctx) // after some milliseconds
	fmt.Println(string(d.Body), d.DeliveryCount, d.Ack(ctx))
	// Output:
	// waiting: 1
	// partner 2 <nil>
}

// Between two looks the totals give the rates.
func ExampleBroker_QueueTotals() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.Open(db, "main")
	_ = broker.DeclareQueue(ctx, "jobs", nil)
	for range 3 {
		_ = broker.Publish(ctx, "", "jobs", workqueue.Message{})
	}
	first, _, _ := broker.Get(ctx, "jobs")
	_ = first.Ack(ctx)
	second, _, _ := broker.Get(ctx, "jobs")
	_ = second.Reject(ctx)

	t, _ := broker.QueueTotals(ctx, "jobs")
	fmt.Println(t.Published, t.Delivered, t.Acked, t.Dead.Rejected)
	// Output: 3 2 1 1
}
