package visibility_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func alter(t testing.TB, q *visibility.Queue, change func(c *visibility.QueueConfig)) {
	t.Helper()
	c := q.Config()
	change(&c)
	require.NoError(t, q.Alter(ctx, &c))
	require.Equal(t, c, q.Config())
}

func TestAQueueIsAlteredInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		d.queue("dead", nil, nil)
		q := d.queue("q", nil, nil)
		created := time.Now()
		send(t, q, "1", "2")
		pass(time.Second)
		alter(t, q, func(c *visibility.QueueConfig) {
			c.VisibilityTimeout, c.Delay, c.Retention = time.Minute, time.Hour, 3*time.Hour
			c.MaxInFlight, c.MaxBodyBytes, c.DeadLetterQueue, c.MaxReceives = 1, 5, "dead", 2
		})
		c := q.Config()
		_, err := visibility.OpenQueue(d.db, "q", nil)
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		d.reopen()
		q = d.queue("q", &c, nil)
		got, err := visibility.Describe(ctx, d.db, "q")
		require.NoError(t, err)
		require.Equal(t, c, got.Config)
		require.True(t, created.Equal(got.CreatedAt))
		require.True(t, created.Add(time.Second).Equal(got.AlteredAt))
		require.Equal(t, time.Now().Add(time.Minute), one(t, q).VisibleAt)
		_, err = q.Receive(ctx, nil)
		require.ErrorIs(t, err, visibility.ErrInFlightLimit)
		_, err = q.Send(ctx, visibility.Message{Body: make([]byte, 6)})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		send(t, q, "3")
		counts(t, q, 1, 1, 1)
		pass(3*time.Hour - time.Second)
		counts(t, q, 1, 0, 0)
	})
}

func TestAShorterRetentionCountsForWhatIsThere(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "1", "2")
		pass(time.Hour)
		send(t, q, "3")
		got, err := q.Receive(ctx, &visibility.ReceiveOptions{VisibilityTimeout: ptr(time.Hour)})
		require.NoError(t, err)
		alter(t, q, func(c *visibility.QueueConfig) { c.Retention = time.Hour })
		require.ErrorIs(t, q.Delete(ctx, got[0].Receipt), visibility.ErrExpired)
		synctest.Wait()
		counts(t, q, 1, 0, 0)
		alter(t, q, func(c *visibility.QueueConfig) { c.Retention = 2 * time.Hour })
		pass(2*time.Hour - 1)
		counts(t, q, 1, 0, 0)
		pass(1)
		counts(t, q, 0, 0, 0)
		expired(t, q, 3)
	})
}

func TestALongerRetentionCountsForAHandlerToo(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{Retention: time.Minute})
		send(t, q, "m")
		m := one(t, q)
		alter(t, q, func(c *visibility.QueueConfig) { c.Retention = time.Hour })
		pass(time.Minute)
		require.NoError(t, q.Delete(ctx, m.Receipt))
		counts(t, q, 0, 0, 0)
	})
}

func TestMoreMayBeInFlightAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", &visibility.QueueConfig{MaxInFlight: 1})
		send(t, q, "1", "2")
		one(t, q)
		got := make(chan []*visibility.Received)
		go func() {
			m, _ := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
			got <- m
		}()
		synctest.Wait()
		alter(t, q, func(c *visibility.QueueConfig) { c.MaxInFlight = 2 })
		require.Equal(t, []string{"2"}, bodies(<-got))
	})
}

func TestADeadLetterQueueIsSetAndTakenAway(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		dead := open(t, db, "dead", nil)
		q := open(t, db, "q", nil)
		send(t, q, "m")
		for range 3 {
			require.NoError(t, q.ChangeVisibility(ctx, one(t, q).Receipt, 0))
		}
		alter(t, q, func(c *visibility.QueueConfig) { c.DeadLetterQueue, c.MaxReceives = "dead", 3 })
		require.ErrorIs(t, visibility.DeleteQueue(ctx, db, "dead"), pebblemq.ErrInvalid)
		none(t, q)
		require.Equal(t, 3, one(t, dead).DeadLetter.ReceiveCount)
		alter(t, q, func(c *visibility.QueueConfig) { c.DeadLetterQueue, c.MaxReceives = "", 0 })
		require.NoError(t, visibility.DeleteQueue(ctx, db, "dead"))
	})
}

func TestWhatCannotBeAltered(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		open(t, db, "fifo", &visibility.QueueConfig{FIFO: true})
		q := open(t, db, "q", nil)
		before, err := visibility.Describe(ctx, db, "q")
		require.NoError(t, err)
		for want, c := range map[string]*visibility.QueueConfig{
			"FIFO":           {FIFO: true},
			"DedupeWindow":   {DedupeWindow: 1},
			"Retention":      {Retention: -1},
			"its own":        {DeadLetterQueue: "q", MaxReceives: 1},
			"no such queue":  {DeadLetterQueue: "none", MaxReceives: 1},
			"not of one":     {DeadLetterQueue: "fifo", MaxReceives: 1},
			"MaxBodyBytes":   {MaxBodyBytes: visibility.MaxBodyBytes + 1},
			"not between":    {VisibilityTimeout: visibility.MaxVisibility + 1},
			"delay":          {Delay: -1},
			"need one anoth": {DeadLetterQueue: "fifo"},
		} {
			require.ErrorContains(t, q.Alter(ctx, c), want)
		}
		after, err := visibility.Describe(ctx, db, "q")
		require.NoError(t, err)
		require.Equal(t, before, after)
		_, err = visibility.Describe(ctx, db, "none")
		require.ErrorIs(t, err, visibility.ErrNoQueue)
		_, err = visibility.Describe(ctx, db, "")
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		require.NoError(t, visibility.DeleteQueue(ctx, db, "q"))
		require.ErrorIs(t, q.Alter(ctx, nil), visibility.ErrNoQueue)
	})
}
