package visibility_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestInFlightLimitReturnsATypedErrorToAReceiveThatDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxInFlight: 3})
		send(t, q, "a", "b", "c", "d")
		two := receive(t, q, 2)
		require.Equal(t, []string{"c"}, bodies(receive(t, q, 10)), "as many as there is room for")
		_, err := q.Receive(ctx, nil)
		require.ErrorIs(t, err, visibility.ErrInFlightLimit)
		require.ErrorContains(t, err, `3 of queue "q"`)
		remove(t, q, two[0])
		require.Equal(t, []string{"d"}, bodies(receive(t, q, 10)))
		release(t, q, two[1])
		require.Equal(t, []string{"b"}, bodies(receive(t, q, 10)))
	})
}

func TestInFlightLimitLetsAReceiveWaitForRoom(t *testing.T) {
	for name, room := range map[string]func(t *testing.T, q *visibility.Queue, m *visibility.Received){
		"delete":  func(t *testing.T, q *visibility.Queue, m *visibility.Received) { remove(t, q, m) },
		"release": func(t *testing.T, q *visibility.Queue, m *visibility.Received) { release(t, q, m) },
		"timeout": func(*testing.T, *visibility.Queue, *visibility.Received) {},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", &visibility.QueueConfig{MaxInFlight: 1})
				send(t, q, "a", "b")
				m := one(t, q)
				got := make(chan []*visibility.Received, 1)
				go func() {
					r, _ := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
					got <- r
				}()
				synctest.Wait()
				require.Empty(t, got)
				at := time.Now()
				room(t, q, m)
				require.Len(t, <-got, 1)
				if name != "timeout" {
					require.Equal(t, at, time.Now())
				} else {
					require.Equal(t, 30*time.Second, time.Since(at))
				}
			})
		})
	}
}

func TestInFlightLimitThatLastsMakesAWaitEndEmpty(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxInFlight: 1})
		send(t, q, "a", "b")
		one(t, q)
		got, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Second})
		require.NoError(t, err)
		require.Empty(t, got)
	})
}

func TestInFlightLimitCountsWhatSurvivedARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		c := &visibility.QueueConfig{MaxInFlight: 2, VisibilityTimeout: time.Hour}
		q := d.queue("q", c)
		send(t, q, "a", "b", "c")
		require.Len(t, receive(t, q, 10), 2)
		d.reopen()
		q = d.queue("q", c)
		_, err := q.Receive(ctx, nil)
		require.ErrorIs(t, err, visibility.ErrInFlightLimit)
	})
}

func TestInFlightLimitOutOfRange(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		_, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{MaxInFlight: -1})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}
