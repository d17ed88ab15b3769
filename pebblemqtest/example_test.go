package pebblemqtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

func ExampleOpen() {
	example(func(t testing.TB) { // as func TestOrders(t *testing.T) would be
		ctx := t.Context()
		db := pebblemqtest.Open(t, nil) // is closed with the test
		orders, _ := log.OpenTopic(ctx, db, "orders", nil)
		at, err := orders.Append(ctx, log.Record{Value: []byte("paid")})
		fmt.Println(at, err)
	})
	// Output: [{0 0}] <nil>
}

func ExampleWaitIdle() {
	example(func(t testing.TB) {
		ctx := t.Context()
		db := pebblemqtest.Open(t, nil)
		broker, _ := workqueue.OpenBroker(ctx, db, "main")
		jobs, _ := broker.DeclareQueue(ctx, "jobs", nil)
		mail, _ := visibility.OpenQueue(ctx, db, "mail", nil)
		go jobs.Run(ctx, func(ctx context.Context, d *workqueue.Delivery) error {
			_, err := mail.Send(ctx, visibility.Message{Body: append([]byte("receipt for "), d.Body...)})
			return err
		}, nil)
		go mail.Run(ctx, func(ctx context.Context, m *visibility.Received) error {
			fmt.Println(string(m.Body))
			return nil
		}, nil)

		_ = broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte("42")})
		pebblemqtest.WaitIdle(t, db)
		fmt.Println("idle")
	})
	// Output:
	// receipt for 42
	// idle
}

func ExampleRequirePublished() {
	example(func(t testing.TB) {
		ctx := t.Context()
		db := pebblemqtest.Open(t, nil)
		broker, _ := workqueue.OpenBroker(ctx, db, "main")
		emails, _ := broker.DeclareQueue(ctx, "emails", nil)
		_ = broker.Publish(ctx, "", "emails", workqueue.Message{Type: "receipt", Body: []byte("42")})

		m := pebblemqtest.RequirePublished(t, emails, pebblemqtest.PublishedLike(workqueue.Message{Type: "receipt"}))
		fmt.Println(string(m.Body))
		pebblemqtest.RequirePublished(t, emails, func(m *workqueue.Browsed) bool { return m.Type == "reminder" })
	})
	// Output:
	// 42
	// FAIL: pebblemqtest: none of the 1 messages in queue "emails" matches:
	// 	key "emails", Type "receipt", Body "42", is ready
}

func ExampleRequireSent() {
	example(func(t testing.TB) {
		ctx := t.Context()
		db := pebblemqtest.Open(t, nil)
		mail, _ := visibility.OpenQueue(ctx, db, "mail", nil)
		_, _ = mail.Send(ctx, visibility.Message{Group: "ann", Body: []byte("hello")})

		m := pebblemqtest.RequireSent(t, mail, pebblemqtest.SentLike(visibility.Message{Group: "ann"}))
		fmt.Println(string(m.Body), m.State)
	})
	// Output: hello visible
}

func ExampleRequireAppended() {
	example(func(t testing.TB) {
		ctx := t.Context()
		db := pebblemqtest.Open(t, nil)
		orders, _ := log.OpenTopic(ctx, db, "orders", nil)
		_, _ = orders.Append(ctx, log.Record{Key: []byte("42"), Value: []byte("paid")})

		r := pebblemqtest.RequireAppended(t, orders, func(r log.Record) bool { return string(r.Key) == "42" })
		fmt.Println(string(r.Value))
	})
	// Output: paid
}

func ExampleDisk() {
	example(func(t testing.TB) {
		ctx := t.Context()
		disk := pebblemqtest.NewDisk()
		db := pebblemqtest.Open(t, &pebblemqtest.Options{Disk: disk})
		set := func(ctx context.Context, key string) error {
			return db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte(key), []byte("x")) })
		}
		disk.Fill()
		for n := 0; ; n++ {
			if err := set(ctx, fmt.Sprint(n)); err != nil {
				fmt.Println("full:", errors.Is(err, pebblemq.ErrDiskFull))
				break
			}
		}
		disk.Free()
	})
	// Output: full: true
}

// The crash takes what was not synced.
func ExampleDisk_Crash() {
	example(func(t testing.TB) {
		ctx := t.Context()
		disk := pebblemqtest.NewDisk()
		options := &pebblemqtest.Options{Disk: disk, Store: &pebblemq.Options{SyncInterval: time.Minute}}
		db := pebblemqtest.Open(t, options)
		set := func(ctx context.Context, key string) error {
			return db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte(key), []byte("x")) })
		}
		_ = set(ctx, "synced")
		_ = set(pebblemq.WithDurability(ctx, pebblemq.NoSync), "relaxed")
		disk.Crash()
		fmt.Println("closed:", errors.Is(db.Err(), pebblemq.ErrClosed))

		db = pebblemqtest.Open(t, options)
		_ = db.View(ctx, func(tx *pebblemq.Tx) error {
			for e, err := range tx.Scan(nil) {
				fmt.Println(string(e.Key), err)
			}
			return nil
		})
	})
	// Output:
	// closed: true
	// synced <nil>
}
