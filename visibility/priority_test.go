package visibility_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func sendAt(t testing.TB, q *visibility.Queue, priority uint8, group, body string) visibility.SendResult {
	t.Helper()
	r, err := q.SendBatch(ctx, []visibility.Message{{Body: []byte(body), Group: group, Priority: priority}}, nil)
	require.NoError(t, err)
	require.NoError(t, r[0].Err)
	return r[0]
}

func TestPriorityHigherComesFirstAndSequenceNumbersAreThoseOfTheQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxPriority: 9, DedupeWindow: time.Hour, DedupeByBody: true})
		for i, p := range []uint8{0, 9, 3, 9} {
			require.EqualValues(t, i+1, sendAt(t, q, p, "", string(rune('a'+i))).Sequence)
		}
		require.EqualValues(t, 3, sendAt(t, q, 3, "", "c").Sequence, "of the original")
		got := receive(t, q, 10)
		require.Equal(t, []string{"b", "d", "c", "a"}, bodies(got))
		require.EqualValues(t, 4, got[1].Sequence)
		require.EqualValues(t, 9, got[1].Priority)
		counts(t, q, 0, 4, 0)
		require.NoError(t, q.ChangeVisibility(ctx, got[3].Receipt, 0))
		require.NoError(t, q.ChangeVisibility(ctx, got[0].Receipt, 0))
		require.NoError(t, q.Delete(ctx, got[1].Receipt))
		require.Equal(t, []string{"b", "a"}, bodies(receive(t, q, 10)))
	})
}

func TestPriorityInAFIFOQueueCountsBetweenGroupsAndOrderWinsWithin(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{FIFO: true, MaxPriority: 9})
		sendAt(t, q, 0, "a", "a0")
		sendAt(t, q, 5, "b", "b5")
		sendAt(t, q, 9, "a", "a9")
		sendAt(t, q, 1, "b", "b1")
		got := receive(t, q, 10)
		require.Equal(t, []string{"b5", "b1", "a0", "a9"}, bodies(got))
		require.EqualValues(t, 0, got[3].Priority, "that of its group")
		remove(t, q, got[3])
		sendAt(t, q, 9, "a", "a9")
		none(t, q)
		remove(t, q, got[2])
		require.EqualValues(t, 0, one(t, q).Priority)
		remove(t, q, got[0], got[1])
		sendAt(t, q, 9, "b", "b9")
		require.EqualValues(t, 9, one(t, q).Priority, "the group was empty")
	})
}

func TestPrioritySurvivesAMoveToTheDeadLetterQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", &visibility.QueueConfig{FIFO: true, MaxPriority: 5})
		q := open(t, db, "q", &visibility.QueueConfig{FIFO: true, MaxPriority: 9, DeadLetterQueue: "dead", MaxReceives: 1})
		sendAt(t, q, 3, "a", "a3")
		sendAt(t, q, 9, "b", "b9")
		receiveFor(t, q, 2, 0)
		none(t, q)
		got := receive(t, dead, 2)
		require.Equal(t, []string{"b9", "a3"}, bodies(got))
		require.EqualValues(t, 5, got[0].Priority, "the highest there")
	})
}

func TestPriorityMayBeRaisedAndIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "a", "b")
		_, err := q.Send(ctx, visibility.Message{Body: []byte("x"), Priority: 1})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		alter(t, db, "q", visibility.QueueConfig{MaxPriority: 2})
		require.EqualValues(t, 3, sendAt(t, q, 2, "", "c").Sequence)
		require.Equal(t, []string{"c", "a", "b"}, bodies(receive(t, q, 3)))
		err = alterQueue(db, "q", &visibility.QueueConfig{MaxPriority: 1})
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		open(t, db, "f", fifo)
		err = alterQueue(db, "f", &visibility.QueueConfig{FIFO: true, MaxPriority: 1})
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		_, err = visibility.OpenQueue(ctx, db, "g", &visibility.QueueConfig{FIFO: true, MaxPriority: 1, Delay: 1})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		g := open(t, db, "g", &visibility.QueueConfig{FIFO: true, MaxPriority: 1})
		_, err = g.Send(ctx, visibility.Message{Group: "a", Delay: 1})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}
