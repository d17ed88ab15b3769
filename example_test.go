package pebblemq_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/workqueue"
)

func Example() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil) // or Open("data", nil)
	defer db.Close()
	orders, _ := log.OpenTopic(ctx, db, "orders", nil)
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	emails, _ := broker.DeclareQueue(ctx, "emails", nil)

	err := db.Update(ctx, func(tx *pebblemq.Tx) error { // all of it, or nothing
		_, err := orders.In(tx).Append(log.Record{Key: []byte("42"), Value: []byte("paid")})
		return errors.Join(err,
			broker.In(tx).Publish("", "emails", workqueue.Message{Body: []byte("receipt for 42")}),
			tx.Set([]byte("order/42"), []byte("paid")))
	})
	d, _, _ := emails.Get(ctx)
	fmt.Println(err, string(d.Body), d.Ack(ctx))
	// Output: <nil> receipt for 42 <nil>
}

// One publish, one commit: a job for a worker and a record for every reader of
// the log.
func Example_routing() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	audit, _ := log.OpenTopic(ctx, db, "audit", nil)
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	emails, _ := broker.DeclareQueue(ctx, "emails", nil)
	err := errors.Join(
		broker.DeclareExchange(ctx, "events", workqueue.Topic, nil),
		broker.Bind(ctx, workqueue.Binding{Exchange: "events", Key: "order.#", Queue: "emails"}),
		broker.Bind(ctx, workqueue.Binding{Exchange: "events", Key: "#", Topic: "audit"}),
		broker.Publish(ctx, "events", "order.paid", workqueue.Message{Body: []byte("42")}),
		broker.Publish(ctx, "events", "user.new", workqueue.Message{Body: []byte("ann")}),
	)
	fmt.Println(err)

	st, _ := emails.Stats(ctx)
	fmt.Println("emails:", st.Ready)
	r, _ := audit.NewReader(0, log.Start())
	records, _ := r.Fetch(ctx, 10, 1<<20)
	for _, rec := range records {
		fmt.Printf("audit: %s %s\n", rec.Key, rec.Value)
	}
	// Output:
	// <nil>
	// emails: 1
	// audit: order.paid 42
	// audit: user.new ann
}

func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	db, err := pebblemq.Open(filepath.Join(dir, "store"), &pebblemq.Options{Durability: pebblemq.Sync})
	fmt.Println(err)

	_, err = pebblemq.Open(filepath.Join(dir, "store"), nil)
	fmt.Println(errors.Is(err, pebblemq.ErrLocked))
	fmt.Println(db.Close())
	// Output:
	// <nil>
	// true
	// <nil>
}

func ExampleDB_Update() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()

	transfer := func(tx *pebblemq.Tx) error {
		from, err := tx.Get([]byte("alice"))
		if err != nil {
			return err
		}
		if from == nil {
			return errors.New("alice has no account")
		}
		return errors.Join(tx.Delete([]byte("alice")), tx.Set([]byte("bob"), from))
	}
	fmt.Println(db.Update(ctx, transfer))
	_ = db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("alice"), []byte("10")) })
	fmt.Println(db.Update(ctx, transfer))
	// Output:
	// alice has no account
	// <nil>
}

func ExampleDB_View() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	_ = db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("greeting"), []byte("hello")) })
	_ = db.View(ctx, func(tx *pebblemq.Tx) error {
		v, err := tx.Get([]byte("greeting"))
		fmt.Println(string(v), err)
		return nil
	})
	// Output: hello <nil>
}

func ExampleTx_Scan() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	_ = db.Update(ctx, func(tx *pebblemq.Tx) error {
		for _, key := range []string{"order/2", "order/1", "customer/7"} {
			if err := tx.Set([]byte(key), []byte("x")); err != nil {
				return err
			}
		}
		for e, err := range tx.Scan(&pebblemq.ScanOptions{Prefix: []byte("order/")}) {
			fmt.Println(string(e.Key), err)
		}
		return nil
	})
	// Output:
	// order/1 <nil>
	// order/2 <nil>
}

func ExampleWithDurability() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	events, _ := log.OpenTopic(ctx, db, "clicks", nil)

	fast := pebblemq.WithDurability(ctx, pebblemq.NoSync) // may lose the last 10 ms
	at, err := events.Append(fast, log.Record{Value: []byte("click")})
	fmt.Println(at, err)
	// Output: [{0 0}] <nil>
}

func ExampleDB_Checkpoint() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	db, _ := pebblemq.Open(filepath.Join(dir, "store"), nil)
	defer db.Close()
	_ = db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), []byte("v")) })

	fmt.Println(db.Checkpoint(ctx, filepath.Join(dir, "backup")))
	backup, _ := pebblemq.Open(filepath.Join(dir, "backup"), nil)
	defer backup.Close()
	_ = backup.View(ctx, func(tx *pebblemq.Tx) error {
		v, _ := tx.Get([]byte("k"))
		fmt.Println(string(v))
		return nil
	})
	// Output:
	// <nil>
	// v
}

func ExampleDB_Verify() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	_ = db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), []byte("v")) })

	report, err := db.Verify(ctx, nil) // at 64 MiB per second
	fmt.Println(err, report.Err())
	for _, d := range report.Damages {
		fmt.Println(d) // the file, and which messages it may hold
	}
	// Output: <nil> <nil>
}

func ExampleSalvage() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	broken, saved := filepath.Join(dir, "broken"), filepath.Join(dir, "saved")
	db, _ := pebblemq.Open(broken, nil)
	_ = db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), []byte("v")) })
	_ = db.Close()

	report, err := pebblemq.Salvage(ctx, broken, saved, nil)
	fmt.Println(err, report.Err()) // here nothing was broken
	db, _ = pebblemq.Open(saved, nil)
	defer db.Close()
	_ = db.View(ctx, func(tx *pebblemq.Tx) error {
		v, _ := tx.Get([]byte("k"))
		fmt.Println(string(v))
		return nil
	})
	// Output:
	// <nil> <nil>
	// v
}
