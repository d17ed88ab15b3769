package workqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/workqueue"
)

// A backlog may be larger than memory, and its dead letter place missing.
func TestAQueueWithTooManyDeadLettersWithoutAPlaceIsJammedUntilThereIsOne(t *testing.T) {
	const backlog, most = 40_000, 16 << 10
	for name, c := range map[string]struct {
		config workqueue.QueueConfig
		body   int
		jammed bool
	}{
		"by their number":              {workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: toDead}, 1, true},
		"of several priorities":        {workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: toDead, MaxPriority: 2}, 1, true},
		"not if their place is theirs": {workqueue.QueueConfig{MessageTTL: time.Second}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, b := open(t)
				declareWith(t, b, c.config)
				batch := make([]workqueue.Publishing, 10_000)
				for i := range batch {
					batch[i] = workqueue.Publishing{Key: "q", Message: workqueue.Message{Body: make([]byte, c.body), Priority: uint8(i % 3)}}
				}
				for range backlog / len(batch) {
					require.NoError(t, b.PublishBatch(bg, "", batch))
				}
				pass(time.Hour)
				st, err := queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				if !c.jammed {
					require.Zero(t, st)
					return
				}
				require.EqualValues(t, most, st.Stuck.Expired)
				require.EqualValues(t, most, st.Unacked, "what is in memory is bounded")
				require.EqualValues(t, backlog, st.Ready+st.Unacked)
				late := workqueue.Message{TTL: 10 * time.Hour}
				require.NoError(t, b.Publish(bg, "", "q", late))
				_, ok, err := queueOf(t, b, "q").Get(bg)
				require.NoError(t, err)
				require.False(t, ok, "nothing is handed out, least of all what has expired")

				declare(t, b, "dead")
				pass(time.Second)
				st, err = queueOf(t, b, "q").Stats(bg)
				require.NoError(t, err)
				require.Zero(t, st)
				require.Equal(t, backlog+1, ready(t, b, "dead"))
				require.EqualValues(t, backlog+1, totals(t, b, "q").Dead.Expired)
				publish(t, b, "q", "m")
				get(t, b, "q", "m")
			})
		})
	}
}

func TestAQueueIsJammedByTheSizeOfItsDeadLettersToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{MessageTTL: time.Second, DeadLetter: toDead})
		for range 30 {
			require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: make([]byte, workqueue.MaxBodyBytes)}))
		}
		pass(time.Hour)
		st, err := queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.EqualValues(t, 16, st.Stuck.Expired)
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{MessageTTL: time.Second}))
		pass(time.Second)
		st, err = queueOf(t, b, "q").Stats(bg)
		require.NoError(t, err)
		require.Zero(t, st, "the queue wants no dead letters any more")
	})
}
