package log_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func ExampleTyped() {
	ctx, stop := context.WithCancel(context.Background())
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	topic, _ := log.OpenTopic(ctx, db, "orders", nil)

	type Order struct {
		ID    string
		Total int
	}
	orders := log.Typed(topic, pebblemq.JSON[Order]())
	at, err := orders.Append(ctx, Order{"42", 100}, &log.Record{Key: []byte("42")})
	fmt.Println(at, err)

	billing, _ := orders.OpenGroup(ctx, "billing", nil)
	err = orders.Group(billing).Run(ctx, func(ctx context.Context, o Order, r log.Record) error {
		fmt.Println(o.ID, o.Total, string(r.Key))
		stop()
		return nil
	}, nil)
	fmt.Println(err)
	// Output:
	// {0 0} <nil>
	// 42 100 42
	// <nil>
}

// A handler stores many values at a time. A record that cannot be decoded fails alone.
func ExampleTypedGroup_RunBatch() {
	ctx, stop := context.WithCancel(context.Background())
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	topic, _ := log.OpenTopic(ctx, db, "points", nil)
	_, _ = topic.Append(ctx,
		log.Record{Value: []byte("1")}, log.Record{Value: []byte("2")}, log.Record{Value: []byte("three")}, log.Record{Value: []byte("4")})

	points := log.Typed(topic, pebblemq.JSON[int]())
	totals, _ := topic.OpenGroup(ctx, "totals", nil)
	err := points.Group(totals).RunBatch(ctx, func(ctx context.Context, values []int, batch []log.Record) error {
		fmt.Println(values, "up to offset", batch[len(batch)-1].Offset)
		stop()
		return nil
	}, &log.RunOptions{BatchSize: 4, BatchWait: time.Minute})
	fmt.Println(err)
	// Output:
	// [1 2 4] up to offset 3
	// <nil>
}
