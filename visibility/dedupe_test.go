package visibility_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// sendOnce sends a message that may be a duplicate.
func sendOnce(t testing.TB, q *visibility.Queue, group, id, body string) visibility.SendResult {
	t.Helper()
	results, err := q.SendBatch(ctx, []visibility.Message{{Group: group, DedupeID: id, Body: []byte(body)}}, nil)
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	return results[0]
}

func TestDedupeADuplicateReturnsTheOriginalIDAndSequence(t *testing.T) {
	for name, c := range map[string]*visibility.QueueConfig{"FIFO": fifo, "standard": {DedupeWindow: time.Minute}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", c)
				sendOnce(t, q, "g", "other", "0")
				first := sendOnce(t, q, "g", "x", "a")
				require.False(t, first.Duplicate)
				again := sendOnce(t, q, "g", "x", "a")
				require.Equal(t, visibility.SendResult{ID: first.ID, Sequence: first.Sequence, Duplicate: true}, again)
				differs := sendOnce(t, q, "g", "x", "b")
				require.Equal(t, visibility.SendResult{ID: first.ID, Sequence: first.Sequence, Duplicate: true, Differs: true}, differs)
				id, err := q.Send(ctx, visibility.Message{Group: "g", DedupeID: "x"})
				require.NoError(t, err)
				require.Equal(t, first.ID, id)
				got := receive(t, q, 10)
				require.Equal(t, []string{"0", "a"}, bodies(got))
				require.Equal(t, first.Sequence, got[1].Sequence)
				require.Equal(t, first.ID, got[1].ID)
			})
		})
	}
}

func TestDedupeTheWindowIsExactFromTheSendAndFiveMinutesByDefault(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		require.Equal(t, 5*time.Minute, q.Config().DedupeWindow)
		sendOnce(t, q, "g", "x", "a")
		<-time.After(5*time.Minute - 1)
		require.True(t, sendOnce(t, q, "g", "x", "a").Duplicate)
		<-time.After(1)
		require.False(t, sendOnce(t, q, "g", "x", "a").Duplicate, "a repeat does not prolong it")
	})
}

func TestDedupeByBodyUnlessThereIsAnID(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{DedupeWindow: time.Hour, DedupeByBody: true})
		first := sendOnce(t, q, "", "", "a")
		require.Equal(t, first.ID, sendOnce(t, q, "", "", "a").ID)
		require.False(t, sendOnce(t, q, "", "", "b").Duplicate)
		require.False(t, sendOnce(t, q, "", "x", "a").Duplicate, "explicit wins")
		require.True(t, sendOnce(t, q, "", "x", "c").Duplicate)

		plain := open(t, db, "plain", &visibility.QueueConfig{DedupeWindow: time.Hour})
		require.False(t, sendOnce(t, plain, "", "", "a").Duplicate)
		require.False(t, sendOnce(t, plain, "", "", "a").Duplicate, "neither")
	})
}

func TestDedupeScopeIsTheQueueOrTheGroup(t *testing.T) {
	for perGroup, duplicate := range map[bool]bool{false: true, true: false} {
		bubble(t, func(t *testing.T, db *pebblemq.DB) {
			q := open(t, db, "q", &visibility.QueueConfig{FIFO: true, DedupePerGroup: perGroup})
			other := open(t, db, "other", fifo)
			sendOnce(t, q, "a", "x", "")
			require.Equal(t, duplicate, sendOnce(t, q, "b", "x", "").Duplicate)
			require.True(t, sendOnce(t, q, "a", "x", "").Duplicate)
			require.False(t, sendOnce(t, other, "a", "x", "").Duplicate)
		})
	}
}

func TestDedupeSurvivesDeleteAndDeadLetteringAndARestart(t *testing.T) {
	for _, end := range []string{"close", "crash"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t)
				c := &visibility.QueueConfig{FIFO: true, DeadLetterQueue: "dead", MaxReceives: 1}
				dead := d.queue("dead", fifo)
				q := d.queue("q", c)
				deleted := sendOnce(t, q, "a", "deleted", "")
				buried := sendOnce(t, q, "b", "buried", "")
				got := receive(t, q, 2)
				remove(t, q, got[0])
				release(t, q, got[1])
				none(t, q)
				require.Equal(t, buried.ID, one(t, dead).ID)
				if end == "close" {
					d.reopen()
				} else {
					<-time.After(time.Second)
					d.crash(0)
				}
				d.queue("dead", fifo)
				q = d.queue("q", c)
				require.Equal(t, deleted.ID, sendOnce(t, q, "a", "deleted", "").ID)
				require.Equal(t, buried.ID, sendOnce(t, q, "b", "buried", "").ID)
			})
		})
	}
}

func TestDedupePurgeClearsIt(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		sendOnce(t, q, "a", "x", "")
		_, err := q.Purge(ctx)
		require.NoError(t, err)
		require.False(t, sendOnce(t, q, "a", "x", "").Duplicate)
		require.True(t, sendOnce(t, q, "a", "x", "").Duplicate)
		<-time.After(5 * time.Minute)
		synctest.Wait()
		require.False(t, sendOnce(t, q, "a", "x", "").Duplicate)
	})
}

func TestDedupeWithinABatchAndATransaction(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{DedupeWindow: time.Hour})
		m := visibility.Message{DedupeID: "x"}
		results, err := q.SendBatch(ctx, []visibility.Message{m, {}, m}, nil)
		require.NoError(t, err)
		require.Equal(t, results[0].ID, results[2].ID)
		require.True(t, results[2].Duplicate)
		require.Len(t, receive(t, q, 10), 2)

		refused := fmt.Errorf("no")
		send := func(tx *pebblemq.Tx) error {
			_, err := q.In(tx).Send(visibility.Message{DedupeID: "y"})
			return err
		}
		require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			require.NoError(t, send(tx))
			return refused
		}), refused)
		require.Error(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			require.NoError(t, send(tx))
			require.NoError(t, send(tx))
			return q.In(tx).ChangeVisibility("garbage", 0)
		}))
		got := receive(t, q, 10)
		require.Empty(t, got)
		require.NoError(t, db.Update(ctx, send), "what was refused is not remembered")
		require.NoError(t, db.Update(ctx, send))
		require.Len(t, receive(t, q, 10), 1)
	})
}

func TestDedupeOfADelayedMessage(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", fifo)
		m := visibility.Message{Group: "a", DedupeID: "x", Delay: time.Minute}
		first, err := q.SendBatch(ctx, []visibility.Message{m}, nil)
		require.NoError(t, err)
		require.Equal(t, first[0].ID, sendOnce(t, q, "a", "x", "").ID)
		counts(t, q, 0, 0, 1)
	})
}

func TestDedupeBadInput(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		for _, c := range []visibility.QueueConfig{
			{DedupeWindow: -1}, {DedupeWindow: visibility.MaxDelay + 1}, {DedupeByBody: true}, {DedupePerGroup: true},
		} {
			_, err := visibility.OpenQueue(ctx, db, "bad", &c)
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
		}
		_, err := open(t, db, "standard", nil).Send(ctx, visibility.Message{DedupeID: "x"})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		q := open(t, db, "q", fifo)
		_, err = q.Send(ctx, visibility.Message{Group: "a", DedupeID: strings.Repeat("x", visibility.MaxDedupeID+1)})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		sendOnce(t, q, "a", strings.Repeat("x", visibility.MaxDedupeID), "")
		require.NoError(t, deleteQueue(db, "q"))
		q = open(t, db, "q", fifo)
		require.False(t, sendOnce(t, q, "a", strings.Repeat("x", visibility.MaxDedupeID), "").Duplicate, "another queue")
	})
}

// A sender that does not know whether its message arrived sends it again.
func ExampleMessage_dedupeID() {
	db := memory()
	defer db.Close()
	ctx := context.Background()
	payments, err := visibility.OpenQueue(ctx, db, "payments", &visibility.QueueConfig{FIFO: true})
	if err != nil {
		panic(err)
	}
	for range 2 {
		results, err := payments.SendBatch(ctx, []visibility.Message{
			{Group: "ada", DedupeID: "invoice 7", Body: []byte("12 €")},
		}, nil)
		if err != nil {
			panic(err)
		}
		fmt.Println("duplicate:", results[0].Duplicate)
	}
	messages, _ := payments.Receive(ctx, &visibility.ReceiveOptions{Max: 10})
	fmt.Println(len(messages))
	// Output:
	// duplicate: false
	// duplicate: true
	// 1
}
