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
	shop, err := orders.OpenProducer(ctx, "shop")
	check(err)
	first := log.AppendOptions{Partition: log.InPartition(0), Producer: shop, Number: 0}
	for range 2 { // the second time, the answer to the first was lost
		fmt.Println(orders.AppendWith(ctx, first, log.Record{Value: []byte("two teapots")}))
	}
	_, err = orders.AppendWith(ctx, first, log.Record{Value: []byte("a kettle")})
	fmt.Println(errors.Is(err, log.ErrNumberReused))
	_, err = orders.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(0), Producer: shop, Number: 7}, log.Record{})
	var gap *log.SequenceError
	fmt.Println(errors.As(err, &gap), gap.Expected)
	// Output:
	// [{0 0}] <nil>
	// [{0 0}] <nil>
	// true
	// true 1
}

// A program copies the lines of a file to a topic, each once. After a restart it goes on where
// it was. If the process before is still running somewhere, it is fenced.
func ExampleTopic_OpenProducer() {
	db, orders := open(1)
	defer db.Close()
	lines := []string{"two teapots", "a kettle", "six cups"}
	copyLines := func(most int) (*log.Producer, error) {
		p, err := orders.OpenProducer(ctx, "shop.csv")
		if err != nil {
			return nil, err
		}
		next, err := p.Next(ctx, 0) // of the records, and so of the lines
		if err != nil {
			return nil, err
		}
		for n := next; n < min(next+int64(most), int64(len(lines))); n++ {
			line := log.AppendOptions{Partition: log.InPartition(0), Producer: p, Number: n}
			if _, err := orders.AppendWith(ctx, line, log.Record{Value: []byte(lines[n])}); err != nil {
				return nil, err
			}
			fmt.Println("epoch", p.Epoch(), "copies", lines[n])
		}
		return p, nil
	}
	zombie, err := copyLines(2) // and then it is restarted
	check(err)
	_, err = copyLines(100)
	check(err)
	late := log.AppendOptions{Partition: log.InPartition(0), Producer: zombie, Number: 2}
	_, err = orders.AppendWith(ctx, late, log.Record{Value: []byte(lines[2])})
	fmt.Println(errors.Is(err, log.ErrProducerFenced))
	// Output:
	// epoch 1 copies two teapots
	// epoch 1 copies a kettle
	// epoch 2 copies six cups
	// true
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
