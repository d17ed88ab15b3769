package workqueue_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func ExampleCaller_Call() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	db, err := pebblemq.OpenMemory(nil)
	must(err)
	defer db.Close()
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	must(err)
	shout, err := broker.DeclareQueue(ctx, "shout", nil)
	must(err)
	go func() {
		_ = shout.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
			return d.Reply(ctx, workqueue.Message{Body: bytes.ToUpper(d.Body)})
		}, nil)
	}()

	caller, err := broker.NewCaller(ctx)
	must(err)
	defer caller.Close()
	reply, err := caller.Call(ctx, "", "shout", workqueue.Message{Body: []byte("hello")}, nil)
	must(err)
	fmt.Println(string(reply.Body))
	// Output: HELLO
}

func ExampleBroker_PutJob() {
	ctx := context.Background()
	db, err := pebblemq.OpenMemory(nil)
	must(err)
	defer db.Close()
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	must(err)
	_, err = broker.DeclareQueue(ctx, "reports", nil)
	must(err)
	must(broker.PutJob(ctx, workqueue.Job{ // whenever the service starts
		Name: "nightly", Every: 24 * time.Hour, First: time.Date(2030, 1, 1, 3, 0, 0, 0, time.UTC),
		Key: "reports", Message: workqueue.Message{Body: []byte("yesterday's sales")},
	}))
	jobs, err := broker.Jobs(ctx)
	must(err)
	fmt.Println(jobs[0].Name, jobs[0].Next.UTC())
	// Output: nightly 2030-01-01 03:00:00 +0000 UTC
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Eight handlers at once, but one at a time for each customer, and those in order.
func ExampleQueue_Run_key() {
	db, err := pebblemq.OpenMemory(nil)
	must(err)
	defer db.Close()
	broker, err := workqueue.OpenBroker(bg, db, "main")
	must(err)
	bookings, err := broker.DeclareQueue(bg, "bookings", nil)
	must(err)
	for _, b := range []string{"ann: +10", "bob: +5", "ann: -3", "ann: x2"} {
		customer, _, _ := strings.Cut(b, ":")
		must(broker.Publish(bg, "", "bookings", workqueue.Message{
			Body: []byte(b), Headers: map[string]string{"customer": customer},
		}))
	}

	ctx, stop := context.WithCancel(bg)
	var mu sync.Mutex
	booked := map[string][]string{}
	must(bookings.Run(ctx, func(_ context.Context, d *workqueue.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		customer := d.Headers["customer"]
		booked[customer] = append(booked[customer], string(d.Body))
		if len(booked["ann"]) == 3 && len(booked["bob"]) == 1 {
			stop()
		}
		return nil
	}, &workqueue.RunOptions{
		Concurrency: 8, Key: func(d *workqueue.Delivery) string { return d.Headers["customer"] },
	}))
	fmt.Println(booked)
	// Output:
	// map[ann:[ann: +10 ann: -3 ann: x2] bob:[bob: +5]]
}
