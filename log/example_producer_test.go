package log_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func ExampleTopic_AppendOnce() {
	db, orders := open(1)
	defer db.Close()
	first := log.Sequence{Producer: "shop", Number: 0}
	for range 2 { // the second time, the answer to the first was lost
		fmt.Println(orders.AppendOnce(ctx, 0, first, log.Record{Value: []byte("two teapots")}))
	}
	_, err := orders.AppendOnce(ctx, 0, log.Sequence{Producer: "shop", Number: 7}, log.Record{})
	var gap *log.SequenceError
	fmt.Println(errors.As(err, &gap), gap.Expected)
	// Output:
	// [{0 0}] <nil>
	// [{0 0}] <nil>
	// true 1
}

func ExampleTopic_AppendUnique() {
	db, err := pebblemq.OpenMemory(nil)
	check(err)
	defer db.Close()
	orders, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{DedupeWindow: 5 * time.Minute})
	check(err)
	for range 2 { // the second time, the answer to the first was lost
		fmt.Println(orders.AppendUnique(ctx, "order-42", log.Record{Value: []byte("two teapots")}))
	}
	// Output:
	// [{0 0}] <nil>
	// [{0 0}] <nil>
}

func ExampleTopic_AppendAt() {
	db, orders := open(1)
	defer db.Close()
	_, err := orders.AppendAt(ctx, 0, 0, log.Record{Value: []byte("opened")})
	check(err)
	_, err = orders.AppendAt(ctx, 0, 0, log.Record{Value: []byte("opened by another")})
	var conflict *log.ConflictError
	fmt.Println(errors.As(err, &conflict), conflict.Actual)
	// Output: true 1
}

func ExampleTopic_AppendAfter() {
	db, err := pebblemq.OpenMemory(nil)
	check(err)
	defer db.Close()
	accounts, err := log.OpenTopic(ctx, db, "accounts", &log.TopicConfig{Partitions: 8, IndexKeys: true})
	check(err)
	opened := log.Record{Key: []byte("ann"), Value: []byte("opened")}
	at, err := accounts.AppendAfter(ctx, log.Nowhere, opened)
	check(err)
	_, err = accounts.AppendAfter(ctx, log.Nowhere, opened) // a second time
	fmt.Println(errors.Is(err, log.ErrConflict))
	_, err = accounts.AppendAfter(ctx, at[0], log.Record{Key: []byte("ann"), Value: []byte("closed")})
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

func ExampleTopic_Latest() {
	db, err := pebblemq.OpenMemory(nil)
	check(err)
	defer db.Close()
	prices, err := log.OpenTopic(ctx, db, "prices", &log.TopicConfig{Compact: true, IndexKeys: true})
	check(err)
	for _, price := range []string{"12", "13"} {
		_, err := prices.Append(ctx, log.Record{Key: []byte("teapot"), Value: []byte(price)})
		check(err)
	}
	r, found, err := prices.Latest(ctx, []byte("teapot"))
	check(err)
	fmt.Println(found, string(r.Value))
	// Output: true 13
}
