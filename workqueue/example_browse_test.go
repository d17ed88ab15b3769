package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// Browse shows the messages of the queue and takes none.
func ExampleQueue_Browse() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	mail, _ := broker.DeclareQueue(ctx, "mail", nil)
	_ = broker.Publish(ctx, "", "mail", workqueue.Message{Body: []byte("welcome")})
	_ = broker.Publish(ctx, "", "mail", workqueue.Message{Body: []byte("how is it going?"), Delay: 24 * time.Hour})

	for m, err := range mail.Browse(ctx, nil) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s: %s\n", m.State, m.Body)
	}
	st, _ := mail.Stats(ctx)
	fmt.Println(st.Ready, st.Delayed)
	// Output:
	// ready: welcome
	// delayed: how is it going?
	// 1 1
}

// A reminder is cancelled by the id that it was published with, in one commit with
// what the application knows of it.
func ExampleQueue_Cancel() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	due, _ := broker.DeclareQueue(ctx, "due", nil)
	_ = broker.Publish(ctx, "", "due", workqueue.Message{MessageID: "dentist", Delay: 24 * time.Hour})

	fmt.Println(db.Update(ctx, func(tx *pebblemq.Tx) error {
		if err := tx.Delete([]byte("reminder/dentist")); err != nil {
			return err
		}
		return due.In(tx).Cancel("dentist")
	}))
	err := due.Cancel(ctx, "dentist")
	fmt.Println(errors.Is(err, workqueue.ErrUnknownMessage))
	// Output:
	// <nil>
	// true
}

// Rejected messages are looked at, and go back to their queue when they can be handled.
func ExampleQueue_Redrive() {
	ctx := context.Background()
	db, _ := pebblemq.OpenMemory(nil)
	defer db.Close()
	broker, _ := workqueue.OpenBroker(ctx, db, "main")
	dead, _ := broker.DeclareQueue(ctx, "dead", nil)
	mail, _ := broker.DeclareQueue(ctx, "mail", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "dead"}})
	for _, to := range []string{"ada", "nobody"} {
		_ = broker.Publish(ctx, "", "mail", workqueue.Message{Body: []byte(to)})
		d, _, _ := mail.Get(ctx)
		_ = d.Reject(ctx)
	}

	redrive, _ := dead.Redrive(ctx, &workqueue.RedriveOptions{
		Filter: func(m *workqueue.Browsed) bool { return string(m.Body) != "nobody" },
		Rate:   100,
	})
	p, err := redrive.Wait(ctx)
	fmt.Println(p.Moved, p.Skipped, err)
	d, _, _ := mail.Get(ctx)
	fmt.Printf("%s, %s in %s\n", d.Body, d.Deaths[0].Reason, d.Deaths[0].Queue)
	// Output:
	// 1 1 <nil>
	// ada, rejected in mail
}
