package log_test

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// The handler counts each record once, whatever is delivered twice.
func ExampleGroupTx_Ack() {
	db, orders := open(1)
	defer db.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	_, err := orders.Append(ctx, log.Record{Value: []byte("a")}, log.Record{Value: []byte("b")})
	check(err)
	counter, err := orders.OpenGroup(ctx, "counter", nil)
	check(err)

	check(counter.Run(ctx, func(ctx context.Context, r log.Record) error {
		if string(r.Value) == "b" {
			stop()
		}
		return db.Update(ctx, func(tx *pebblemq.Tx) error {
			n, err := tx.Get([]byte("count"))
			if err != nil {
				return err
			}
			if err := tx.Set([]byte("count"), append(n, '|')); err != nil {
				return err
			}
			return counter.In(tx).Ack(r)
		})
	}, nil))
	check(db.View(context.Background(), func(tx *pebblemq.Tx) error {
		n, err := tx.Get([]byte("count"))
		fmt.Printf("%s\n", n)
		return err
	}))
	// Output: ||
}

// A projection is rebuilt: its state goes, and its group begins again, in one commit.
func ExampleGroupTx_Seek() {
	db, orders := open(1)
	defer db.Close()
	ctx := context.Background()
	counter, err := orders.OpenGroup(ctx, "counter", nil)
	check(err)

	check(db.Update(ctx, func(tx *pebblemq.Tx) error {
		if err := tx.Delete([]byte("count")); err != nil {
			return err
		}
		return counter.In(tx).Seek(log.Start())
	}))
	// Output:
}
