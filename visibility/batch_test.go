package visibility_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestBatchHasAResultForEachEntry(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxBodyBytes: 4})
		results, err := q.SendBatch(ctx, []visibility.Message{{Body: []byte("a")}, {Body: []byte("large")}, {ID: "id", Body: []byte("c")}}, nil)
		require.NoError(t, err)
		require.NotEmpty(t, results[0].ID)
		require.ErrorIs(t, results[1].Err, pebblemq.ErrTooLarge)
		require.Empty(t, results[1].ID)
		require.Equal(t, visibility.SendResult{ID: "id", Sequence: 2}, results[2])
		got := receive(t, q, 10)
		require.Equal(t, []string{"a", "c"}, bodies(got))

		errs, err := q.ChangeVisibilityBatch(ctx, []visibility.VisibilityChange{
			{got[0].Receipt, time.Hour}, {"garbage", 0}, {"", -1}, {got[1].Receipt, 0},
		}, nil)
		require.NoError(t, err)
		require.NoError(t, errs[0])
		require.ErrorIs(t, errs[1], visibility.ErrInvalidReceipt)
		require.ErrorIs(t, errs[2], pebblemq.ErrInvalid)
		require.NoError(t, errs[3])
		counts(t, q, 1, 1, 0)

		again := one(t, q)
		errs, err = q.DeleteBatch(ctx, []visibility.Receipt{got[0].Receipt, got[1].Receipt, again.Receipt}, nil)
		require.NoError(t, err)
		require.NoError(t, errs[0])
		require.ErrorIs(t, errs[1], visibility.ErrStaleReceipt)
		require.NoError(t, errs[2])
		require.Zero(t, stats(t, q))
	})
}

func TestBatchWithAStructuralErrorIsRefusedAsAWholeAndChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxBodyBytes: visibility.MaxBodyBytes})
		for _, bad := range [][]visibility.Message{
			nil, make([]visibility.Message, visibility.MaxBatchEntries+1),
			{{Body: []byte("a")}, {Body: make([]byte, visibility.MaxBatchBytes)}},
		} {
			_, err := q.SendBatch(ctx, bad, nil)
			require.Error(t, err)
		}
		counts(t, q, 0, 0, 0)
		results, err := q.SendBatch(ctx, make([]visibility.Message, visibility.MaxBatchEntries), nil)
		require.NoError(t, err)
		require.Len(t, results, visibility.MaxBatchEntries)
		_, err = q.SendBatch(ctx, []visibility.Message{{Body: []byte("a")}, {Body: make([]byte, visibility.MaxBatchBytes-1)}}, nil)
		require.NoError(t, err)
		got := receive(t, q, 20)
		for _, list := range [][]*visibility.Received{got[:1], got[1:]} {
			last, n := list[len(list)-1].Receipt, len(list)+1
			receipts := []visibility.Receipt{last}
			changes := []visibility.VisibilityChange{{last, 0}}
			for _, m := range list {
				receipts = append(receipts, m.Receipt)
				changes = append(changes, visibility.VisibilityChange{Receipt: m.Receipt, VisibilityTimeout: time.Hour})
			}
			for range 2 { // the last change of a receipt counts: nothing is visible
				results, err := q.ChangeVisibilityBatch(ctx, changes, nil)
				require.NoError(t, err)
				require.Equal(t, make([]error, n), results)
				require.EqualValues(t, visibility.MaxBatchEntries+2-20, stats(t, q).Visible)
			}
			results, err := q.DeleteBatch(ctx, append(receipts, "bad", "bad"), nil)
			require.NoError(t, err)
			require.Equal(t, make([]error, n), results[:n])
			require.ErrorIs(t, results[n], visibility.ErrInvalidReceipt)
			require.Equal(t, results[n], results[n+1])
			results, err = q.DeleteBatch(ctx, receipts, &visibility.BatchOptions{Atomic: true})
			require.NoError(t, err)
			require.Equal(t, make([]error, n), results)
			_, err = q.ChangeVisibilityBatch(ctx, nil, nil)
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
		}
		counts(t, q, visibility.MaxBatchEntries+2-20, 0, 0)
	})
}

func TestBatchThatIsAtomicIsCarriedOutAsAWholeOrNotAtAll(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxBodyBytes: 4, DedupeWindow: time.Hour, Delay: 0})
		atomic := &visibility.BatchOptions{Atomic: true}
		good := visibility.Message{Body: []byte("a"), DedupeID: "a"}
		late := visibility.Message{Body: []byte("b"), Delay: time.Hour}
		_, err := q.SendBatch(ctx, []visibility.Message{good, late, {Body: []byte("large")}}, atomic)
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		require.ErrorContains(t, err, "entry 2")
		require.Zero(t, stats(t, q))
		results, err := q.SendBatch(ctx, []visibility.Message{good, late, good}, atomic)
		require.NoError(t, err)
		require.False(t, results[0].Duplicate, "the refused one is not known")
		require.True(t, results[2].Duplicate)

		send(t, q, "c", "d")
		stale := receiveFor(t, q, 1, 0)[0]
		got := receive(t, q, 3)
		require.Len(t, got, 3)
		before := stats(t, q)
		_, err = q.DeleteBatch(ctx, []visibility.Receipt{got[1].Receipt, got[2].Receipt, stale.Receipt}, atomic)
		require.ErrorIs(t, err, visibility.ErrStaleReceipt)
		_, err = q.ChangeVisibilityBatch(ctx, []visibility.VisibilityChange{{got[0].Receipt, 0}, {got[1].Receipt, time.Hour}, {stale.Receipt, 0}}, atomic)
		require.ErrorIs(t, err, visibility.ErrStaleReceipt)
		require.Equal(t, before, stats(t, q))
		_, err = q.ChangeVisibilityBatch(ctx, []visibility.VisibilityChange{{got[0].Receipt, 0}, {got[1].Receipt, time.Hour}}, atomic)
		require.NoError(t, err)
		_, err = q.DeleteBatch(ctx, []visibility.Receipt{got[1].Receipt, got[2].Receipt}, atomic)
		require.NoError(t, err)
		counts(t, q, 1, 0, 1)
	})
}
