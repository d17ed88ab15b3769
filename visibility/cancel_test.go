package visibility_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

// A receive that is cancelled while messages arrive either returns what it was given or was
// given nothing: every message in flight has a receiver.
func TestACancelledReceiveLosesNothing(t *testing.T) {
	for name, c := range map[string]*visibility.QueueConfig{
		"standard": {VisibilityTimeout: time.Hour}, "FIFO": {FIFO: true, VisibilityTimeout: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			q := open(t, storetest.Open(t, nil), "q", c)
			const rounds = 300
			returned, cancelled := 0, 0
			for range rounds {
				ctx, cancel := context.WithCancel(context.Background())
				var all sync.WaitGroup
				all.Go(func() {
					for range rand.IntN(3) {
						sendTo(t, q, "a1")
					}
				})
				all.Go(cancel)
				got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 10, Wait: time.Hour})
				all.Wait()
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
					require.Empty(t, got)
					cancelled++
				}
				returned += len(got)
				for _, m := range got {
					require.NoError(t, q.Delete(context.Background(), m.Receipt))
				}
				require.Zero(t, stats(t, q).InFlight)
			}
			require.NotZero(t, returned)
			require.NotZero(t, cancelled)
		})
	}
}

// However many wait, a message wakes one of them.
func TestOneMessageWakesOneOfManyWhoWait(t *testing.T) {
	q := open(t, storetest.Open(t, nil), "q", nil)
	const waiters = 1000
	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("enough")
	woken := make(chan int, waiters)
	var all sync.WaitGroup
	for range waiters {
		all.Go(func() {
			got, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour, Max: 10})
			if err == nil {
				woken <- len(got)
			}
		})
	}
	for range 10 {
		send(t, q, "x")
		require.Equal(t, 1, <-woken)
	}
	cancel(enough)
	all.Wait()
	require.Empty(t, woken)
}
