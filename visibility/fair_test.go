package visibility_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestFairATenantWithMoreThanItsShareInFlightGivesWay(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		sendTo(t, q, "a1", "a2", "a3", "a4", "b1", "c1", "b2", "a5")
		got := receive(t, q, 10)
		require.Equal(t, []string{"a1", "a2", "b1", "c1", "b2", "a3", "a4", "a5"}, bodies(got))
		require.Equal(t, "a", got[0].Group)
	})
}

func TestFairWhatNoQuietTenantTakesIsForTheNoisyOne(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		for i := range 500 {
			sendTo(t, q, fmt.Sprint("a", i))
		}
		for i := 0; i < 500; i += 10 {
			got := receive(t, q, 10)
			require.Len(t, got, 10)
			require.Equal(t, fmt.Sprint("a", i), string(got[0].Body))
		}
	})
}

func TestFairAQuietTenantDoesNotWaitForTheBacklogOfAnother(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		batch := make([]visibility.Message, 10_000)
		for i := range batch {
			batch[i] = visibility.Message{Group: "noisy", Body: []byte("noisy1")}
		}
		for range 3 {
			_, err := q.SendBatch(ctx, batch, nil)
			require.NoError(t, err)
		}
		sendTo(t, q, "quiet1")
		received := 0
		for quiet := false; !quiet; received += 10 {
			require.Less(t, received, 1000, "of 30,000")
			got := receive(t, q, 10)
			require.Len(t, got, 10)
			for _, m := range got {
				quiet = quiet || m.Group == "quiet"
				remove(t, q, m)
			}
		}
	})
}

func TestFairNoGroupIsATenantOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		sendTo(t, q, "a1", "a2", "a3")
		send(t, q, "1", "2", "3", "4")
		require.Equal(t, []string{"a1", "a2", "1", "2", "3", "4", "a3"}, bodies(receive(t, q, 10)))
	})
}

func TestFairSharesAreOfTheMoment(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		sendTo(t, q, "a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4")
		got := receive(t, q, 6)
		require.Equal(t, []string{"a1", "a2", "b1", "b2", "a3", "b3"}, bodies(got))
		remove(t, q, got[0], got[1])
		require.Equal(t, []string{"a4"}, bodies(receive(t, q, 1)), "b has more in flight now")
		release(t, q, got[2])
		require.Equal(t, []string{"b1", "b4"}, bodies(receive(t, q, 10)), "what comes back keeps its place")
	})
}

func TestFairCountsSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		c := &visibility.QueueConfig{VisibilityTimeout: time.Hour}
		q := d.queue("q", c)
		sendTo(t, q, "a1", "a2", "a3", "b1")
		require.Len(t, receive(t, q, 2), 2)
		d.reopen()
		q = d.queue("q", c)
		synctest.Wait()
		require.Equal(t, []string{"b1", "a3"}, bodies(receive(t, q, 10)))
	})
}

// Fair: one customer's bulk job does not keep the others waiting.
func ExampleMessage_group() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	mail, err := visibility.OpenQueue(ctx, db, "mail", nil)
	if err != nil {
		panic(err)
	}
	for _, customer := range []string{"bulk", "bulk", "bulk", "bulk", "ada", "bob"} {
		if _, err := mail.Send(ctx, visibility.Message{Group: customer, Body: []byte("hello")}); err != nil {
			panic(err)
		}
	}
	messages, err := mail.Receive(ctx, &visibility.ReceiveOptions{Max: 10})
	if err != nil {
		panic(err)
	}
	for _, m := range messages {
		fmt.Print(m.Group, " ")
	}
	// Output: bulk bulk ada bob bulk bulk
}
