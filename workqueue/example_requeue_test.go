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
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	jobs, _ := broker.DeclareQueue(ctx, "jobs", nil)
	for _, job := range []string{"big", "small"} {
		_ = broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte(job)})
	}

	d, _, _ := jobs.Get(ctx)
	fmt.Println(string(d.Body), d.Requeue(ctx, workqueue.Requeue{}))
	for range 2 {
		d, _, _ = jobs.Get(ctx)
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
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	calls, _ := broker.DeclareQueue(ctx, "calls", &workqueue.QueueConfig{
		Retry: &pebblemq.Backoff{Min: 10 * time.Millisecond, Max: time.Second},
	})
	_ = broker.Publish(ctx, "", "calls", workqueue.Message{Body: []byte("partner")})

	c, _ := calls.Consume(ctx, nil)
	defer c.Close()
	d, _ := c.Next(ctx)
	_ = d.Nack(ctx, true)
	st, _ := calls.Stats(ctx)
	fmt.Println("waiting:", st.Delayed)
	d, _ = c.Next(ctx) // after some milliseconds
	fmt.Println(string(d.Body), d.DeliveryCount, d.Ack(ctx))
	// Output:
	// waiting: 1
	// partner 2 <nil>
}

// Between two looks the totals give the rates.
func ExampleQueue_Info() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	jobs, _ := broker.DeclareQueue(ctx, "jobs", nil)
	for range 3 {
		_ = broker.Publish(ctx, "", "jobs", workqueue.Message{})
	}
	first, _, _ := jobs.Get(ctx)
	_ = first.Ack(ctx)
	second, _, _ := jobs.Get(ctx)
	_ = second.Reject(ctx)

	info, _ := jobs.Info(ctx)
	t := info.Totals
	fmt.Println(t.Published, t.Delivered, t.Acked, t.Dead.Rejected)
	// Output: 3 2 1 1
}
