package visibility_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

// However often a message is released in one moment, no receipt is valid again.
func TestAReceiptOfAReleasedMessageStaysUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, nil)
		q, err := visibility.OpenQueue(ctx, db, "q", nil)
		require.NoError(t, err)
		_, err = q.Send(ctx, visibility.Message{Body: []byte("x")})
		require.NoError(t, err)
		var old []visibility.Receipt
		for range 5 {
			got, err := q.Receive(ctx, nil)
			require.NoError(t, err)
			require.Len(t, got, 1)
			for _, r := range old {
				require.ErrorIs(t, q.Delete(ctx, r), visibility.ErrStaleReceipt)
			}
			require.NoError(t, q.Release(ctx, got[0].Receipt, 0))
			old = append(old, got[0].Receipt)
		}
	})
}
