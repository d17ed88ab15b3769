package guide_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/pebblemqtest"
)

func produce(ctx context.Context, db *pebblemq.DB, id, event []byte) error {
	orders, _, err := log.EnsureTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 8, RetentionTime: 7 * 24 * time.Hour})
	if err != nil {
		return err
	}
	_, err = orders.Append(ctx, log.Record{Key: id, Value: event})
	return err
}

func consume(ctx context.Context, orders *log.Topic, handle log.Handler) error {
	billing, _, err := orders.EnsureGroup(ctx, "billing", nil)
	if err != nil {
		return err
	}
	return billing.Run(ctx, handle, &log.RunOptions{Concurrency: 16})
}

func produceMany(ctx context.Context, orders *log.Topic, records []log.Record) error {
	for _, r := range records {
		orders.AppendAsync(ctx, r) // blocks while too many bytes wait
	}
	return orders.Flush(ctx) // the Futures have the outcomes
}

func pollAndCommit(ctx context.Context, group *log.Group, handle log.Handler) (err error) {
	member, err := group.Join(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, member.Leave(ctx)) }()
	for {
		records, err := member.Poll(ctx, 500)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := handle(ctx, r); err != nil {
				return err
			}
		}
		if err := member.Commit(pebblemq.WithDurability(ctx, pebblemq.Sync), records...); err != nil {
			return err
		}
	}
}

func transform(ctx context.Context, db *pebblemq.DB, member *log.Member, out *log.Topic) error {
	for r, err := range member.Records(ctx) {
		if err != nil {
			return err
		}
		err = db.Update(ctx, func(tx *pebblemq.Tx) error {
			if _, err := out.In(tx).Append(log.Record{Key: r.Key, Value: r.Value}); err != nil {
				return err
			}
			return member.In(tx).Commit(r)
		})
		if errors.Is(err, log.ErrFenced) {
			continue // the partition has another owner, who gets the record again
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func replay(ctx context.Context, group *log.Group, since time.Time) error {
	return group.Seek(ctx, log.At(since))
}

func readToTheEnd(ctx context.Context, topic *log.Topic, partition int, f func(log.Record) error) error {
	reader, err := topic.NewReader(partition, log.Start())
	if err != nil {
		return err
	}
	if err := reader.Until(log.End()); err != nil {
		return err
	}
	for r, err := range reader.Records(ctx) {
		if err != nil {
			return err
		}
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

func appendOnce(ctx context.Context, orders *log.Topic, id string, event []byte) error {
	_, err := orders.AppendWith(ctx, log.AppendOptions{ID: id}, log.Record{Value: event})
	return err
}

func openTopic(t *testing.T, db *pebblemq.DB, name string, c *log.TopicConfig) *log.Topic {
	topic, err := log.OpenTopic(t.Context(), db, name, c)
	require.NoError(t, err)
	return topic
}

func TestRecordsAreProducedAndConsumed(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		require.NoError(t, produce(ctx, db, []byte("42"), []byte("paid")))
		orders := openTopic(t, db, "orders", nil)
		require.NoError(t, produceMany(ctx, orders, make([]log.Record, 100)))
		must(orders.OpenGroup(ctx, "billing", nil))
		done := make(chan bool, 200)
		runs(t, func(ctx context.Context) error {
			return consume(ctx, orders, func(context.Context, log.Record) error { done <- true; return nil })
		})
		pebblemqtest.WaitIdle(t, db)
		require.Len(t, done, 101)

		// The same for an own group with Poll.
		audit := must(orders.OpenGroup(ctx, "audit", nil))
		polling, stop := context.WithCancel(ctx)
		n, ended := 0, make(chan error)
		go func() {
			ended <- pollAndCommit(polling, audit, func(context.Context, log.Record) error { n++; return nil })
		}()
		pebblemqtest.WaitIdle(t, db)
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Equal(t, 101, n)

		require.NoError(t, replay(ctx, audit, time.Now().Add(-time.Hour)))
		lag := 0
		for _, l := range must(audit.Lag(ctx)) {
			lag += int(l.Records)
		}
		require.Equal(t, 101, lag)
	})
}

func TestATransformIsExactlyOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, ctx context.Context, db *pebblemq.DB) {
		in, out := openTopic(t, db, "in", nil), openTopic(t, db, "out", nil)
		require.NoError(t, produceMany(ctx, in, make([]log.Record, 10)))
		group := must(in.OpenGroup(ctx, "transform", nil))
		member := must(group.Join(ctx, nil))
		ctx, stop := context.WithCancel(ctx)
		ended := make(chan error)
		go func() { ended <- transform(ctx, db, member, out) }()
		pebblemqtest.WaitIdle(t, db)
		n := 0
		require.NoError(t, readToTheEnd(ctx, out, 0, func(log.Record) error { n++; return nil }))
		require.Equal(t, 10, n)
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.NoError(t, member.Leave(t.Context()))
	})
}

// Where the log departs from Kafka, as far as the reference does not say so.
func TestDeparturesFromKafka(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, quiet())
		ctx := t.Context()
		_, err := log.LookupTopic(ctx, db, "orders")
		require.ErrorIs(t, err, log.ErrUnknownTopic, "no topic is made by using it")
		orders := openTopic(t, db, "Bestellungen / größer als 100 €", &log.TopicConfig{DedupeWindow: time.Minute})
		require.Equal(t, 1, orders.Partitions())
		require.Zero(t, orders.Config().RetentionTime)

		for range 2 {
			require.NoError(t, appendOnce(ctx, orders, "1", []byte("a")))
		}
		_, end, err := orders.Offsets(ctx, 0)
		require.NoError(t, err)
		require.EqualValues(t, 1, end)

		// A group begins at the start, and knows no other topic's groups.
		group := must(orders.OpenGroup(ctx, "g", nil))
		member := must(group.Join(ctx, nil))
		records := must(member.Poll(ctx, 10))
		require.Len(t, records, 1)

		// A commit goes neither back nor beyond the end.
		require.NoError(t, member.Commit(ctx, records...))
		require.ErrorIs(t, member.CommitOffset(ctx, log.Committed{Next: 0}), log.ErrBackwards)
		require.ErrorIs(t, member.CommitOffset(ctx, log.Committed{Next: 9}), log.ErrOffsetOutOfRange)

		// A live group can be moved and deleted.
		require.NoError(t, group.Seek(ctx, log.Start()))
		require.ErrorIs(t, member.Commit(ctx, records...), log.ErrFenced)
		require.NoError(t, group.Delete(ctx))
		_, err = member.Poll(ctx, 1)
		require.ErrorIs(t, err, log.ErrGroupDeleted)

		// A producer counts its records itself. Who opens it again fences the one before.
		zombie := must(orders.OpenProducer(ctx, "p"))
		first := log.AppendOptions{Partition: log.InPartition(0), Producer: must(orders.OpenProducer(ctx, "p"))}
		for range 2 {
			_, err = orders.AppendWith(ctx, first, log.Record{Value: []byte("x")})
			require.NoError(t, err)
		}
		_, err = orders.AppendWith(ctx, first, log.Record{Value: []byte("y")})
		require.ErrorIs(t, err, log.ErrNumberReused)
		_, err = zombie.Next(ctx, 0)
		require.ErrorIs(t, err, log.ErrProducerFenced)
		_, err = orders.Append(ctx, log.Record{Value: make([]byte, log.DefaultRecordBytes+1)})
		require.ErrorIs(t, err, pebblemq.ErrTooLarge)

		// A poll ends with the error of its context.
		ended, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		other := must(must(orders.OpenGroup(ctx, "h", &log.GroupConfig{From: log.End()})).Join(ctx, nil))
		_, err = other.Poll(ended, 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		compacted := openTopic(t, db, "compacted", &log.TopicConfig{Compact: true})
		_, err = compacted.Append(ctx, log.Record{Value: []byte("x")})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)

		// A member that does not poll keeps its partitions.
		time.Sleep(24 * time.Hour)
		require.Equal(t, []int{0}, other.Partitions())

		// A position that was trimmed is an error.
		_, err = orders.Append(ctx, log.Record{})
		require.NoError(t, err)
		require.NoError(t, orders.TrimTo(ctx, 0, log.End()))
		_, err = other.Poll(ctx, 1)
		require.ErrorIs(t, err, log.ErrOffsetOutOfRange)
		_, err = orders.NewReader(0, log.Offset(99).Or(log.Latest))
		require.ErrorIs(t, err, log.ErrOffsetOutOfRange, "beyond the end, whatever Or says")
	})
}
