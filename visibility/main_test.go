package visibility_test

import (
	"context"
	"os"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

var ctx = context.Background()

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// bubble runs f in a bubble of fake time with a store in memory.
func bubble(t *testing.T, f func(t *testing.T, db *pebblemq.DB)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, storetest.Open(t, nil))
	})
}

// open opens a queue that takes messages without a body, for brevity.
func open(t testing.TB, db *pebblemq.DB, name string, c *visibility.QueueConfig) *visibility.Queue {
	t.Helper()
	q, err := visibility.OpenQueue(ctx, db, name, c)
	require.NoError(t, err)
	return q
}

func send(t testing.TB, q *visibility.Queue, bodies ...string) {
	t.Helper()
	for _, b := range bodies {
		_, err := q.Send(ctx, visibility.Message{Body: []byte(b)})
		require.NoError(t, err)
	}
}

// receive receives up to max messages without waiting.
func receive(t testing.TB, q *visibility.Queue, max int) []*visibility.Received {
	t.Helper()
	got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: max})
	require.NoError(t, err)
	return got
}

func one(t testing.TB, q *visibility.Queue) *visibility.Received {
	t.Helper()
	got := receive(t, q, 1)
	require.Len(t, got, 1)
	return got[0]
}

func none(t testing.TB, q *visibility.Queue) {
	t.Helper()
	require.Empty(t, receive(t, q, 1))
}

func bodies(ms []*visibility.Received) []string {
	s := []string{}
	for _, m := range ms {
		s = append(s, string(m.Body))
	}
	return s
}

func stats(t testing.TB, q *visibility.Queue) visibility.Stats {
	t.Helper()
	s, err := q.Stats(ctx)
	require.NoError(t, err)
	return s
}

func counts(t testing.TB, q *visibility.Queue, visible, inFlight, delayed uint64) {
	t.Helper()
	s := stats(t, q)
	s.Bytes, s.OldestAge, s.Expired = 0, 0, 0
	require.Equal(t, visibility.Stats{Visible: visible, InFlight: inFlight, Delayed: delayed}, s)
}

// childEnv tells a re-executed test binary that it is a child, and what to do.
const childEnv = "PEBBLEMQ_VISIBILITY_CHILD"

// alterQueue and deleteQueue open the queue first.
func alterQueue(db *pebblemq.DB, name string, c *visibility.QueueConfig) error {
	q, err := visibility.LookupQueue(ctx, db, name)
	if err != nil {
		return err
	}
	return q.Alter(ctx, c)
}

func deleteQueue(db *pebblemq.DB, name string) error {
	q, err := visibility.LookupQueue(ctx, db, name)
	if err != nil {
		return err
	}
	return q.DeleteQueue(ctx)
}

func queueNames(t testing.TB, db *pebblemq.DB) (names []string) {
	list, err := visibility.Queues(ctx, db)
	require.NoError(t, err)
	for _, info := range list {
		names = append(names, info.Name)
	}
	return names
}
