package visibility_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestStatsTheAgeOfTheOldestIsExactAtOnce(t *testing.T) {
	for _, kind := range []bool{false, true} {
		t.Run(fmt.Sprintf("FIFO=%v", kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t)
				c := &visibility.QueueConfig{FIFO: kind, MaxPriority: map[bool]uint8{false: 2}[kind]}
				q := d.queue("q", c)
				age := func(want time.Duration) {
					t.Helper()
					require.Equal(t, want, stats(t, q).OldestAge)
				}
				age(0)
				sendTo(t, q, "a1")
				pass(time.Second)
				sendAt(t, q, c.MaxPriority, "b", "b1")
				age(time.Second)
				pass(time.Second)
				sendTo(t, q, "c1")
				age(2 * time.Second)
				got := receive(t, q, 2)
				age(2 * time.Second)
				first := map[string]*visibility.Received{}
				for _, m := range got {
					first[string(m.Body)] = m
				}
				remove(t, q, first["a1"])
				age(time.Second)
				d.reopen()
				q = d.queue("q", c)
				age(time.Second)
				remove(t, q, first["b1"])
				age(0)
				pass(time.Second)
				age(time.Second)
				if !kind {
					_, err := q.Send(ctx, visibility.Message{Body: []byte("d"), Delay: time.Minute})
					require.NoError(t, err)
					remove(t, q, one(t, q))
					age(0)
					pass(time.Minute)
					age(0)
					pass(time.Second)
					age(time.Second)
				}
				_, err := q.Purge(ctx)
				require.NoError(t, err)
				age(0)
			})
		})
	}
}

func TestStatsTheAgeOfTheOldestOfAnOlderDeadLetter(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
		send(t, q, "old")
		pass(time.Second)
		send(t, dead, "young")
		receiveFor(t, q, 1, 0)
		none(t, q)
		require.Equal(t, time.Second, stats(t, dead).OldestAge)
		got := receive(t, dead, 2)
		require.Equal(t, []string{"young", "old"}, bodies(got))
		remove(t, dead, got[1])
		require.Zero(t, stats(t, dead).OldestAge)
	})
}

func TestConcurrentCreatesHaveOneWinner(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		var wg sync.WaitGroup
		var won, lost atomic.Int64
		for i := range 20 {
			wg.Go(func() {
				_, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{Delay: time.Duration(i % 2)})
				if err == nil {
					won.Add(1)
					return
				}
				require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
				lost.Add(1)
			})
		}
		wg.Wait()
		require.EqualValues(t, 10, won.Load())
		require.EqualValues(t, 10, lost.Load())
	})
}
