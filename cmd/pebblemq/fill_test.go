package main

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

var eventTime = time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)

// fill makes a store with objects of all kinds and with messages in all states.
func fill(t require.TestingT, dir string) {
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	fillLog(t, db)
	fillVisibility(t, db)
	fillBroker(t, db)
	fillKeys(t, db)
	require.NoError(t, db.Close())
}

func fillLog(t require.TestingT, db *pebblemq.DB) {
	ctx := context.Background()
	orders, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 2, Compression: log.Zstd, IndexKeys: true, DedupeWindow: time.Hour})
	require.NoError(t, err)
	for p := range 2 {
		records := []log.Record{
			{Key: []byte("a"), Value: []byte("first"), Timestamp: eventTime, Headers: []log.Header{{Name: "h", Value: []byte("1")}, {Name: "h"}}},
			{Value: []byte{0xff, 0}, Timestamp: eventTime.Add(time.Second)},
			{Key: []byte{}, Value: []byte{}, Timestamp: eventTime.Add(2 * time.Second)},
			{Key: []byte("a"), Timestamp: eventTime.Add(3 * time.Second)},
		}
		_, err := orders.AppendWith(ctx, log.AppendOptions{Partition: log.InPartition(p)}, records...)
		require.NoError(t, err)
	}
	require.NoError(t, orders.TrimTo(ctx, 1, log.Offset(1)))
	billing, err := orders.OpenGroup(ctx, "billing", &log.GroupConfig{From: log.End().Or(log.Earliest)})
	require.NoError(t, err)
	require.NoError(t, billing.Seek(ctx, log.Offset(3)))
	m, err := billing.Join(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, m.CommitOffset(ctx, log.Committed{Partition: 0, Next: 3, Metadata: "checkpoint 7"}))
	require.NoError(t, m.Leave(ctx))
	_, err = orders.OpenGroup(ctx, "search", nil)
	require.NoError(t, err)

	_, err = log.OpenTopic(ctx, db, "audit", &log.TopicConfig{TimestampType: log.AppendTime, RetentionTime: 24 * time.Hour, MaxRecordBytes: 2048})
	require.NoError(t, err)
	state, err := log.OpenTopic(ctx, db, "state", &log.TopicConfig{Compact: true})
	require.NoError(t, err)
	_, err = state.Append(ctx, log.Record{Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)
}

func fillVisibility(t require.TestingT, db *pebblemq.DB) {
	ctx := context.Background()
	failed, err := visibility.OpenQueue(ctx, db, "failed", nil)
	require.NoError(t, err)
	_, err = failed.Send(ctx, visibility.Message{ID: "dead", Body: []byte("x")})
	require.NoError(t, err)
	parcels, err := visibility.OpenQueue(ctx, db, "parcels", &visibility.QueueConfig{
		DeadLetterQueue: "failed", MaxReceives: 3, Delay: time.Minute, RequireBody: true, MaxBodyBytes: 2048, MaxPriority: 5,
	})
	require.NoError(t, err)
	for _, m := range []visibility.Message{
		{ID: "p1", Body: []byte("one"), Delay: visibility.NoDelay, Attributes: map[string]visibility.Attribute{
			"n": visibility.NumberAttribute("42").Labeled("int"), "b": visibility.BinaryAttribute([]byte{0xff}),
		}},
		{ID: "p2", Body: []byte{0xfe}, Delay: visibility.NoDelay, Priority: 3},
		{ID: "p3", Body: []byte("later"), Delay: time.Hour},
	} {
		_, err := parcels.Send(ctx, m)
		require.NoError(t, err)
	}
	steps, err := visibility.OpenQueue(ctx, db, "steps", &visibility.QueueConfig{FIFO: true, DedupeByBody: true})
	require.NoError(t, err)
	for _, m := range []visibility.Message{
		{ID: "s1", Group: "g", Body: []byte("same")},
		{ID: "s2", Group: "g", Body: []byte("same"), DedupeID: "other"},
	} {
		_, err := steps.Send(ctx, m)
		require.NoError(t, err)
	}
}

func fillBroker(t require.TestingT, db *pebblemq.DB) {
	ctx := context.Background()
	b, err := workqueue.OpenBroker(ctx, db, "main")
	require.NoError(t, err)
	_, err = b.Apply(ctx, &workqueue.Topology{
		Exchanges: []workqueue.ExchangeDefinition{
			{Name: "events", Kind: workqueue.Topic, ExchangeConfig: workqueue.ExchangeConfig{DedupeWindow: time.Hour, Alternate: "rest"}},
			{Name: "rest", Kind: workqueue.Fanout},
			{Name: "dead", Kind: workqueue.Direct, ExchangeConfig: workqueue.ExchangeConfig{Internal: true}},
		},
		Queues: []workqueue.QueueDefinition{
			{Name: "emails", QueueConfig: workqueue.QueueConfig{MaxPriority: 3, DeadLetter: &workqueue.DeadLetter{Exchange: "dead"}, MessageTTL: 48 * time.Hour}},
			{Name: "mail.dead"},
			{Name: "audit", QueueConfig: workqueue.QueueConfig{Retry: &pebblemq.Backoff{Min: time.Second}}},
		},
		Bindings: []workqueue.Binding{
			{Exchange: "events", Key: "order.#", Queue: "emails"},
			{Exchange: "events", Key: "#", Topic: "audit"},
			{Exchange: "events", Key: "order.ship", VisibilityQueue: "failed"},
			{Exchange: "rest", Queue: "audit"},
			{Exchange: "dead", Key: "order.paid", Queue: "mail.dead"},
		},
	}, nil)
	require.NoError(t, err)
	for _, m := range []workqueue.Message{
		{Body: []byte("bad"), MessageID: "m0", Priority: 3},
		{Body: []byte("low"), MessageID: "m1", Headers: map[string]string{"a": "b"}, CorrelationID: "c", ReplyTo: "r", Type: "t", ContentType: "text/plain", AppID: "app", UniqueKey: "u1"},
		{Body: []byte{0xff}, MessageID: "m2", Priority: 2, TTL: time.Hour},
	} {
		m.Timestamp = eventTime.Truncate(time.Microsecond)
		require.NoError(t, b.Publish(ctx, "events", "order.paid", m))
	}
	require.NoError(t, b.Publish(ctx, "", "emails", workqueue.Message{MessageID: "m3", Delay: time.Hour}))
	require.NoError(t, b.Publish(ctx, "", "audit", workqueue.Message{Body: []byte("direct"), Timestamp: eventTime.Truncate(time.Microsecond)}))
	emails, err := b.Queue(ctx, "emails")
	require.NoError(t, err)
	d, _, err := emails.Get(ctx)
	require.NoError(t, err)
	require.NoError(t, d.Reject(ctx))
	audit, err := b.Queue(ctx, "audit")
	require.NoError(t, err)
	require.NoError(t, audit.Pause(ctx))
	require.NoError(t, b.PutJob(ctx, workqueue.Job{
		Name: "nightly", Every: 24 * time.Hour, First: time.Now().Add(time.Hour).Truncate(time.Microsecond), Key: "audit", Message: workqueue.Message{Body: []byte("tick"), TTL: time.Minute},
	}))
}

func fillKeys(t require.TestingT, db *pebblemq.DB) {
	ctx := context.Background()
	seen, err := idempotency.OpenNamespace(ctx, db, "seen", &idempotency.Config{MaxResultBytes: 64, Expiry: time.Hour})
	require.NoError(t, err)
	result := func(*pebblemq.Tx) ([]byte, error) { return []byte("ok"), nil }
	_, err = seen.Once(ctx, []byte("done"), result, &idempotency.OnceOptions{Fingerprint: []byte{1, 0xff}})
	require.NoError(t, err)
	failure := func(*pebblemq.Tx) ([]byte, error) { return nil, idempotency.Final(errors.New("declined")) }
	_, err = seen.Once(ctx, []byte("failed"), failure, nil)
	require.Error(t, err)
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		return errors.Join(tx.Set([]byte("k"), []byte("v")), tx.Set([]byte{0xff}, nil))
	}))
}
