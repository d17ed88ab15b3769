package log_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// A handler may acknowledge its record in the transaction of its effect. Whatever it returns
// then, the record is not handled again, and no effect happens twice.
func TestAHandlerAcknowledgesInItsTransaction(t *testing.T) {
	for name, after := range map[string]func() error{
		"nil":     func() error { return nil },
		"error":   func() error { return errors.New("after it") },
		"panic":   func() error { panic("after it") },
		"Release": func() error { return pebblemq.Release(time.Second) },
		"Reject":  func() error { return pebblemq.Reject(errors.New("after it")) },
	} {
		for _, attempts := range []int{1, 3} {
			for _, retry := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, attempts %d, retry topic %v", name, attempts, retry), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testHandlerTx(t, after, attempts, retry) })
				})
			}
		}
	}
}

func testHandlerTx(t *testing.T, after func() error, attempts int, retry bool) {
	db := storetest.Open(t, nil)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	g, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	for i := range 5 {
		_, err := topic.Append(ctx, log.Record{Value: fmt.Append(nil, i)})
		require.NoError(t, err)
	}
	o := &log.RunOptions{Concurrency: 2, MaxAttempts: attempts}
	failFirst := false
	if retry { // so that records come from the Retry topic too
		again, err := log.OpenTopic(ctx, db, "again", nil)
		require.NoError(t, err)
		o.Retry, failFirst = &log.Retry{Topic: again}, true
	}
	calls := make(chan string, 100)
	run, stop := context.WithTimeout(ctx, time.Hour)
	defer stop()
	seen := make(map[string]bool)
	require.NoError(t, g.Run(run, func(ctx context.Context, r log.Record) error {
		calls <- string(r.Value)
		if failFirst && r.Topic() == "orders" {
			return errors.New("to the Retry topic")
		}
		err := db.Update(ctx, func(tx *pebblemq.Tx) error {
			if err := g.In(tx).Ack(r); err != nil {
				return err
			}
			n, err := tx.Get(r.Value)
			if err != nil {
				return err
			}
			return tx.Set(r.Value, append(n, 'x'))
		})
		if err != nil {
			return err
		}
		return after()
	}, o))
	close(calls)
	for v := range calls {
		seen[v] = true
	}
	require.Len(t, seen, 5)
	require.NoError(t, db.View(ctx, func(tx *pebblemq.Tx) error {
		for i := range 5 {
			n, err := tx.Get(fmt.Append(nil, i))
			require.NoError(t, err)
			require.Equal(t, "x", string(n), "the effect of %d", i)
		}
		return nil
	}))
	info, err := g.Info(ctx)
	require.NoError(t, err)
	require.Zero(t, info.Lag)
	_, err = log.LookupTopic(ctx, db, "orders.dead")
	require.ErrorIs(t, err, pebblemq.ErrNotFound, "nothing has failed for good")
}

func TestARecordIsAcknowledgedOnceInTransactions(t *testing.T) {
	db := storetest.Open(t, nil)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	g, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	_, err = topic.Append(ctx, log.Record{Value: []byte("a")}, log.Record{Value: []byte("b")})
	require.NoError(t, err)
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	polled, err := m.Poll(ctx, 2)
	require.NoError(t, err)
	ack := func(r ...log.Record) error {
		return db.Update(ctx, func(tx *pebblemq.Tx) error {
			if err := tx.Set([]byte("effect"), r[0].Value); err != nil {
				return err
			}
			return g.In(tx).Ack(r...)
		})
	}
	require.NoError(t, ack(polled[1]))
	require.ErrorIs(t, ack(polled[1]), log.ErrSettled)
	require.ErrorIs(t, ack(polled[0], polled[1]), log.ErrSettled)
	require.NoError(t, m.Ack(ctx, polled[1]), "beside a transaction it is harmless")
	require.NoError(t, ack(polled[0]))
	require.ErrorIs(t, ack(log.Record{Value: []byte("made up")}), pebblemq.ErrInvalid)
	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Ack() }), pebblemq.ErrInvalid)
}
