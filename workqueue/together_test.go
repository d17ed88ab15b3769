package workqueue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestRunBatchAcknowledgesABatchInOneOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := open(t)
		declare(t, b, "q")
		for range 50 {
			publish(t, b, "q", "m")
		}
		ctx, stop := context.WithCancel(bg)
		defer stop()
		var before uint64
		require.NoError(t, queueOf(t, b, "q").RunBatch(ctx, func(_ context.Context, batch []*workqueue.Delivery) error {
			assert.Len(t, batch, 50)
			assert.NoError(t, batch[7].Ack(bg), "one that the handler settles itself holds up no other")
			synctest.Wait()
			before = db.Stats().Operations
			stop()
			return nil
		}, &workqueue.RunOptions{BatchSize: 50}))
		require.LessOrEqual(t, db.Stats().Operations-before, uint64(5), "the acknowledgement, and what the end of Run takes")
		require.Zero(t, unacked(t, b, "q"))
		require.Zero(t, ready(t, b, "q"))
	})
}

func TestRunBatchAcknowledgesWhatDidNotFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := open(t)
		declare(t, b, "q")
		publish(t, b, "q", "1", "2", "3", "4")
		ctx, stop := context.WithCancel(bg)
		defer stop()
		calls := [][]string{}
		require.NoError(t, queueOf(t, b, "q").RunBatch(ctx, func(_ context.Context, batch []*workqueue.Delivery) error {
			outcome := make(pebblemq.BatchError, len(batch))
			got := []string{}
			for i, d := range batch {
				if got = append(got, string(d.Body)); string(d.Body) == "2" && len(calls) == 0 {
					outcome[i] = errors.New("once")
				}
			}
			if calls = append(calls, got); len(calls) == 2 {
				stop()
				return nil
			}
			return outcome
		}, &workqueue.RunOptions{BatchSize: 4}))
		require.Equal(t, [][]string{{"1", "2", "3", "4"}, {"2"}}, calls)
	})
}
