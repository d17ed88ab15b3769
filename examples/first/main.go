// First is the program of the README: an order is stored, logged and queued in one commit, and a
// handler receives it from the queue.
//
//	go run ./examples/first
//
// It leaves its store in the directory "data" and may be run again.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/workqueue"
)

func main() {
	if err := run(context.Background(), "data"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) (err error) {
	db, err := pebblemq.Open(dir, nil) // OpenMemory(nil) is for tests
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	orders, err := log.OpenTopic(ctx, db, "orders", nil)
	if err != nil {
		return err
	}
	broker, err := workqueue.OpenBroker(ctx, db, "main")
	if err != nil {
		return err
	}
	emails, err := broker.DeclareQueue(ctx, "emails", nil)
	if err != nil {
		return err
	}

	err = db.Update(ctx, func(tx *pebblemq.Tx) error { // one commit: all of it or nothing
		if _, err := orders.In(tx).Append(log.Record{Key: []byte("42"), Value: []byte("paid")}); err != nil {
			return err
		}
		if err := broker.In(tx).Publish("", "emails", workqueue.Message{Body: []byte("receipt for 42")}); err != nil {
			return err
		}
		return tx.Set([]byte("order/42"), []byte("paid"))
	})
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return emails.Run(ctx, func(_ context.Context, d *workqueue.Delivery) error {
		fmt.Printf("sent: %s\n", d.Body)
		stop()     // a service goes on until it is told to end
		return nil // acknowledges the message
	}, nil)
}
