package visibility_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/visibility"
)

// What is in the queue is shown, and can be received afterwards.
func ExampleQueue_Browse() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	mail, err := visibility.OpenQueue(db, "mail", nil)
	if err != nil {
		panic(err)
	}
	tomorrow := 24 * time.Hour
	_, _ = mail.Send(ctx, visibility.Message{Body: []byte("welcome")})
	_, _ = mail.Send(ctx, visibility.Message{Body: []byte("how is it going?"), Delay: &tomorrow})
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
	mail, err := visibility.OpenQueue(db, "mail", nil)
	if err != nil {
		panic(err)
	}
	tomorrow := 24 * time.Hour
	id, _ := mail.Send(ctx, visibility.Message{Body: []byte("how is it going?"), Delay: &tomorrow})
	m, _ := mail.Get(ctx, id)
	fmt.Println(m.State, m.VisibleAt.Sub(m.SentAt).Round(time.Hour))
	fmt.Println(mail.Cancel(ctx, id))
	_, err = mail.Get(ctx, id)
	fmt.Println(err != nil)
	// Output:
	// delayed 24h0m0s
	// <nil>
	// true
}
