package log_test

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// A replay of what there is now ends by itself; here it may begin below the
// start.
func ExampleReader_Until() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	for i := range 5 {
		_, err := orders.Append(ctx, log.Record{Value: fmt.Append(nil, "order ", i)})
		check(err)
	}
	check(orders.TrimTo(ctx, 0, log.Offset(2)))

	r, err := orders.NewReader(0, log.Offset(0).Or(log.Earliest))
	check(err)
	check(r.Until(log.End()))
	for rec, err := range r.Records(ctx) {
		check(err)
		fmt.Printf("%s\n", rec.Value)
	}
	fmt.Println("skipped", r.Skipped())
	// Output:
	// order 2
	// order 3
	// order 4
	// skipped 2
}

func ExampleTopicConfig() {
	db, err := pebblemq.OpenMemory(nil)
	check(err)
	defer db.Close()

	_, err = log.OpenTopic(ctx, db, "documents", &log.TopicConfig{
		Compression:    log.Zstd,
		MaxRecordBytes: 8 << 20,
		TimestampType:  log.AppendTime,
	})
	check(err)
	// Output:
}
