package visibility_test

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/visibility"
)

// A FIFO queue: what concerns one account is done in order, one after the other;
// the accounts do not wait for each other.
func ExampleQueueConfig_fIFO() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	bookings, err := visibility.OpenQueue(ctx, db, "bookings", &visibility.QueueConfig{FIFO: true})
	if err != nil {
		panic(err)
	}
	for _, b := range []struct{ account, text string }{{"ada", "opens"}, {"ada", "pays in"}, {"bob", "opens"}} {
		if _, err := bookings.Send(ctx, visibility.Message{Group: b.account, Body: []byte(b.text)}); err != nil {
			panic(err)
		}
	}
	next := func() *visibility.Received {
		messages, err := bookings.Receive(ctx, nil)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s %s\n", messages[0].Group, messages[0].Body)
		return messages[0]
	}
	first := next()
	next() // ada's next waits for her first
	if err := bookings.Delete(ctx, first.Receipt); err != nil {
		panic(err)
	}
	next()
	// Output:
	// ada opens
	// bob opens
	// ada pays in
}
