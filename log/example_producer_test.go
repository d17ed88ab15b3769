package log_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func ExampleTopic_AppendWith_producer() {
	db, orders := open(1)
	defer db.Close()
	first := log.Producer{Name: "shop", Number: 0}
	for range 2 { // the second time, the answer to the first was lost
		fmt.Println(orders.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(0), Producer: first}, log.Record{Value: []byte("two teapots")}))
	}
	_, err := orders.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(0), Producer: log.Producer{Name: "shop", Number: 7}}, log.Record{})
	var gap *log.SequenceError
	fmt.Println(errors.As(err, &gap), gap.Expected)
	// Output:
	// [{0 0}] <nil>
	// [{0 0}] <nil>
	// true 1
}

func ExampleTopic_AppendWith_id() {
	db, err := pebblemq.OpenMemory(nil)
	check(err)
	defer db.Close()
	orders, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{DedupeWindow: 5 * time.Minute})
	check(err)
	for range 2 { // the second time, the answer to the first was lost
		fmt.Println(orders.AppendWith(ctx, log.AppendOptions{ID: "order-42"}, log.Record{Value: []byte("two teapots")}))
	}
	// Output:
	// [{0 0}] <nil>
	// [{0 0}] <nil>
}

func ExampleTopic_AppendWith_expectOffset() {
	db, orders := open(1)
	defer db.Close()
	atStart := log.AppendOptions{Partition: log.InPartition(0), ExpectOffset: log.AtOffset(0)}
	_, err := orders.AppendWith(ctx, atStart, log.Record{Value: []byte("opened")})
	check(err)
	_, err = orders.AppendWith(ctx, atStart, log.Record{Value: []byte("opened by another")})
	var conflict *log.ConflictError
	fmt.Println(errors.As(err, &conflict), conflict.Actual)
	// Output: true 1
}

func ExampleTopic_AppendWith_expectLast() {
	db, err := pebblemq.OpenMemory(nil)
	check(err)
	defer db.Close()
	accounts, err := log.OpenTopic(ctx, db, "accounts", &log.TopicConfig{Partitions: 8, IndexKeys: true})
	check(err)
	opened := log.Record{Key: []byte("ann"), Value: []byte("opened")}
	at, err := accounts.AppendWith(ctx, log.AppendOptions{ExpectLast: log.LastAt(log.Nowhere)}, opened)
	check(err)
	_, err = accounts.AppendWith(ctx, log.AppendOptions{ExpectLast: log.LastAt(log.Nowhere)}, opened) // a second time
	fmt.Println(errors.Is(err, log.ErrConflict))
	_, err = accounts.AppendWith(ctx, log.AppendOptions{ExpectLast: log.LastAt(at[0])}, log.Record{Key: []byte("ann"), Value: []byte("closed")})
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
