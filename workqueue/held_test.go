package workqueue_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// consumeAs starts a consumer of queue "q".
func consumeAs(t testing.TB, b *workqueue.Broker, tag string, priority, prefetch int) *workqueue.Consumer {
	t.Helper()
	c, err := queueOf(t, b, "q").Consume(bg, &workqueue.ConsumeOptions{Tag: tag, Priority: priority, Prefetch: prefetch})
	require.NoError(t, err)
	return c
}

// nothing requires that a consumer has nothing to read.
func nothing(t testing.TB, c *workqueue.Consumer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, time.Second)
	defer cancel()
	_, err := c.Next(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAckUpToSettlesWhatItsConsumerGotBefore(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	c, other := consumeAs(t, b, "c", 0, 3), consumeAs(t, b, "other", 0, 3)
	publish(t, b, "q", "1", "2", "3", "4", "5", "6")
	one, theirs := next(t, c, "1"), next(t, other, "2")
	three, five := next(t, c, "3"), next(t, c, "5")
	require.NoError(t, three.AckUpTo(bg))
	require.ErrorIs(t, one.Ack(bg), workqueue.ErrSettled)
	require.ErrorIs(t, three.AckUpTo(bg), workqueue.ErrSettled)
	require.NoError(t, theirs.Ack(bg), "another's is left alone")
	require.NoError(t, five.Ack(bg), "and so is a later one")

	four, six := next(t, other, "4"), next(t, other, "6")
	errNo := context.Canceled
	require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		require.NoError(t, b.In(tx).AckUpTo(six))
		return errNo
	}), errNo)
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).AckUpTo(six) }))
	require.ErrorIs(t, four.Ack(bg), workqueue.ErrSettled)
	require.Zero(t, ready(t, b, "q"))

	publish(t, b, "q", "7")
	require.NoError(t, c.Close())
	require.NoError(t, other.Close())
	require.NoError(t, get(t, b, "q", "7").AckUpTo(bg), "of a Get it is Ack")
}

func TestNackUpToIsOneCommitAndKeepsTheOrder(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q", "dead")
	publish(t, b, "q", "1", "2", "3", "4")
	c := consumeAs(t, b, "c", 0, 4)
	next(t, c, "1")
	next(t, c, "2")
	three := next(t, c, "3")
	require.NoError(t, three.NackUpTo(bg, true))
	next(t, c, "4")
	for _, body := range []string{"1", "2", "3"} {
		d := next(t, c, body)
		require.Equal(t, 2, d.DeliveryCount)
		if body == "3" {
			require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).NackUpTo(d, false) }))
			require.ErrorIs(t, d.Ack(bg), workqueue.ErrSettled)
		}
	}
	st, err := queueOf(t, b, "q").Stats(bg)
	require.NoError(t, err)
	require.Zero(t, st.Ready+st.Unacked)
}

func TestConsumersOfAHigherPriorityComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		low, high := consumeAs(t, b, "low", 0, 1), consumeAs(t, b, "high", 10, 2)
		publish(t, b, "q", "1", "2", "3", "4")
		one := next(t, high, "1")
		next(t, high, "2")
		next(t, low, "3")
		require.NoError(t, one.Ack(bg))
		next(t, high, "4")
		equal := consumeAs(t, b, "equal", 10, 10)
		more := consumeAs(t, b, "more", 10, 10)
		publish(t, b, "q", "5", "6", "7", "8")
		for range 2 { // in turn among equals
			_, err := equal.Next(bg)
			require.NoError(t, err)
			_, err = more.Next(bg)
			require.NoError(t, err)
		}
		nothing(t, low)
	})
}

func TestGetTakesNothingBesideASingleActiveConsumer(t *testing.T) {
	_, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{SingleActive: true})
	require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: "m"}))
	c, err := queueOf(t, b, "q").Consume(bg, nil)
	require.NoError(t, err)
	_, ok, err := queueOf(t, b, "q").Get(bg)
	require.ErrorIs(t, err, workqueue.ErrInUse)
	require.False(t, ok)
	require.NoError(t, c.Close())
	d, ok, err := queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, d.Ack(bg))
}

func TestASingleActiveConsumerHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{SingleActive: true})
		first, second := consumeAs(t, b, "first", 0, 2), consumeAs(t, b, "second", 0, 2)
		publish(t, b, "q", "1", "2", "3", "4")
		one, two := next(t, first, "1"), next(t, first, "2")
		nothing(t, second)
		boss := consumeAs(t, b, "boss", 5, 2)
		require.NoError(t, one.Ack(bg))
		nothing(t, first)
		nothing(t, boss) // until the first holds nothing any more
		require.NoError(t, two.Ack(bg))
		next(t, boss, "3")
		next(t, boss, "4")
		require.NoError(t, boss.Close())
		require.True(t, next(t, first, "3").Redelivered, "the first that came is next")
		require.NoError(t, first.Cancel())
		next(t, second, "4") // which nobody had seen
	})
}

func TestACancelledConsumerMaySettleWhatItHasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "1", "2", "3")
		c := consumeAs(t, b, "c", 0, 3)
		one, two := next(t, c, "1"), next(t, c, "2")
		require.NoError(t, c.Cancel())
		require.NoError(t, c.Cancel())
		_, err := c.Next(bg)
		require.ErrorIs(t, err, workqueue.ErrConsumerClosed)
		three := get(t, b, "q", "3")
		require.False(t, three.Redelivered, "nobody had seen it")
		require.NoError(t, one.Ack(bg))
		require.NoError(t, c.Close())
		require.ErrorIs(t, two.Ack(bg), workqueue.ErrDeliveryLost)
		require.Equal(t, 2, get(t, b, "q", "2").DeliveryCount)
		require.NoError(t, c.Close())
	})
}

func TestADeliveryThatIsNotAcknowledgedInTimeGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declareWith(t, b, workqueue.QueueConfig{AckTimeout: time.Minute})
		publish(t, b, "q", "1", "2", "3")
		c := consumeAs(t, b, "c", 0, 1)
		one := next(t, c, "1")
		two := get(t, b, "q", "2")
		pass(30 * time.Second)
		three := get(t, b, "q", "3")
		pass(30*time.Second - 1)
		require.Zero(t, ready(t, b, "q"))
		pass(1)
		require.ErrorIs(t, one.Ack(bg), workqueue.ErrDeliveryLost)
		require.ErrorIs(t, two.Ack(bg), workqueue.ErrDeliveryLost)
		require.NoError(t, three.Ack(bg), "it has its own time")
		again := next(t, c, "1")
		require.Equal(t, 2, again.DeliveryCount, "the consumer goes on")
		require.NoError(t, again.Ack(bg))
		again = next(t, c, "2")
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{AckTimeout: workqueue.NoAckTimeout}))
		pass(2 * time.Hour)
		require.NoError(t, again.Ack(bg))
	})
}

func TestTheAckTimeoutIsHalfAnHourByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "1")
		d := get(t, b, "q", "1")
		pass(30*time.Minute - 1)
		require.Zero(t, ready(t, b, "q"))
		pass(1)
		require.Equal(t, 1, ready(t, b, "q"))
		require.ErrorIs(t, d.Ack(bg), workqueue.ErrDeliveryLost)
		for _, bad := range []time.Duration{-2, workqueue.MinAckTimeout - 1, workqueue.MaxAckTimeout + 1} {
			require.ErrorIs(t, errOf(b.DeclareQueue(bg, "bad", &workqueue.QueueConfig{AckTimeout: bad})), pebblemq.ErrInvalid)
		}
		require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{AckTimeout: time.Hour})), pebblemq.ErrConfigMismatch)
		require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{SingleActive: true})), pebblemq.ErrConfigMismatch)
	})
}
