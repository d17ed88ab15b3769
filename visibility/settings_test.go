package visibility_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestAQueueMayHaveNoVisibilityTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{VisibilityTimeout: visibility.NoVisibilityTimeout})
		send(t, q, "a")
		for n := range 3 {
			m := one(t, q)
			require.Equal(t, n+1, m.ReceiveCount)
			counts(t, q, 1, 0, 0)
		}
		require.Len(t, receiveFor(t, q, 1, time.Minute), 1)
		counts(t, q, 0, 1, 0)
		require.ErrorIs(t, q.Run(ctx, nil, nil), pebblemq.ErrInvalid)
	})
}

func TestAQueueMayHaveAWaitOfItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{ReceiveWait: 20 * time.Second})
		for _, c := range []struct{ asked, waits time.Duration }{{0, 20 * time.Second}, {time.Second, time.Second}, {visibility.NoWait, 0}} {
			begin := time.Now()
			got, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: c.asked})
			require.NoError(t, err)
			require.Empty(t, got)
			require.Equal(t, c.waits, time.Since(begin))
		}
		done := make(chan int)
		go func() {
			got, _ := q.Receive(ctx, nil)
			done <- len(got)
		}()
		synctest.Wait()
		send(t, q, "a")
		require.Equal(t, 1, <-done)
	})
}

func TestADelayOfTheQueueIsOverriddenByNoDelay(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Delay: time.Minute})
		_, err := q.SendBatch(ctx, []visibility.Message{{}, {Delay: time.Hour}, {Delay: visibility.NoDelay}}, nil)
		require.NoError(t, err)
		counts(t, q, 1, 0, 2)
	})
}

func TestAMessageKeepsItsDedupeIDAndTheLabelsOfItsAttributes(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		open(t, db, "dead", &visibility.QueueConfig{DedupeWindow: time.Hour})
		q := open(t, db, "q", &visibility.QueueConfig{DedupeWindow: time.Hour, DeadLetterQueue: "dead", MaxReceives: 1, VisibilityTimeout: visibility.NoVisibilityTimeout})
		sent := visibility.Message{ID: "1", DedupeID: "d", Attributes: map[string]visibility.Attribute{
			"size": visibility.NumberAttribute("3").Labeled("int"), "kind": visibility.StringAttribute("x"),
		}}
		_, err := q.Send(ctx, sent)
		require.NoError(t, err)
		got := one(t, q)
		require.Equal(t, sent.DedupeID, got.DedupeID)
		require.Equal(t, sent.Attributes, got.Attributes)
		require.Equal(t, "Number.int", got.Attributes["size"].DataType())
		require.Equal(t, "String", got.Attributes["kind"].DataType())
		none(t, q)
		dead, err := visibility.LookupQueue(ctx, db, "dead")
		require.NoError(t, err)
		letter := one(t, dead)
		require.Equal(t, "d", letter.DedupeID)
		require.Equal(t, sent.Attributes, letter.Attributes)
	})
}

// A transaction that is carried out again, because its first outcome was not known, must not
// have its effects twice.
func TestInATransactionAReceiptThatIsUsedUpIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		for _, c := range []*visibility.QueueConfig{nil, {MaxPriority: 2}, {FIFO: true}} {
			q := open(t, db, "from", c)
			to := open(t, db, "to", nil)
			m := visibility.Message{}
			if c != nil && c.FIFO {
				m.Group = "g"
			}
			_, err := q.Send(ctx, m)
			require.NoError(t, err)
			receipt := one(t, q).Receipt
			forward := func(times int) error {
				return db.Update(ctx, func(tx *pebblemq.Tx) error {
					if _, err := to.In(tx).Send(visibility.Message{}); err != nil {
						return err
					}
					for range times {
						_ = q.In(tx).Delete(receipt)
					}
					return nil
				})
			}
			require.ErrorIs(t, forward(2), visibility.ErrNotInFlight, "used up in the transaction itself")
			counts(t, to, 0, 0, 0)
			counts(t, q, 0, 1, 0)
			require.NoError(t, forward(1))
			require.ErrorIs(t, forward(1), visibility.ErrNotInFlight)
			counts(t, to, 1, 0, 0)
			require.NoError(t, q.Delete(ctx, receipt), "without an effect it is a success")
			require.NoError(t, q.DeleteQueue(ctx))
			require.NoError(t, to.DeleteQueue(ctx))
		}
	})
}
