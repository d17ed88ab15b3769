package visibility_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestAComputedDurationIsTakenEverywhere(t *testing.T) {
	const computed = 33*time.Second + 123_456_789*time.Nanosecond // as time.Until returns it
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		c := &visibility.QueueConfig{
			VisibilityTimeout: computed, MaxVisibilityTimeout: 2 * computed, Delay: computed, Retention: 9 * computed,
			DedupeWindow: computed, ReceiveWait: computed,
		}
		q := open(t, db, "q", c)
		require.Same(t, q, open(t, db, "q", c), "it is the same when it is stored")
		for _, d := range []time.Duration{computed, 1} {
			_, err := q.Send(ctx, visibility.Message{Delay: d})
			require.NoError(t, err)
			got, err := q.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: computed, Wait: 2 * computed})
			require.NoError(t, err)
			require.Len(t, got, 1)
			require.NoError(t, q.ChangeVisibility(ctx, got[0].Receipt, computed-time.Second))
			require.NoError(t, q.Release(ctx, got[0].Receipt, 2*computed))
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		require.NoError(t, q.Run(ended, func(context.Context, *visibility.Received) error { return nil }, &visibility.RunOptions{
			Timeout: computed, DrainTimeout: computed, VisibilityTimeout: computed, Backoff: pebblemq.Backoff{Min: computed, Max: computed + 1},
		}))
	})
}
