package visibility_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// batches are the three verbs, for as many good entries as there are receipts and
// the bad ones that are asked for.
func batches(q *visibility.Queue, good []visibility.Receipt, bad int) map[string]func(atomic bool) ([]error, error) {
	receipts := append([]visibility.Receipt{}, good...)
	messages := []visibility.Message{}
	for range good {
		messages = append(messages, visibility.Message{Body: []byte("m")})
	}
	for i := range bad {
		receipts = append(receipts, visibility.Receipt(fmt.Sprint("garbage ", i)))
		messages = append(messages, visibility.Message{Attributes: map[string]visibility.Attribute{"": {}}})
	}
	changes := []visibility.VisibilityChange{}
	for _, r := range receipts {
		changes = append(changes, visibility.VisibilityChange{Receipt: r, VisibilityTimeout: time.Hour})
	}
	return map[string]func(bool) ([]error, error){
		"send": func(atomic bool) (errs []error, err error) {
			results, err := q.SendBatch(batchContext(atomic), messages)
			for _, r := range results {
				errs = append(errs, r.Err)
			}
			return errs, err
		},
		"change": func(atomic bool) ([]error, error) { return q.ChangeVisibilityBatch(batchContext(atomic), changes) },
		"delete": func(atomic bool) ([]error, error) { return q.DeleteBatch(batchContext(atomic), receipts) },
	}
}

func batchContext(atomic bool) context.Context {
	if atomic {
		return visibility.WithAtomic(ctx)
	}
	return ctx
}

// held sends and receives messages.
func held(t *testing.T, q *visibility.Queue, n int) (receipts []visibility.Receipt) {
	for range n {
		send(t, q, "m")
		receipts = append(receipts, one(t, q).Receipt)
	}
	return receipts
}

func TestABadEntryFailsAlone(t *testing.T) {
	for _, verb := range []string{"send", "change", "delete"} {
		t.Run(verb, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", nil)
				errs, err := batches(q, held(t, q, 2), 1)[verb](false)
				require.NoError(t, err)
				require.Len(t, errs, 3)
				require.NoError(t, errs[0])
				require.NoError(t, errs[1])
				require.Error(t, errs[2])
			})
		})
	}
}

func TestAnAtomicBatchIsAllOrNothing(t *testing.T) {
	for _, verb := range []string{"send", "change", "delete"} {
		t.Run(verb, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", nil)
				receipts := held(t, q, 2)
				before := stats(t, q)
				errs, err := batches(q, receipts, 1)[verb](true)
				require.ErrorContains(t, err, "entry 2 of the batch")
				require.Empty(t, errs)
				require.Equal(t, before, stats(t, q))

				stale := receipts[1] // is found to be so under the baton only
				require.NoError(t, q.ChangeVisibility(ctx, stale, 0))
				receipts[1] = one(t, q).Receipt
				if verb != "send" {
					_, err = batches(q, []visibility.Receipt{receipts[0], stale}, 0)[verb](true)
					require.ErrorIs(t, err, visibility.ErrStaleReceipt)
					require.ErrorContains(t, err, "entry 1 of the batch")
					require.Equal(t, before, stats(t, q))
				}
				_, err = batches(q, receipts, 0)[verb](true)
				require.NoError(t, err)
				want := map[string][]uint64{"send": {2, 2}, "change": {0, 2}, "delete": {0, 0}}[verb]
				counts(t, q, want[0], want[1], 0)
				pass(30 * time.Second)
				if verb != "change" {
					want[1] = 0
				}
				require.Equal(t, want[1], stats(t, q).InFlight, "no timeout was changed before")
			})
		})
	}
}

func TestABatchThatIsMalformedChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxBodyBytes: visibility.MaxBodyBytes})
		r := held(t, q, 1)[0]
		before := stats(t, q)
		large := make([]byte, visibility.MaxBatchBytes/2)
		refuse := func(want error, verbs map[string]func(bool) ([]error, error)) {
			t.Helper()
			for _, verb := range verbs {
				_, err := verb(false)
				require.ErrorIs(t, err, want)
			}
		}
		refuse(pebblemq.ErrInvalid, batches(q, nil, 0))
		refuse(pebblemq.ErrTooLarge, batches(q, nil, visibility.MaxBatchEntries+1))
		for want, err := range map[string]error{
			"entries 0 and 2 of the batch have the same ID":      second(q.SendBatch(ctx, []visibility.Message{{ID: "a"}, {}, {ID: "a"}, {}})),
			"entries 1 and 2 of the batch have the same receipt": second(q.DeleteBatch(ctx, []visibility.Receipt{"x", r, r})),
			"entries 0 and 1 of the batch have the same receipt": second(q.ChangeVisibilityBatch(ctx, []visibility.VisibilityChange{{r, 0}, {r, 1}})),
			"batch in bytes": second(q.SendBatch(ctx, []visibility.Message{{Body: large}, {Body: large}, {Body: []byte("1")}})),
		} {
			require.ErrorContains(t, err, want)
		}
		require.Equal(t, before, stats(t, q))
		_, err := q.SendBatch(ctx, []visibility.Message{{Body: large}, {Body: large}})
		require.NoError(t, err, "as large as may be")
	})
}

func second[T any](_ T, err error) error { return err }
