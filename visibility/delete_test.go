package visibility_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestStaleReceiptIsRefusedEverywhere(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		old := one(t, q)
		<-time.After(time.Minute)
		fresh := one(t, q)
		require.ErrorIs(t, q.Delete(ctx, old.Receipt), visibility.ErrStaleReceipt)
		require.ErrorIs(t, q.ChangeVisibility(ctx, old.Receipt, 0), visibility.ErrStaleReceipt)
		require.ErrorIs(t, q.ChangeVisibility(ctx, old.Receipt, time.Hour), visibility.ErrStaleReceipt)
		counts(t, q, 0, 1, 0)
		require.NoError(t, q.ChangeVisibility(ctx, fresh.Receipt, 0))
		require.ErrorIs(t, q.Delete(ctx, old.Receipt), visibility.ErrStaleReceipt)
		require.NoError(t, q.Delete(ctx, fresh.Receipt))
	})
}

func TestDeleteAfterTheTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x", "y")
		m := one(t, q)
		<-time.After(time.Minute)
		synctest.Wait()
		counts(t, q, 2, 0, 0)
		require.ErrorIs(t, q.ChangeVisibility(ctx, m.Receipt, time.Minute), visibility.ErrNotInFlight)
		require.NoError(t, q.Delete(ctx, m.Receipt))
		counts(t, q, 1, 0, 0)
		require.Equal(t, []string{"y"}, bodies(receive(t, q, 10)))
	})
}

func TestChangeVisibility(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		m := one(t, q)
		<-time.After(29 * time.Second)
		require.NoError(t, q.ChangeVisibility(ctx, m.Receipt, time.Minute))
		<-time.After(59 * time.Second)
		none(t, q)
		require.NoError(t, q.ChangeVisibility(ctx, m.Receipt, 10*time.Second))
		<-time.After(10 * time.Second)
		synctest.Wait()
		m = one(t, q)
		require.Equal(t, 2, m.ReceiveCount)
		require.NoError(t, q.Delete(ctx, m.Receipt))
		require.ErrorIs(t, q.ChangeVisibility(ctx, m.Receipt, time.Minute), visibility.ErrNotInFlight)
	})
}

func TestVisibilityEndsTwelveHoursAfterTheReceive(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		got, err := q.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: 12 * time.Hour})
		require.NoError(t, err)
		r := got[0].Receipt
		<-time.After(time.Hour)
		require.ErrorIs(t, q.ChangeVisibility(ctx, r, 11*time.Hour+1), pebblemq.ErrInvalid)
		require.NoError(t, q.ChangeVisibility(ctx, r, 11*time.Hour))
		<-time.After(11*time.Hour - 1)
		synctest.Wait()
		counts(t, q, 0, 1, 0)
		<-time.After(time.Nanosecond)
		synctest.Wait()
		counts(t, q, 1, 0, 0)
	})
}

func TestForeignReceipts(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q, other := open(t, db, "q", nil), open(t, db, "other", nil)
		send(t, q, "x")
		send(t, other, "x")
		m, foreign := one(t, q), one(t, other)
		good := string(m.Receipt)
		bad := []string{"", "garbage", good[1:], good + "A", strings.ToUpper(good), string(foreign.Receipt), strings.Repeat("\x00", len(good)), strings.Repeat("A", 1<<16)}
		for i := range good {
			b := []byte(good)
			b[i] ^= 1
			bad = append(bad, string(b))
		}
		for _, r := range bad {
			require.ErrorIs(t, q.Delete(ctx, visibility.Receipt(r)), visibility.ErrInvalidReceipt, "%q", r)
			require.ErrorIs(t, q.ChangeVisibility(ctx, visibility.Receipt(r), 0), visibility.ErrInvalidReceipt)
		}
		counts(t, q, 0, 1, 0)

		require.NoError(t, deleteQueue(db, "q"))
		again := open(t, db, "q", nil)
		require.ErrorIs(t, again.Delete(ctx, m.Receipt), visibility.ErrInvalidReceipt)
	})
}

func TestDeadLetter(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 2})
		attributes := map[string]visibility.Attribute{"k": visibility.StringAttribute("v")}
		id, err := q.Send(ctx, visibility.Message{ID: "mine", Body: []byte("bad"), Attributes: attributes})
		require.NoError(t, err)
		sent := time.Now()
		send(t, q, "good")
		for range 2 {
			m := one(t, q)
			require.Equal(t, "bad", string(m.Body))
			<-time.After(30 * time.Second)
			synctest.Wait()
		}
		counts(t, q, 2, 0, 0)
		counts(t, dead, 0, 0, 0)
		moved := time.Now()
		require.Equal(t, "good", string(one(t, q).Body))
		counts(t, q, 0, 1, 0)
		counts(t, dead, 1, 0, 0)
		m := one(t, dead)
		require.Equal(t, id, m.ID)
		require.Equal(t, "mine", m.ID)
		require.Equal(t, attributes, m.Attributes)
		require.Equal(t, 1, m.ReceiveCount)
		require.True(t, sent.Equal(m.SentAt))
		require.Equal(t, "q", m.DeadLetter.Queue)
		require.Equal(t, 2, m.DeadLetter.ReceiveCount)
		require.True(t, moved.Equal(m.DeadLetter.At))
		require.NoError(t, dead.Delete(ctx, m.Receipt))
	})
}

func TestDeadLetterWakesThoseWhoWaitForIt(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
		const n = 200 // more than are moved at once
		for range n {
			send(t, q, "x")
		}
		require.Len(t, receive(t, q, n), n)
		got := make(chan int, 1)
		go func() {
			ms, _ := dead.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
			got <- len(ms)
		}()
		<-time.After(time.Minute)
		none(t, q)
		require.Equal(t, 1, <-got)
		counts(t, q, 0, 0, 0)
		counts(t, dead, n-1, 1, 0)
	})
}

func TestTransaction(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "a", "b")
		a, b := one(t, q), one(t, q)
		boom := errors.New("boom")
		change := func(then error) error {
			return db.Update(ctx, func(tx *pebblemq.Tx) error {
				v := q.In(tx)
				_, err := v.Send(visibility.Message{Body: []byte("c")})
				require.NoError(t, err)
				_, err = v.Send(visibility.Message{Body: []byte("d"), Delay: time.Second})
				require.NoError(t, err)
				require.NoError(t, v.Delete(a.Receipt))
				require.NoError(t, v.ChangeVisibility(b.Receipt, time.Hour))
				require.NoError(t, v.ChangeVisibility(b.Receipt, 0))
				if then == visibility.ErrNotInFlight {
					require.NoError(t, v.ChangeVisibility(a.Receipt, 0)) // refused at the commit
					return nil
				}
				return then
			})
		}
		require.ErrorIs(t, change(boom), boom)
		counts(t, q, 0, 2, 0)
		before := stats(t, q)
		require.ErrorIs(t, change(visibility.ErrNotInFlight), visibility.ErrNotInFlight)
		require.Equal(t, before, stats(t, q), "all was taken back")
		require.NoError(t, change(nil))
		counts(t, q, 2, 0, 1)
		require.Equal(t, []string{"b", "c"}, bodies(receive(t, q, 10)))
		<-time.After(time.Second)
		require.Equal(t, "d", string(one(t, q).Body))
	})
}

func TestRefusedTransactionLeavesTheTimeoutRunning(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "a", "gone")
		a, gone := one(t, q), one(t, q)
		require.NoError(t, q.Delete(ctx, gone.Receipt))
		for _, change := range []func(v visibility.QueueTx) error{
			func(v visibility.QueueTx) error { return v.Delete(a.Receipt) },
			func(v visibility.QueueTx) error { return v.ChangeVisibility(a.Receipt, time.Hour) },
			func(v visibility.QueueTx) error { return v.ChangeVisibility(a.Receipt, 0) },
		} {
			require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
				require.NoError(t, change(q.In(tx)))
				return q.In(tx).ChangeVisibility(gone.Receipt, time.Second)
			}), visibility.ErrNotInFlight)
			counts(t, q, 0, 1, 0)
		}
		<-time.After(30 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, one(t, q).ReceiveCount)
	})
}

func TestPurge(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "held", "a", "b")
		held := one(t, q)
		_, err := q.Send(ctx, visibility.Message{Delay: time.Hour})
		require.NoError(t, err)
		n, err := q.Purge(ctx)
		require.NoError(t, err)
		require.Equal(t, 3, n)
		counts(t, q, 0, 1, 0)
		<-time.After(30 * time.Second)
		synctest.Wait()
		m := one(t, q)
		require.Equal(t, held.ID, m.ID)
		require.NoError(t, q.Delete(ctx, m.Receipt))
		require.Zero(t, stats(t, q))
	})
}
