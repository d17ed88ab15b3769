package log_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// open is what the examples begin with: a store in memory and a topic.
func open(partitions int) (*pebblemq.DB, *log.Topic) {
	db, err := pebblemq.OpenMemory(nil)
	check(err)
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: partitions})
	check(err)
	return db, topic
}

func ExampleOpenTopic() {
	db, err := pebblemq.OpenMemory(nil)
	check(err)
	defer db.Close()

	orders, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 4})
	check(err)
	fmt.Println(orders.Name(), orders.Partitions())

	_, err = log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 8})
	fmt.Println(errors.Is(err, pebblemq.ErrConfigMismatch))
	// Output:
	// orders 4
	// true
}

func ExampleTopic_Append() {
	db, orders := open(4)
	defer db.Close()

	at, err := orders.Append(context.Background(),
		log.Record{Key: []byte("42"), Value: []byte("created")},
		log.Record{Key: []byte("42"), Value: []byte("paid")},
		log.Record{Key: []byte("43"), Value: []byte("created")},
	)
	check(err)
	for _, p := range at {
		fmt.Println("partition", p.Partition, "offset", p.Offset)
	}
	// Output:
	// partition 0 offset 0
	// partition 0 offset 1
	// partition 2 offset 0
}

func ExampleTopic_AppendAsync() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()

	var pending []*pebblemq.Future[[]log.Position]
	for i := range 3 { // all three share an fsync
		pending = append(pending, orders.AppendAsync(ctx, log.Record{Value: fmt.Append(nil, i)}))
	}
	for _, r := range pending {
		at, err := r.Wait(ctx)
		check(err)
		fmt.Println("durable at", at[0].Offset)
	}
	// Output:
	// durable at 0
	// durable at 1
	// durable at 2
}

func ExampleTopic_Flush() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()

	var last *pebblemq.Future[[]log.Position]
	for i := range 1000 {
		last = orders.AppendAsync(ctx, log.Record{Value: fmt.Append(nil, i)})
	}
	check(orders.Flush(ctx)) // all are durable now
	_, err := last.Wait(ctx) // at once; this is where an append tells its error
	check(err)
	_, end, err := orders.Offsets(ctx, 0)
	check(err)
	fmt.Println(end, "records")
	// Output:
	// 1000 records
}

func ExampleTopic_SetPartitioner() {
	db, orders := open(4)
	defer db.Close()

	orders.SetPartitioner(func(r log.Record, partitions int) int {
		return len(r.Key) % partitions
	})
	at, err := orders.Append(context.Background(), log.Record{Key: []byte("abc")})
	check(err)
	fmt.Println("partition", at[0].Partition)
	// Output:
	// partition 3
}

func ExampleTopic_Alter() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()

	config := orders.Config()
	config.Partitions = 2 // and no record moves
	check(orders.Alter(ctx, &config))
	at, err := orders.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(1)}, log.Record{Value: []byte("paid")})
	check(err)
	fmt.Println(orders.Partitions(), "partitions, appended at", at[0])
	// Output:
	// 2 partitions, appended at {1 0}
}

func ExampleTopic_In() {
	db, orders := open(1)
	defer db.Close()

	var appended *log.Placement
	err := db.Update(context.Background(), func(tx *pebblemq.Tx) (err error) {
		if appended, err = orders.In(tx).Append(log.Record{Value: []byte("paid")}); err != nil {
			return err
		}
		return tx.Set([]byte("balance/42"), []byte("0"))
	})
	check(err)
	at, err := appended.Positions()
	check(err)
	fmt.Println(at[0].Offset)
	// Output: 0
}

func ExampleTopic_NewReader() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	for _, v := range []string{"a", "b", "c"} {
		_, err := orders.Append(ctx, log.Record{Value: []byte(v)})
		check(err)
	}

	r, err := orders.NewReader(0, log.Offset(1))
	check(err)
	for rec, err := range r.Records(ctx) { // waits for more at the end
		check(err)
		fmt.Println(rec.Offset, string(rec.Value))
		if rec.Offset == 2 {
			break
		}
	}

	_, err = orders.NewReader(0, log.Offset(7))
	fmt.Println(err)
	// Output:
	// 1 b
	// 2 c
	// log: offset out of range: topic "orders", partition 0: 7 is not between start 0 and end 3
}

func ExampleReader_Fetch() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	_, err := orders.Append(ctx, log.Record{Value: []byte("a")}, log.Record{Value: []byte("b")})
	check(err)

	r, err := orders.NewReader(0, log.Start())
	check(err)
	for {
		found, err := r.Fetch(ctx, 100, 1<<20)
		check(err)
		if len(found) == 0 {
			break // at the end, for now
		}
		fmt.Println(len(found), "records")
	}
	// Output: 2 records
}

func ExampleTopic_OffsetAt() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		_, err := orders.Append(ctx, log.Record{Timestamp: noon.Add(time.Duration(i) * time.Hour)})
		check(err)
	}

	fmt.Println(orders.OffsetAt(ctx, 0, noon.Add(30*time.Minute)))
	fmt.Println(orders.OffsetAt(ctx, 0, noon.Add(9*time.Hour)))
	// Output:
	// 1 true <nil>
	// 0 false <nil>
}

func ExampleTopic_TrimTo() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	for range 5 {
		_, err := orders.Append(ctx, log.Record{})
		check(err)
	}

	check(orders.TrimTo(ctx, 0, log.Offset(3)))
	fmt.Println(orders.Offsets(ctx, 0))
	// Output: 3 5 <nil>
}

func ExampleGroup_Run() {
	db, orders := open(2)
	defer db.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := orders.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(1)}, log.Record{Value: []byte("created")}, log.Record{Value: []byte("paid")})
	check(err)

	billing, err := orders.OpenGroup(ctx, "billing", nil)
	check(err)
	err = billing.Run(ctx, func(_ context.Context, r log.Record) error {
		fmt.Println(string(r.Value))
		if string(r.Value) == "paid" {
			cancel()
		}
		return nil
	}, nil)
	fmt.Println(err)
	lags, err := billing.Lag(context.Background())
	check(err)
	fmt.Println("committed", lags[1].Committed)
	// Output:
	// created
	// paid
	// <nil>
	// committed 2
}

// One Run reads two topics, and hears which partitions of each it has.
func ExampleGroup_Run_topics() {
	db, orders := open(2)
	defer db.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	refunds, err := log.OpenTopic(ctx, db, "refunds", nil)
	check(err)
	for _, topic := range []*log.Topic{orders, refunds} {
		_, err := topic.Append(ctx, log.Record{Value: []byte("new")})
		check(err)
	}

	billing, err := orders.OpenGroup(ctx, "billing", nil)
	check(err)
	tell := func(what string) func(context.Context, *log.Member, []int) {
		return func(_ context.Context, m *log.Member, partitions []int) {
			fmt.Println(what, m.Group().Topic().Name(), partitions)
		}
	}
	handled := 0
	err = billing.Run(ctx, func(_ context.Context, r log.Record) error {
		fmt.Println(r.Topic(), string(r.Value))
		if handled++; handled == 2 {
			cancel()
		}
		return nil
	}, &log.RunOptions{Topics: []*log.Topic{refunds}, OnAssigned: tell("has"), OnRevoked: tell("gives up")})
	fmt.Println(err)
	// Unordered output:
	// has orders [0 1]
	// has refunds [0]
	// orders new
	// refunds new
	// gives up orders [0 1]
	// gives up refunds [0]
	// <nil>
}

// The effect of a record and the commit of its offset are one change: it happens
// exactly once, whatever crashes.
func ExampleMember_In() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	_, err := orders.Append(ctx, log.Record{Key: []byte("42"), Value: []byte("paid")})
	check(err)
	billing, err := orders.OpenGroup(ctx, "billing", nil)
	check(err)
	m, err := billing.Join(ctx, nil)
	check(err)

	records, err := m.Poll(ctx, 100)
	check(err)
	err = db.Update(ctx, func(tx *pebblemq.Tx) error {
		for _, r := range records {
			if err := tx.Set(append([]byte("state/"), r.Key...), r.Value); err != nil {
				return err
			}
		}
		return m.In(tx).Commit(records...)
	})
	check(err)
	lags, err := billing.Lag(ctx)
	check(err)
	fmt.Println(lags[0].Records, "behind")
	// Output: 0 behind
}

func ExampleMember_Commit() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	_, err := orders.Append(ctx, log.Record{Value: []byte("a")}, log.Record{Value: []byte("b")})
	check(err)
	billing, err := orders.OpenGroup(ctx, "billing", nil)
	check(err)
	first, err := billing.Join(ctx, nil)
	check(err)
	records, err := first.Poll(ctx, 2)
	check(err)
	check(first.Commit(ctx, records[0]))
	check(first.Leave(ctx)) // with b in hand

	second, err := billing.Join(ctx, nil)
	check(err)
	again, err := second.Poll(ctx, 2)
	check(err)
	fmt.Println(string(again[0].Value))
	fmt.Println(first.Commit(ctx, records[1]))
	// Output:
	// b
	// log: assignment lost: group "billing" of topic "orders", partition 0 went to another member, or Seek moved it: epoch 1, now 2
}

func ExampleGroup_Seek() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	_, err := orders.Append(ctx, log.Record{Value: []byte("a")}, log.Record{Value: []byte("b")})
	check(err)
	billing, err := orders.OpenGroup(ctx, "billing", &log.GroupConfig{From: log.End()})
	check(err)

	check(billing.Seek(ctx, log.Start())) // replay
	lags, err := billing.Lag(ctx)
	check(err)
	fmt.Println(lags[0].Records, "behind")
	// Output: 2 behind
}
