package visibility_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestLookupOpensAQueueWhateverItsConfiguration(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		_, err := visibility.LookupQueue(ctx, db, "q")
		require.ErrorIs(t, err, visibility.ErrUnknownQueue)
		made := open(t, db, "q", &visibility.QueueConfig{FIFO: true})
		q, err := visibility.LookupQueue(ctx, db, "q")
		require.NoError(t, err)
		require.Same(t, made, q)
		_, err = visibility.LookupQueue(ctx, db, "")
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	})
}

func TestOpenIsIdempotentAndNamesTheFieldThatDiffers(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		open(t, db, "dead", nil)
		open(t, db, "dead2", nil)
		c := visibility.QueueConfig{
			VisibilityTimeout: time.Minute, MaxVisibilityTimeout: time.Hour, Delay: time.Second, Retention: time.Hour,
			DeadLetterQueue: "dead", MaxReceives: 3, MaxBodyBytes: 10, MaxAttributes: 3, RequireBody: true,
		}
		q := open(t, db, "q", &c)
		require.Same(t, q, open(t, db, "q", &c))
		require.Equal(t, c, q.Config())
		require.Equal(t, "q", q.Name())
		for field, change := range map[string]func(c *visibility.QueueConfig){
			"VisibilityTimeout": func(c *visibility.QueueConfig) { c.VisibilityTimeout++ },
			"Delay":             func(c *visibility.QueueConfig) { c.Delay++ },
			"DeadLetterQueue":   func(c *visibility.QueueConfig) { c.DeadLetterQueue = "dead2" },
			"MaxReceives":       func(c *visibility.QueueConfig) { c.MaxReceives++ },
			"MaxBodyBytes":      func(c *visibility.QueueConfig) { c.MaxBodyBytes++ },
			"Retention":         func(c *visibility.QueueConfig) { c.Retention++ },
			"DeadLetterSources": func(c *visibility.QueueConfig) { c.DeadLetterSources = []string{"x"} },
		} {
			given := c
			change(&given)
			_, err := visibility.OpenQueue(ctx, db, "q", &given)
			require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
			require.ErrorContains(t, err, field)
		}
		require.Equal(t, []string{"dead", "dead2", "q"}, queueNames(t, db))
	})
}

func TestDeadLetterQueueExistsBeforeAndAfter(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		_, err := visibility.OpenQueue(ctx, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
		require.ErrorIs(t, err, visibility.ErrUnknownQueue)
		open(t, db, "dead", nil)
		open(t, db, "q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1})
		require.ErrorIs(t, deleteQueue(db, "dead"), pebblemq.ErrInvalid)
		require.NoError(t, deleteQueue(db, "q"))
		require.NoError(t, deleteQueue(db, "dead"))
	})
}

func TestDeletedQueue(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "a", "b")
		_, err := q.Send(ctx, visibility.Message{Delay: time.Minute})
		require.NoError(t, err)
		m := one(t, q)
		receive(t, q, 10)
		blocked := make(chan error)
		go func() {
			_, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
			blocked <- err
		}()
		synctest.Wait()
		require.NoError(t, deleteQueue(db, "q"))
		require.ErrorIs(t, <-blocked, visibility.ErrQueueDeleted)
		require.ErrorIs(t, q.DeleteQueue(ctx), visibility.ErrQueueDeleted)
		_, err = q.Send(ctx, visibility.Message{})
		require.ErrorIs(t, err, visibility.ErrQueueDeleted)
		_, err = q.Receive(ctx, nil)
		require.ErrorIs(t, err, visibility.ErrQueueDeleted)
		require.ErrorIs(t, q.Delete(ctx, m.Receipt), visibility.ErrQueueDeleted)
		require.ErrorIs(t, q.ChangeVisibility(ctx, m.Receipt, 0), visibility.ErrQueueDeleted)
		_, err = q.Stats(ctx)
		require.ErrorIs(t, err, visibility.ErrQueueDeleted)
		_, err = q.Purge(ctx)
		require.ErrorIs(t, err, visibility.ErrQueueDeleted)

		again := open(t, db, "q", nil)
		<-time.After(time.Hour)
		require.Zero(t, stats(t, again))
		none(t, again)
	})
}

func TestBadInput(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		long := strings.Repeat("n", 256)
		for name, want := range map[string]error{"": pebblemq.ErrInvalid, long: pebblemq.ErrTooLarge, "a\x00": pebblemq.ErrInvalid, "\xff": pebblemq.ErrInvalid} {
			_, err := visibility.OpenQueue(ctx, db, name, nil)
			require.ErrorIs(t, err, want, "%q", name)
			_, err = visibility.LookupQueue(ctx, db, name)
			require.ErrorIs(t, err, want)
		}
		open(t, db, long[:255], nil)
		for _, c := range []visibility.QueueConfig{
			{VisibilityTimeout: -2}, {VisibilityTimeout: 12*time.Hour + 1}, {Delay: -1}, {Delay: visibility.MaxDelay + 1},
			{MaxReceives: 1}, {DeadLetterQueue: "x"}, {MaxReceives: -1, DeadLetterQueue: "x"}, {MaxReceives: 1 << 31, DeadLetterQueue: "x"},
			{MaxReceives: 1, DeadLetterQueue: "bad"}, {MaxBodyBytes: -1},
		} {
			_, err := visibility.OpenQueue(ctx, db, "bad", &c)
			require.ErrorIs(t, err, pebblemq.ErrInvalid, "%+v", c)
		}
		for _, c := range []visibility.QueueConfig{{MaxBodyBytes: 64<<20 + 1}, {MaxReceives: 1, DeadLetterQueue: long}} {
			_, err := visibility.OpenQueue(ctx, db, "bad", &c)
			require.ErrorIs(t, err, pebblemq.ErrTooLarge, "%+v", c)
		}
		require.Len(t, queueNames(t, db), 1, "nothing was created")

		q := open(t, db, "q", &visibility.QueueConfig{MaxBodyBytes: 100, MaxAttributes: 10})
		many := map[string]visibility.Attribute{}
		for i := range 11 {
			many[string(rune('a'+i))] = visibility.StringAttribute("")
		}
		attribute := func(name string, a visibility.Attribute) visibility.Message {
			return visibility.Message{Attributes: map[string]visibility.Attribute{name: a}}
		}
		for _, c := range []struct {
			m    visibility.Message
			want error
		}{
			{visibility.Message{Body: make([]byte, 101)}, pebblemq.ErrTooLarge},
			{visibility.Message{Body: make([]byte, 99), Attributes: map[string]visibility.Attribute{"a": visibility.BinaryAttribute([]byte{1})}}, pebblemq.ErrTooLarge},
			{visibility.Message{Attributes: many}, pebblemq.ErrTooLarge},
			{visibility.Message{Delay: -2}, pebblemq.ErrInvalid},
			{visibility.Message{Delay: visibility.MaxDelay + 1}, pebblemq.ErrInvalid},
			{visibility.Message{ID: long + "n"}, pebblemq.ErrTooLarge},
			{visibility.Message{ID: "\x01"}, pebblemq.ErrInvalid},
			{attribute("", visibility.StringAttribute("")), pebblemq.ErrInvalid},
			{attribute("a", visibility.Attribute{}), pebblemq.ErrInvalid},
			{attribute("a", visibility.Attribute{Type: 4}), pebblemq.ErrInvalid},
			{attribute("a", visibility.StringAttribute("\xff")), pebblemq.ErrInvalid},
			{attribute("a", visibility.NumberAttribute("0x1")), pebblemq.ErrInvalid},
			{attribute("a", visibility.NumberAttribute("1e")), pebblemq.ErrInvalid},
			{attribute("a", visibility.NumberAttribute(".")), pebblemq.ErrInvalid},
			{attribute("a", visibility.NumberAttribute("")), pebblemq.ErrInvalid},
			{attribute("a", visibility.NumberAttribute("NaN")), pebblemq.ErrInvalid},
			{attribute(long+"n", visibility.StringAttribute("")), pebblemq.ErrTooLarge},
			{attribute("a", visibility.StringAttribute("").Labeled(long+"n")), pebblemq.ErrTooLarge},
			{attribute("a", visibility.StringAttribute("").Labeled("\n")), pebblemq.ErrInvalid},
		} {
			_, err := q.Send(ctx, c.m)
			require.ErrorIs(t, err, c.want, "%+v", c.m)
			err = db.Update(ctx, func(tx *pebblemq.Tx) error {
				_, err := q.In(tx).Send(c.m)
				require.ErrorIs(t, err, c.want)
				return nil
			})
			require.ErrorIs(t, err, c.want, "dooms the transaction")
			results, err := q.SendBatch(ctx, []visibility.Message{c.m}, nil)
			require.NoError(t, err)
			require.ErrorIs(t, results[0].Err, c.want)
		}
		delete(many, "a")
		for _, m := range []visibility.Message{
			{Body: make([]byte, 100)}, {Attributes: many}, {ID: long[:256]}, {}, {Delay: visibility.MaxDelay},
			{Body: make([]byte, 98), Attributes: map[string]visibility.Attribute{"a": visibility.BinaryAttribute([]byte{1})}},
		} {
			_, err := q.Send(ctx, m)
			require.NoError(t, err)
		}
		before := stats(t, q)

		for _, o := range []visibility.ReceiveOptions{
			{Max: -1}, {Wait: -2}, {VisibilityTimeout: -2}, {VisibilityTimeout: 12*time.Hour + 1},
		} {
			_, err := q.Receive(ctx, &o)
			require.ErrorIs(t, err, pebblemq.ErrInvalid, "%+v", o)
		}
		_, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 1001})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		require.Equal(t, before, stats(t, q))
		got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 1000, VisibilityTimeout: 12 * time.Hour, Wait: 1<<63 - 1})
		require.NoError(t, err)
		require.Len(t, got, 5)
		r := got[0].Receipt
		for _, d := range []time.Duration{-1, 12*time.Hour + 1, 1<<63 - 1} {
			require.ErrorIs(t, q.ChangeVisibility(ctx, r, d), pebblemq.ErrInvalid)
		}

		_, err = q.SendBatch(ctx, nil, nil)
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		_, err = q.SendBatch(ctx, make([]visibility.Message, visibility.MaxBatchEntries+1), nil)
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		large := visibility.Message{Body: make([]byte, visibility.MaxBatchBytes/2+1)}
		_, err = q.SendBatch(ctx, []visibility.Message{large, large}, nil)
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		_, err = q.DeleteBatch(ctx, nil, nil)
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		_, err = q.DeleteBatch(ctx, make([]visibility.Receipt, visibility.MaxBatchEntries+1), nil)
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)
		_, err = q.ChangeVisibilityBatch(ctx, nil, nil)
		require.ErrorIs(t, err, pebblemq.ErrInvalid)

		h := func(context.Context, *visibility.Received) error { return nil }
		require.ErrorIs(t, q.Run(ctx, nil, nil), pebblemq.ErrInvalid)
		for _, o := range []visibility.RunOptions{
			{Concurrency: -1}, {Concurrency: pebblemq.MaxConcurrency + 1}, {VisibilityTimeout: -1}, {VisibilityTimeout: visibility.MinRunVisibility - 1}, {VisibilityTimeout: 13 * time.Hour},
		} {
			require.ErrorIs(t, q.Run(ctx, h, &o), pebblemq.ErrInvalid, "%+v", o)
		}
	})
}

func TestClosedStoreAndEndedContext(t *testing.T) {
	bubble(t, func(t *testing.T, db *pebblemq.DB) {
		q := open(t, db, "q", nil)
		send(t, q, "x")
		m := one(t, q)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		calls := func(ctx context.Context) map[string]error {
			errs := map[string]error{}
			_, errs["Send"] = q.Send(ctx, visibility.Message{})
			_, errs["SendBatch"] = q.SendBatch(ctx, make([]visibility.Message, 1), nil)
			_, errs["Receive"] = q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
			errs["Delete"] = q.Delete(ctx, m.Receipt)
			errs["ChangeVisibility"] = q.ChangeVisibility(ctx, m.Receipt, 0)
			_, errs["Purge"] = q.Purge(ctx)
			_, errs["Stats"] = q.Stats(ctx)
			errs["DeleteQueue"] = q.DeleteQueue(ctx)
			return errs
		}
		for verb, err := range calls(ended) {
			require.ErrorIs(t, err, context.Canceled, verb)
		}
		counts(t, q, 0, 1, 0)
		blocked := make(chan error)
		go func() {
			_, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: time.Hour})
			blocked <- err
		}()
		synctest.Wait()
		require.NoError(t, db.Close())
		require.ErrorIs(t, <-blocked, pebblemq.ErrClosed)
		for verb, err := range calls(ctx) {
			require.ErrorIs(t, err, pebblemq.ErrClosed, verb)
		}
		_, err := visibility.OpenQueue(ctx, db, "q", nil)
		require.ErrorIs(t, err, pebblemq.ErrClosed)
		_, err = visibility.Queues(ctx, db)
		require.ErrorIs(t, err, pebblemq.ErrClosed)
	})
}
