package visibility_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestRetentionIsFourDaysByDefaultAndExact(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		require.Equal(t, 4*24*time.Hour, open(t, db, "standard", nil).Config().Retention)
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute})
		send(t, q, "old")
		<-time.After(time.Nanosecond)
		send(t, q, "young")
		<-time.After(time.Minute - 2)
		require.Equal(t, []string{"old", "young"}, bodies(receiveFor(t, q, 2, 0)))
		<-time.After(1)
		require.Equal(t, []string{"young"}, bodies(receiveFor(t, q, 2, 0)))
		counts(t, q, 1, 0, 0)
		<-time.After(1)
		counts(t, q, 0, 0, 0)
		require.Zero(t, stats(t, q).Bytes)
	})
}

// receiveFor receives with a visibility timeout, of which 0 is none.
func receiveFor(t *testing.T, q *visibility.Queue, max int, vt time.Duration) []*visibility.Received {
	t.Helper()
	if vt == 0 {
		vt = visibility.NoVisibilityTimeout
	}
	got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: max, VisibilityTimeout: vt})
	require.NoError(t, err)
	return got
}

func TestRetentionCountsWhileInFlightAndTheReceiptIsRefusedThen(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute, MaxInFlight: 1})
		send(t, q, "a", "b")
		m := receiveFor(t, q, 1, time.Hour)[0]
		require.Equal(t, m.SentAt.Add(time.Minute), m.ExpiresAt)
		<-time.After(time.Minute)
		for range 2 { // before the sweep, and after
			require.ErrorIs(t, q.Delete(ctx, m.Receipt), visibility.ErrExpired)
			require.ErrorIs(t, q.ChangeVisibility(ctx, m.Receipt, time.Minute), visibility.ErrExpired)
			synctest.Wait()
		}
		counts(t, q, 0, 0, 0)
		send(t, q, "c")
		require.Equal(t, "c", string(one(t, q).Body), "there is room in flight")
	})
}

func TestRetentionCancelsTheContextOfAHandler(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute, VisibilityTimeout: time.Hour})
		send(t, q, "a")
		ctx, stop := context.WithCancel(ctx)
		began := time.Now()
		require.NoError(t, q.Run(ctx, func(ctx context.Context, _ *visibility.Received) error {
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), visibility.ErrLeaseLost)
			require.ErrorIs(t, context.Cause(ctx), visibility.ErrExpired)
			require.Equal(t, time.Minute, time.Since(began))
			stop()
			return context.Cause(ctx)
		}, nil))
		counts(t, q, 0, 0, 0)
	})
}

func TestRetentionOfADelayedMessageCountsFromWhenItIsDue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute})
		_, err := q.Send(ctx, visibility.Message{Body: []byte("later"), Delay: time.Hour})
		require.NoError(t, err)
		pass(time.Hour - time.Second)
		send(t, q, "now")
		pass(time.Second)
		counts(t, q, 2, 0, 0)
		pass(59 * time.Second)
		counts(t, q, 1, 0, 0)
		pass(time.Second)
		counts(t, q, 0, 0, 0)
	})
}

func TestRetentionGoesOnWhileTheStoreIsClosed(t *testing.T) {
	for _, kind := range []bool{false, true} {
		t.Run(fmt.Sprintf("FIFO=%v", kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &visibility.QueueConfig{FIFO: kind, Retention: time.Minute}
				d := newDisk(t)
				q := d.queue("q", c)
				for i := range 5000 { // more than a window
					_, err := q.Send(pebblemq.WithDurability(ctx, pebblemq.NoSync), visibility.Message{Body: []byte("x"), Group: fmt.Sprint(i % 3)})
					require.NoError(t, err)
				}
				taken := receiveFor(t, q, 10, time.Hour)
				pass(30 * time.Second)
				_, err := q.Send(ctx, visibility.Message{Body: []byte("young"), Group: "y"})
				require.NoError(t, err)
				d.reopen()
				<-time.After(30 * time.Second)
				q = d.queue("q", c)
				synctest.Wait()
				counts(t, q, 1, 0, 0)
				require.ErrorIs(t, q.Delete(ctx, taken[0].Receipt), visibility.ErrExpired)
				require.Equal(t, "young", string(one(t, q).Body))
				require.Equal(t, 30*time.Second, stats(t, q).OldestAge)
			})
		})
	}
}

func TestRetentionWhatExpiresCanGoToTheDeadLetterQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", &visibility.QueueConfig{Retention: 90 * time.Second})
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute, DeadLetterQueue: "dead", DeadLetterExpired: true})
		send(t, q, "in flight", "waits")
		receiveFor(t, q, 2, 0)
		m := receiveFor(t, q, 1, time.Hour)[0]
		pass(time.Minute)
		counts(t, q, 0, 0, 0)
		require.ErrorIs(t, q.Delete(ctx, m.Receipt), visibility.ErrExpired)
		got := receive(t, dead, 3)
		require.Equal(t, []string{"in flight", "waits"}, bodies(got))
		for i, receives := range []int{1, 2} { // by now
			require.Equal(t, &visibility.DeadLetterInfo{
				Queue: "q", Reason: visibility.ReasonExpired, At: time.Now(), ReceiveCount: receives, Deaths: 1,
			}, got[1-i].DeadLetter)
		}
		pass(30 * time.Second)
		counts(t, dead, 0, 0, 0)
	})
}

func TestRetentionCountsFromTheFirstSendAfterAMoveOrRestarts(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarts=%v", restarts), func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				dead := open(t, db, "dead", &visibility.QueueConfig{Retention: time.Minute, RetentionRestarts: restarts})
				q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
				send(t, q, "a")
				pass(20 * time.Second)
				send(t, dead, "younger") // so the dead letter is out of order
				pass(20 * time.Second)
				receiveFor(t, q, 1, 0)
				none(t, q)
				require.Equal(t, map[bool]time.Duration{false: 40 * time.Second, true: 20 * time.Second}[restarts], stats(t, dead).OldestAge)
				pass(19 * time.Second)
				counts(t, dead, 2, 0, 0)
				pass(time.Second)
				counts(t, dead, map[bool]uint64{false: 1, true: 2}[restarts], 0, 0)
				pass(20 * time.Second)
				counts(t, dead, map[bool]uint64{false: 0, true: 1}[restarts], 0, 0)
				pass(20 * time.Second)
				counts(t, dead, 0, 0, 0)
			})
		})
	}
}

func TestRetentionLetsAGroupGoOn(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{FIFO: true, Retention: time.Minute})
		sendTo(t, q, "g1")
		pass(30 * time.Second)
		sendTo(t, q, "g2")
		require.Equal(t, []string{"g1"}, bodies(receiveFor(t, q, 1, time.Hour)))
		none(t, q)
		began := time.Now()
		got, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
		require.NoError(t, err)
		require.Equal(t, []string{"g2"}, bodies(got))
		require.Equal(t, 30*time.Second, time.Since(began))
	})
}

func TestRetentionOutOfRange(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		for _, d := range []time.Duration{-1, visibility.MaxRetention + 1} {
			_, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{Retention: d})
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
			require.ErrorContains(t, err, "Retention")
		}
		q := open(t, db, "q", &visibility.QueueConfig{Retention: visibility.MaxRetention})
		send(t, q, "a")
		require.Equal(t, "a", string(one(t, q).Body))
		open(t, db, "short", &visibility.QueueConfig{Retention: 1})
	})
}

// By default both are kept for the same time.
func TestRetentionOfWhatWouldBeOverInTheDeadLetterQueueBeginsAnew(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", &visibility.QueueConfig{Retention: time.Hour})
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Hour, DeadLetterQueue: "dead", DeadLetterExpired: true})
		send(t, q, "m")
		pass(time.Hour)
		counts(t, q, 0, 0, 0)
		require.Zero(t, stats(t, q).Expired)
		got, err := dead.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: visibility.NoVisibilityTimeout})
		require.NoError(t, err)
		require.Equal(t, []string{"m"}, bodies(got))
		require.Equal(t, time.Now().Add(time.Hour), got[0].ExpiresAt)
		pass(time.Hour - 1)
		counts(t, dead, 1, 0, 0)
		pass(1)
		counts(t, dead, 0, 0, 0)
		require.EqualValues(t, 1, stats(t, dead).Expired)
	})
}

func TestRetentionWhatIsDroppedIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		config := &visibility.QueueConfig{Retention: time.Minute}
		q := d.queue("q", config)
		_, err := q.SendBatch(ctx, make([]visibility.Message, 10_000), nil) // also beyond the window
		require.NoError(t, err)
		send(t, q, "m")
		receive(t, q, 3)
		pass(time.Minute)
		counts(t, q, 0, 0, 0)
		require.EqualValues(t, 10_001, stats(t, q).Expired)
		pass(time.Second)
		d.reopen()
		q = d.queue("q", config)
		require.EqualValues(t, 10_001, stats(t, q).Expired)
	})
}
