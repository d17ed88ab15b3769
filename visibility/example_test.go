package visibility_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// The examples leave errors out where they would hide what is shown.

func memory() *pebblemq.DB {
	db, err := pebblemq.OpenMemory(nil)
	if err != nil {
		panic(err)
	}
	return db
}

func ExampleQueue_Receive() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	mail, err := visibility.OpenQueue(ctx, db, "mail", nil)
	if err != nil {
		panic(err)
	}
	_, err = mail.Send(ctx, visibility.Message{
		Body:       []byte("Dear Ada"),
		Attributes: map[string]visibility.Attribute{"to": visibility.StringAttribute("ada@example.org")},
	})
	if err != nil {
		panic(err)
	}
	messages, err := mail.Receive(ctx, &visibility.ReceiveOptions{Max: 10, Wait: time.Minute})
	if err != nil {
		panic(err)
	}
	for _, m := range messages {
		fmt.Printf("%s: %s\n", m.Attributes["to"].Value, m.Body)
		if err := mail.Delete(ctx, m.Receipt); err != nil {
			panic(err)
		}
	}
	// Output: ada@example.org: Dear Ada
}

func ExampleQueue_Run() {
	db := memory()
	defer db.Close()
	_, _ = visibility.OpenQueue(ctx, db, "undeliverable", nil)
	mail, err := visibility.OpenQueue(ctx, db, "mail", &visibility.QueueConfig{DeadLetterQueue: "undeliverable", MaxReceives: 3})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	for _, to := range []string{"ada", "nobody", "bob"} {
		_, _ = mail.Send(ctx, visibility.Message{Body: []byte(to)})
	}
	err = mail.Run(ctx, func(_ context.Context, m *visibility.Received) error {
		if string(m.Body) != "nobody" {
			fmt.Println("mail to", string(m.Body))
			return nil
		}
		fmt.Println("attempt", m.ReceiveCount)
		if m.ReceiveCount == 3 {
			stop()
		}
		return errors.New("no such person")
	}, &visibility.RunOptions{Backoff: pebblemq.Backoff{Min: 10 * time.Millisecond}})
	fmt.Println(err)
	// Output:
	// mail to ada
	// attempt 1
	// mail to bob
	// attempt 2
	// attempt 3
	// <nil>
}

func ExampleQueue_ChangeVisibility() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	q, _ := visibility.OpenQueue(ctx, db, "jobs", nil)
	_, _ = q.Send(ctx, visibility.Message{Body: []byte("job")})
	first, _ := q.Receive(ctx, nil)
	_ = q.ChangeVisibility(ctx, first[0].Receipt, time.Hour) // it takes longer than thought
	_ = q.ChangeVisibility(ctx, first[0].Receipt, 0)         // let someone else do it
	second, _ := q.Receive(ctx, nil)
	fmt.Println(second[0].ReceiveCount)
	err := q.Delete(ctx, first[0].Receipt)
	fmt.Println(errors.Is(err, visibility.ErrStaleReceipt))
	fmt.Println(q.Delete(ctx, second[0].Receipt))
	// Output:
	// 2
	// true
	// <nil>
}

func ExampleQueue_In() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	orders, _ := visibility.OpenQueue(ctx, db, "orders", nil)
	mail, _ := visibility.OpenQueue(ctx, db, "mail", nil)
	_, _ = orders.Send(ctx, visibility.Message{Body: []byte("42")})
	got, _ := orders.Receive(ctx, nil)

	// The effect, the next message and the deletion of this one happen
	// together or not at all.
	err := db.Update(ctx, func(tx *pebblemq.Tx) error {
		if err := tx.Set([]byte("order/42"), []byte("paid")); err != nil {
			return err
		}
		if _, err := mail.In(tx).Send(visibility.Message{Body: []byte("thank you")}); err != nil {
			return err
		}
		return orders.In(tx).Delete(got[0].Receipt)
	})
	fmt.Println(err)
	left, _ := orders.Stats(ctx)
	next, _ := mail.Receive(ctx, nil)
	fmt.Println(left.Visible+left.InFlight, string(next[0].Body))
	// Output:
	// <nil>
	// 0 thank you
}

func ExampleQueue_SendAsync() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	q, _ := visibility.OpenQueue(ctx, db, "q", nil)
	var pending []*pebblemq.Future[visibility.SendResult]
	for _, id := range []string{"a", "b"} { // both share an fsync
		pending = append(pending, q.SendAsync(ctx, visibility.Message{ID: id, Body: []byte("hello")}))
	}
	for _, f := range pending {
		sent, err := f.Wait(ctx)
		fmt.Println(sent.ID, err)
	}
	// Output:
	// a <nil>
	// b <nil>
}

func ExampleQueue_SendBatch() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	q, _ := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{MaxBodyBytes: 5})
	results, err := q.SendBatch(ctx, []visibility.Message{{ID: "a", Body: []byte("short")}, {ID: "b", Body: []byte("too long")}}, nil)
	if err != nil {
		panic(err)
	}
	for _, r := range results {
		fmt.Printf("%q %v\n", r.ID, r.Err)
	}
	// Output:
	// "a" <nil>
	// "" message "b" for queue "q": pebblemq: limit exceeded: body and attributes in bytes is 8, limit 5, which QueueConfig.MaxBodyBytes says
}
