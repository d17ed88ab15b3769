package visibility_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// Beyond some thousands in flight the data of further messages is on disk only.
func TestOfManyMessagesInFlightEachHasItsReceiptAndComesBackWhole(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		const n = 20_000
		open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{MaxReceives: 2, DeadLetterQueue: "dead"})
		batch := make([]visibility.Message, 1000)
		for sent := 0; sent < n; sent += len(batch) {
			for i := range batch {
				batch[i] = visibility.Message{Body: fmt.Append(nil, "message ", sent+i)}
			}
			_, err := q.SendBatch(ctx, batch, nil)
			require.NoError(t, err)
		}
		receiveAll := func() (all []*visibility.Received) {
			for {
				got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 1000, VisibilityTimeout: time.Hour})
				require.NoError(t, err)
				if len(got) == 0 {
					return all
				}
				all = append(all, got...)
			}
		}
		all := receiveAll()
		require.Len(t, all, n)
		last := all[n-1]
		require.NoError(t, q.ChangeVisibility(ctx, all[n-2].Receipt, 2*time.Hour))
		require.NoError(t, q.Delete(ctx, last.Receipt))
		pass(time.Hour)
		require.ErrorIs(t, q.ChangeVisibility(ctx, all[n-3].Receipt, time.Minute), visibility.ErrNotInFlight)

		again := receiveAll()
		require.Len(t, again, n-2)
		for i, m := range again {
			require.Equal(t, fmt.Sprint("message ", i), string(m.Body))
		}
		require.ErrorIs(t, q.Delete(ctx, all[n-3].Receipt), visibility.ErrStaleReceipt)
		pass(time.Hour)
		require.Len(t, receiveAll(), 1, "the one that was extended; the others are dead letters")
		dead := open(t, db, "dead", nil)
		counts(t, dead, n-2, 0, 0)
		got, err := dead.Receive(ctx, &visibility.ReceiveOptions{Max: 1})
		require.NoError(t, err)
		require.Equal(t, "message 0", string(got[0].Body))
	})
}
