package visibility_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// BenchmarkGroups sends, receives and deletes in batches of ten by four workers,
// in queues of all kinds in the same run: standard without and with groups, and
// FIFO with a few and with many.
func BenchmarkGroups(b *testing.B) {
	standard := &visibility.QueueConfig{}
	for _, c := range []struct {
		name   string
		config *visibility.QueueConfig
		groups uint64
	}{
		{"standard", standard, 0},
		{"standard/tenants=10", standard, 10},
		{"FIFO/groups=1000", fifo, 1000},
		{"FIFO/groups=1000000", fifo, 1_000_000},
	} {
		b.Run(c.name, func(b *testing.B) { benchGroups(b, c.config, c.groups) })
	}
	b.Run("pebble", func(b *testing.B) { benchPebble(b, false, 4, 10) })
}

func benchGroups(b *testing.B, c *visibility.QueueConfig, groups uint64) {
	db, err := pebblemq.Open(benchDir(b), &pebblemq.Options{Durability: pebblemq.NoSync})
	require.NoError(b, err)
	defer func() { require.NoError(b, db.Close()) }()
	q := open(b, db, "q", c)
	names := make([]string, min(groups, 4096))
	for i := range names {
		names[i] = fmt.Sprint("group ", i)
	}
	body := make([]byte, benchBody)
	var sent atomic.Uint64
	share(b, 4, 10, func(_, n int) error {
		messages := make([]visibility.Message, n)
		for i := range messages {
			messages[i].Body = body
			if groups > 0 {
				g := sent.Add(1) % groups
				messages[i].Group = names[g%uint64(len(names))]
				if groups > uint64(len(names)) {
					messages[i].Group = fmt.Sprint("group ", g)
				}
			}
		}
		if _, err := q.SendBatch(ctx, messages, nil); err != nil {
			return err
		}
		return receiveAndDelete(q, n)
	})
}

// receiveAndDelete takes n messages out of a queue.
func receiveAndDelete(q *visibility.Queue, n int) error {
	for n > 0 {
		got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: n, Wait: time.Minute})
		if err != nil {
			return err
		}
		receipts := make([]visibility.Receipt, len(got))
		for i, m := range got {
			receipts[i] = m.Receipt
		}
		if _, err := q.DeleteBatch(ctx, receipts, nil); err != nil {
			return err
		}
		n -= len(got)
	}
	return nil
}

// BenchmarkGroupsBacklog takes a backlog of b.N messages out of a queue, without
// the sending.
func BenchmarkGroupsBacklog(b *testing.B) {
	for _, c := range []struct {
		name   string
		config *visibility.QueueConfig
		groups int
	}{
		{"standard", &visibility.QueueConfig{}, 0},
		{"standard/tenants=1", &visibility.QueueConfig{}, 1},
		{"FIFO/groups=1", fifo, 1},
		{"FIFO/groups=10", fifo, 10},
		{"FIFO/groups=1000", fifo, 1000},
		{"FIFO/groups=1000000", fifo, 1_000_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			db, err := pebblemq.Open(benchDir(b), &pebblemq.Options{Durability: pebblemq.NoSync})
			require.NoError(b, err)
			defer func() { require.NoError(b, db.Close()) }()
			q := open(b, db, "q", c.config)
			batch := make([]visibility.Message, 0, 1000)
			for i := range b.N {
				m := visibility.Message{Body: make([]byte, benchBody)}
				if c.groups > 0 {
					m.Group = fmt.Sprint("group ", i%c.groups)
				}
				if batch = append(batch, m); len(batch) == cap(batch) || i == b.N-1 {
					_, err := q.SendBatch(ctx, batch, nil)
					require.NoError(b, err)
					batch = batch[:0]
				}
			}
			share(b, 4, 10, func(_, n int) error { return receiveAndDelete(q, n) })
		})
	}
}
