package workqueue_test

import (
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// A job that is asked for again while it waits or runs is there once.
func ExampleBroker_PublishAsync_duplicates() {
	db, err := pebblemq.OpenMemory(nil)
	must(err)
	defer db.Close()
	broker, err := workqueue.OpenBroker(bg, db, "main")
	must(err)
	_, err = broker.DeclareQueue(bg, "reindex", nil)
	must(err)

	for _, id := range []string{"job-1", "job-2"} {
		published, err := broker.PublishAsync(bg, "", "reindex", workqueue.Message{MessageID: id, UniqueKey: "customer/42"}).Wait(bg)
		must(err)
		for _, d := range published.Duplicates {
			fmt.Printf("%s: %s is in %s already\n", id, d.MessageID, d.Queue)
		}
	}
	// Output:
	// job-2: job-1 is in reindex already
}
