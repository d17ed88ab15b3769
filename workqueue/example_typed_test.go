package workqueue_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func ExampleTyped() {
	ctx, stop := context.WithCancel(context.Background())
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	queue, _ := broker.DeclareQueue(ctx, "emails", nil)

	type Email struct{ To, Text string }
	emails := workqueue.Typed(queue, pebblemq.JSON[Email]())
	fmt.Println(emails.Publish(ctx, Email{"ann", "hello"}, nil))

	err := emails.Run(ctx, func(ctx context.Context, e Email, d *workqueue.Delivery) error {
		fmt.Println(e.To, e.Text, d.ContentType)
		stop()
		return nil
	}, nil)
	fmt.Println(err)
	// Output:
	// <nil>
	// ann hello application/json
	// <nil>
}

// A handler stores many values at a time. A body that cannot be decoded fails alone.
func ExampleTypedQueue_RunBatch() {
	ctx, stop := context.WithCancel(context.Background())
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	queue, _ := broker.DeclareQueue(ctx, "points", nil)

	points := workqueue.Typed(queue, pebblemq.JSON[int]())
	for _, n := range []int{1, 2, 3} {
		_ = points.Publish(ctx, n, nil)
	}
	_ = broker.Publish(ctx, "", "points", workqueue.Message{Body: []byte("four")})
	err := points.RunBatch(ctx, func(ctx context.Context, values []int, batch []*workqueue.Delivery) error {
		fmt.Println(values, len(batch))
		stop()
		return nil
	}, &workqueue.RunOptions{BatchSize: 4, BatchWait: time.Minute})
	fmt.Println(err)
	dead, _ := broker.Queue(context.Background(), "points.dead")
	info, _ := dead.Info(context.Background())
	fmt.Println("dead letters:", info.Stats.Ready)
	// Output:
	// [1 2 3] 3
	// <nil>
	// dead letters: 1
}
