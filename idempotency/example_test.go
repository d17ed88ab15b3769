package idempotency_test

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

func ExampleNamespace_Do() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	payments, _ := idempotency.OpenNamespace(context.Background(), db, "payments", nil)

	charge := func(_ context.Context, c idempotency.Claim) ([]byte, error) {
		fmt.Printf("charging, token %d\n", c.Token)
		return []byte("receipt 7"), nil
	}
	for range 2 {
		res, err := payments.Do(ctx, []byte("order-42"), charge, nil)
		fmt.Println(string(res.Value), res.Replayed, err)
	}
	// Output:
	// charging, token 1
	// receipt 7 false <nil>
	// receipt 7 true <nil>
}

func ExampleNamespace_Once() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	payments, _ := idempotency.OpenNamespace(context.Background(), db, "payments", nil)

	for range 2 { // the same message, delivered twice
		res, err := payments.Once(ctx, []byte("order-42"), func(tx *pebblemq.Tx) ([]byte, error) {
			return []byte("booked"), tx.Set([]byte("balance"), []byte("58"))
		}, nil)
		fmt.Println(string(res.Value), res.Replayed, err)
	}
	// Output:
	// booked false <nil>
	// booked true <nil>
}

func ExampleTx_Complete() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	seen, _ := idempotency.OpenNamespace(context.Background(), db, "webhooks", nil)

	for range 2 {
		err := db.Update(ctx, func(tx *pebblemq.Tx) error {
			if err := seen.In(tx).Complete([]byte("delivery-1"), nil); err != nil {
				return err
			}
			return tx.Set([]byte("state"), []byte("changed"))
		})
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// operation 1 of the transaction (complete a key of webhooks): idempotency: duplicate: key "delivery-1" of webhooks is completed
}

func ExampleKeyOf() {
	a, _ := idempotency.KeyOf(map[string]any{"order": 42, "amount": 10})
	b, _ := idempotency.KeyOf(struct {
		Amount int `json:"amount"`
		Order  int `json:"order"`
	}{10, 42})
	fmt.Println(string(a) == string(b))
	// Output: true
}
