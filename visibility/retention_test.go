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

// pass lets time go by, and everything happen that is due.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func expired(t *testing.T, q *visibility.Queue, n uint64) {
	t.Helper()
	require.Equal(t, n, stats(t, q).Expired)
}

func TestMessagesAreKeptForFourDaysByDefault(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "m")
		pass(4*24*time.Hour - 1)
		counts(t, q, 1, 0, 0)
		require.Equal(t, time.Now().Add(1), one(t, q).ExpiresAt)
		pass(1)
		counts(t, q, 0, 0, 0)
		expired(t, q, 1)
		none(t, q)
	})
}

func TestEachMessageEndsOnTime(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute})
		for i := range 100 {
			send(t, q, fmt.Sprint(i))
			pass(time.Second)
			counts(t, q, uint64(min(i+1, 59)), 0, 0)
			expired(t, q, uint64(max(0, i-58)))
		}
		require.Equal(t, "41", string(one(t, q).Body))
	})
}

func TestRetentionCountsWhileInFlight(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		t.Run(fmt.Sprintf("FIFO=%v", fifo), func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				q := open(t, db, "q", &visibility.QueueConfig{FIFO: fifo, Retention: time.Minute})
				for _, body := range []string{"1", "2"} {
					_, err := q.Send(ctx, visibility.Message{Group: "g", Body: []byte(body)})
					require.NoError(t, err)
					pass(time.Second)
				}
				m, err := q.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: ptr(time.Hour)})
				require.NoError(t, err)
				pass(57 * time.Second)
				require.NoError(t, q.ChangeVisibility(ctx, m[0].Receipt, time.Hour))
				pass(time.Second)
				require.ErrorIs(t, q.ChangeVisibility(ctx, m[0].Receipt, time.Hour), visibility.ErrExpired)
				err = q.Delete(ctx, m[0].Receipt)
				require.ErrorIs(t, err, visibility.ErrExpired)
				require.ErrorIs(t, err, visibility.ErrNotInFlight)
				require.Error(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return q.In(tx).Delete(m[0].Receipt) }))
				counts(t, q, 1, 0, 0)
				require.Equal(t, "2", string(one(t, q).Body), "its group goes on")
			})
		})
	}
}

func TestAHandlerIsToldThatItsMessageExpired(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Retention: 100 * time.Second})
		send(t, q, "m")
		begin := time.Now()
		c, stop := context.WithCancel(ctx)
		require.NoError(t, q.Run(c, func(ctx context.Context, m *visibility.Received) error {
			defer stop()
			<-ctx.Done()
			require.Equal(t, 100*time.Second, time.Since(begin))
			require.ErrorIs(t, context.Cause(ctx), visibility.ErrLeaseLost)
			require.ErrorIs(t, context.Cause(ctx), visibility.ErrExpired)
			return nil
		}, nil))
		synctest.Wait()
		counts(t, q, 0, 0, 0)
		expired(t, q, 1)
	})
}

func TestRetentionCountsFromTheEndOfTheDelay(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute})
		_, err := q.Send(ctx, visibility.Message{Body: []byte("late"), Delay: ptr(time.Hour)})
		require.NoError(t, err)
		pass(time.Hour - 30*time.Second)
		send(t, q, "soon")
		pass(30 * time.Second)
		counts(t, q, 2, 0, 0)
		pass(30 * time.Second)
		counts(t, q, 1, 0, 0)
		pass(30*time.Second - 1)
		require.Equal(t, "late", string(one(t, q).Body))
		pass(1)
		counts(t, q, 0, 0, 0)
		expired(t, q, 2)
	})
}

// What was sent while the clock was behind stands behind what ends later.
func TestRetentionAfterTheClockWasSetBack(t *testing.T) {
	bubble(t, func(t *testing.T, _ *pebblemq.DB) {
		offset := time.Hour
		db, err := pebblemq.OpenMemory(&pebblemq.Options{Clock: func() time.Time { return time.Now().Add(offset) }})
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		q := open(t, db, "q", &visibility.QueueConfig{Retention: 2 * time.Hour})
		send(t, q, "1")
		offset = 0
		send(t, q, "2")
		pass(2*time.Hour - 1)
		counts(t, q, 2, 0, 0)
		pass(1)
		counts(t, q, 1, 0, 0)
		require.Equal(t, "1", string(one(t, q).Body))
		pass(time.Hour)
		counts(t, q, 0, 0, 0)
	})
}

func TestWhatExpiresGoesToTheDeadLetterQueueIfAsked(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", &visibility.QueueConfig{Retention: time.Hour})
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Hour, DeadLetterQueue: "dead", DeadLetterExpired: true})
		id, err := q.Send(ctx, visibility.Message{Body: []byte("m")})
		require.NoError(t, err)
		sent := time.Now()
		one(t, q)
		pass(time.Hour)
		counts(t, q, 0, 0, 0)
		expired(t, q, 0)
		m := one(t, dead)
		require.Equal(t, id, m.ID)
		require.True(t, sent.Equal(m.SentAt))
		require.Equal(t, &visibility.DeadLetterInfo{
			Queue: "q", Reason: visibility.ReasonExpired, ReceiveCount: 1, At: time.Now(),
		}, m.DeadLetter)
		require.Equal(t, time.Now().Add(time.Hour), m.ExpiresAt, "it begins anew")
		pass(time.Hour)
		counts(t, dead, 0, 0, 0)
		expired(t, dead, 1)
	})
}

func TestRetentionOfADeadLetterGoesOnOrRestarts(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				dead := open(t, db, "dead", &visibility.QueueConfig{Retention: 2 * time.Hour, RestartRetention: restart})
				q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
				send(t, q, "m")
				one(t, q)
				pass(time.Hour)
				send(t, dead, "own")
				none(t, q)
				counts(t, dead, 2, 0, 0)
				end := time.Hour
				if restart {
					end = 2 * time.Hour
				}
				require.Equal(t, time.Now().Add(2*time.Hour), one(t, dead).ExpiresAt)
				require.Equal(t, time.Now().Add(end), one(t, dead).ExpiresAt)
				pass(end - time.Nanosecond)
				require.EqualValues(t, 2, stats(t, dead).Visible)
				pass(time.Nanosecond)
				require.EqualValues(t, 2-end/time.Hour%2-2*(end/(2*time.Hour)), stats(t, dead).Visible)
			})
		})
	}
}

func TestRetentionGoesOnWhileTheStoreIsClosed(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t)
				config := &visibility.QueueConfig{Retention: time.Hour}
				q := d.queue("q", config, nil)
				send(t, q, "1", "2")
				_, err := q.Send(ctx, visibility.Message{Body: []byte("3"), Delay: ptr(time.Second)})
				require.NoError(t, err)
				long, err := q.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: ptr(10 * time.Hour)})
				require.NoError(t, err)
				pass(time.Minute)
				send(t, q, "4")
				pass(time.Minute)
				if crash {
					d.crash(50)
				} else {
					d.reopen()
				}
				pass(58 * time.Minute)
				q = d.queue("q", config, nil)
				counts := stats(t, q)
				require.LessOrEqual(t, counts.Visible, uint64(4))
				synctest.Wait()
				require.ErrorIs(t, q.Delete(ctx, long[0].Receipt), visibility.ErrExpired)
				pass(time.Second)
				s := stats(t, q)
				require.Equal(t, []uint64{1, 0, 0, 3}, []uint64{s.Visible, s.InFlight, s.Delayed, s.Expired})
				require.Equal(t, "4", string(one(t, q).Body))
				pass(time.Minute)
				s = stats(t, q)
				require.Equal(t, []uint64{0, 0, 0, 4}, []uint64{s.Visible, s.InFlight, s.Delayed, s.Expired})
			})
		})
	}
}

// Beyond what is in memory, in groups that are blocked, and in several sweeps.
func TestMuchExpiresAtOnce(t *testing.T) {
	const n = 20_000
	for name, c := range map[string]visibility.QueueConfig{
		"standard": {Retention: time.Minute},
		"FIFO":     {Retention: time.Minute, FIFO: true},
		"dead":     {Retention: time.Minute, DeadLetterQueue: "dead", DeadLetterExpired: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, db *pebblemq.DB) {
				dead := open(t, db, "dead", nil)
				q := open(t, db, "q", &c)
				for range n / 10_000 {
					batch := make([]visibility.Message, 10_000)
					for i := range batch {
						batch[i] = visibility.Message{Body: make([]byte, 100), Group: fmt.Sprint(i % 3)}
					}
					_, err := q.SendBatch(ctx, batch)
					require.NoError(t, err)
				}
				require.Len(t, receive(t, q, 1000), 1000)
				pass(time.Second)
				_, err := q.Send(ctx, visibility.Message{Body: []byte("last"), Group: "1"})
				require.NoError(t, err)
				pass(59 * time.Second)
				require.Equal(t, "last", string(one(t, q).Body))
				counts(t, q, 0, 1, 0)
				s, d := stats(t, q), stats(t, dead)
				require.EqualValues(t, n, s.Expired+d.Visible)
				require.Equal(t, c.DeadLetterExpired, s.Expired == 0)
			})
		})
	}
}

func TestRetentionIsChecked(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		for _, retention := range []time.Duration{-1, visibility.MaxRetention + 1} {
			_, err := visibility.OpenQueue(db, "q", &visibility.QueueConfig{Retention: retention})
			require.ErrorIs(t, err, pebblemq.ErrInvalid)
			require.ErrorContains(t, err, "Retention")
		}
		_, err := visibility.OpenQueue(db, "q", &visibility.QueueConfig{DeadLetterExpired: true})
		require.ErrorContains(t, err, "DeadLetterQueue")
		q := open(t, db, "q", &visibility.QueueConfig{Retention: visibility.MaxRetention})
		send(t, q, "m")
		require.Equal(t, time.Now().Add(visibility.MaxRetention), one(t, q).ExpiresAt)
		_, err = visibility.OpenQueue(db, "q", nil)
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, "Retention")
	})
}

func TestTheEndOfWhatWasDeletedIsQuiet(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute})
		send(t, q, "m")
		require.NoError(t, q.Delete(ctx, one(t, q).Receipt))
		pass(time.Hour)
		require.Zero(t, stats(t, q))
		send(t, q, "m")
		pass(time.Minute)
		expired(t, q, 1)
	})
}
