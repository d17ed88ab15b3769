package visibility_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
)

// Browse shows the messages of the queue, which can be received afterwards.
func ExampleQueue_Browse() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	mail, err := visibility.OpenQueue(ctx, db, "mail", nil)
	if err != nil {
		panic(err)
	}
	tomorrow := 24 * time.Hour
	_, _ = mail.Send(ctx, visibility.Message{Body: []byte("welcome")})
	_, _ = mail.Send(ctx, visibility.Message{Body: []byte("how is it going?"), Delay: tomorrow})
	for m, err := range mail.Browse(ctx, nil) {
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s: %s\n", m.State, m.Body)
	}
	st, _ := mail.Stats(ctx)
	fmt.Println(st.Visible, st.Delayed)
	// Output:
	// visible: welcome
	// delayed: how is it going?
	// 1 1
}

// A message that is delayed can be called back.
func ExampleQueue_Cancel() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	mail, err := visibility.OpenQueue(ctx, db, "mail", nil)
	if err != nil {
		panic(err)
	}
	tomorrow := 24 * time.Hour
	id, _ := mail.Send(ctx, visibility.Message{Body: []byte("how is it going?"), Delay: tomorrow})
	m, _ := mail.Find(ctx, id)
	fmt.Println(m.State, m.VisibleAt.Sub(m.SentAt).Round(time.Hour))
	fmt.Println(mail.Cancel(ctx, id))
	_, err = mail.Find(ctx, id)
	fmt.Println(err != nil)
	// Output:
	// delayed 24h0m0s
	// <nil>
	// true
}

// What could not be delivered goes back to be tried again, once the reason is gone.
func ExampleQueue_Redrive() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	undeliverable, _ := visibility.OpenQueue(ctx, db, "undeliverable", nil)
	mail, err := visibility.OpenQueue(ctx, db, "mail", &visibility.QueueConfig{DeadLetterQueue: "undeliverable", MaxReceives: 1})
	if err != nil {
		panic(err)
	}
	for _, to := range []string{"ada", "nobody", "bob"} {
		_, _ = mail.Send(ctx, visibility.Message{Body: []byte(to)})
		m, _ := mail.Receive(ctx, nil)
		_ = mail.ChangeVisibility(ctx, m[0].Receipt, 0) // the server is down
		_, _ = mail.Receive(ctx, nil)                   // would be once too often
	}
	redrive, err := undeliverable.Redrive(ctx, &visibility.RedriveOptions{
		Rate:   1000,
		Filter: func(m *visibility.Browsed) bool { return string(m.Body) != "nobody" },
	})
	if err != nil {
		panic(err)
	}
	info, _ := redrive.Wait(ctx)
	fmt.Println(info.State, info.Moved, info.Skipped)
	messages, _ := mail.Receive(ctx, &visibility.ReceiveOptions{Max: 10})
	for _, m := range messages {
		fmt.Printf("%s, who was in trouble %d time(s)\n", m.Body, m.DeadLetter.ReceiveCount)
	}
	// Output:
	// completed 2 1
	// ada, who was in trouble 1 time(s)
	// bob, who was in trouble 1 time(s)
}
