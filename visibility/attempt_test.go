package visibility_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// attempt receives up to three messages with an attempt ID.
func attempt(t testing.TB, q *visibility.Queue, id string) []*visibility.Received {
	t.Helper()
	got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 3, AttemptID: id})
	require.NoError(t, err)
	synctest.Wait()
	return got
}

func TestAReceiveIsRepeatedByItsAttemptID(t *testing.T) {
	for name, c := range map[string]*visibility.QueueConfig{"standard": nil, "FIFO": fifo} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", c)
				sendTo(t, q, "a1", "b1", "a2", "c1", "d1")
				first := attempt(t, q, "x")
				require.Equal(t, []string{"a1", "b1", "a2"}, bodies(first))
				<-time.After(20 * time.Second)
				require.Equal(t, first, attempt(t, q, "x"), "receipts and all")
				require.Equal(t, []string{"c1"}, bodies(receive(t, q, 1)), "another receive")
				require.Equal(t, []string{"d1"}, bodies(attempt(t, q, "y")), "another attempt")
				<-time.After(10 * time.Second)
				synctest.Wait()
				again := attempt(t, q, "x")
				require.Equal(t, []string{"a1", "b1", "a2"}, bodies(again), "the timeout has ended")
				require.Equal(t, 2, again[0].ReceiveCount)
			})
		})
	}
}

func TestAReceiveIsNotRepeatedWhenAMessageHasChanged(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, q *visibility.Queue, r visibility.Receipt){
		"deleted": func(t *testing.T, q *visibility.Queue, r visibility.Receipt) {
			require.NoError(t, q.Delete(ctx, r))
		},
		"released": func(t *testing.T, q *visibility.Queue, r visibility.Receipt) {
			require.NoError(t, q.ChangeVisibility(ctx, r, 0))
		},
		"extended": func(t *testing.T, q *visibility.Queue, r visibility.Receipt) {
			require.NoError(t, q.ChangeVisibility(ctx, r, time.Hour))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", nil)
				send(t, q, "a", "b")
				got := attempt(t, q, "x")
				require.Len(t, got, 2)
				change(t, q, got[1].Receipt)
				synctest.Wait()
				for _, m := range attempt(t, q, "x") {
					require.Equal(t, "b", string(m.Body), "of those released")
					require.Equal(t, 2, m.ReceiveCount)
				}
			})
		})
	}
}

func TestAReceiveIsNotRepeatedAfterItsWindow(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{VisibilityTimeout: time.Hour})
		send(t, q, "a")
		first := attempt(t, q, "x")
		<-time.After(visibility.AttemptWindow - 1)
		require.Equal(t, first, attempt(t, q, "x"))
		<-time.After(1)
		require.Empty(t, attempt(t, q, "x"))
	})
}

func TestAChangeThatIsRefusedLeavesTheReceiveRepeatable(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "a")
		first := attempt(t, q, "x")
		r := first[0].Receipt
		require.Error(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			require.NoError(t, q.In(tx).ChangeVisibility(r, 0))
			return q.In(tx).ChangeVisibility(r, 0)
		}))
		require.Error(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
			require.NoError(t, q.In(tx).Delete(r))
			return q.In(tx).ChangeVisibility(r, 0)
		}))
		require.Equal(t, first, attempt(t, q, "x"))
	})
}

func TestTwoReceivesOfOneAttemptThatWaitGetTheSame(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		got := make(chan []*visibility.Received, 2)
		for range 2 {
			go func() {
				r, _ := q.Receive(ctx, &visibility.ReceiveOptions{AttemptID: "x", Wait: time.Hour})
				got <- r
			}()
		}
		synctest.Wait()
		send(t, q, "a", "b")
		require.Equal(t, <-got, <-got)
		require.Equal(t, "b", string(one(t, q).Body))
	})
}

func TestAnAttemptIDIsAName(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		_, err := q.Receive(ctx, &visibility.ReceiveOptions{AttemptID: strings.Repeat("x", 257)})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		_, err = q.Receive(ctx, &visibility.ReceiveOptions{AttemptID: "\x00"})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}
