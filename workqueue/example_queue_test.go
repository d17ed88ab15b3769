package workqueue_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// The urgent go first, and the queue holds no more than two.
func ExampleBroker_DeclareQueue() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	mail, _ := broker.DeclareQueue(ctx, "mail", &workqueue.QueueConfig{
		MaxPriority: 9,
		MaxLength:   2,
		Overflow:    workqueue.RejectPublish,
	})

	_ = broker.Publish(ctx, "", "mail", workqueue.Message{Body: []byte("newsletter")})
	_ = broker.Publish(ctx, "", "mail", workqueue.Message{Body: []byte("password reset"), Priority: 9})
	err := broker.Publish(ctx, "", "mail", workqueue.Message{Body: []byte("advertisement")})
	fmt.Println(errors.Is(err, workqueue.ErrQueueFull))

	for range 2 {
		d, _, _ := mail.Get(ctx)
		fmt.Println(string(d.Body), d.Ack(ctx))
	}
	// Output:
	// true
	// password reset <nil>
	// newsletter <nil>
}
