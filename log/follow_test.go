package log_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/log"
)

func TestRecordsFollowsAllPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, topic := openTopic(t, 2)
		for p := range 2 {
			_, err := topic.AppendWith(ctx, into(p), numbered(600)...)
			require.NoError(t, err)
		}
		following, stop := context.WithCancel(ctx)
		got := make(chan log.Record)
		ended := make(chan error, 1)
		go func() {
			for r, err := range topic.Records(following, log.Start()) {
				if err != nil {
					ended <- err
					return
				}
				got <- r
			}
		}()
		next := map[int]int64{}
		take := func(n int) {
			for range n {
				r := <-got
				require.Equal(t, next[r.Partition], r.Offset)
				next[r.Partition]++
			}
		}
		take(600)
		require.NotZero(t, next[1], "one partition does not wait for the end of another")
		take(600)
		synctest.Wait()
		_, err := topic.AppendWith(ctx, into(1), values("new")...)
		require.NoError(t, err)
		take(1)
		grow(t, db, topic, 3)
		synctest.Wait()
		_, err = topic.AppendWith(ctx, into(2), values("a", "b")...)
		require.NoError(t, err)
		take(2)
		require.Equal(t, map[int]int64{0: 600, 1: 601, 2: 2}, next)
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestRecordsBeginsWhereItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 2)
		for p := range 2 {
			_, err := topic.AppendWith(ctx, into(p), numbered(3)...)
			require.NoError(t, err)
		}
		require.NoError(t, topic.TrimTo(ctx, 1, log.Offset(2)))
		count := func(from log.From) (n int, err error) {
			got := make(chan struct{})
			following, stop := context.WithCancel(ctx)
			go func() {
				defer close(got)
				for _, e := range topic.Records(following, from) {
					if e != nil {
						err = e
						return
					}
					n++
				}
			}()
			synctest.Wait()
			stop()
			<-got
			return n, err
		}
		for from, want := range map[log.From]int{
			log.Start(): 4, log.End(): 0, log.Offset(2): 2, log.Offset(1).Or(log.Earliest): 3, log.Offset(1).Or(log.Latest): 2,
		} {
			n, err := count(from)
			require.ErrorIs(t, err, context.Canceled, from)
			require.Equal(t, want, n, from)
		}
		_, err := count(log.Offset(1))
		require.ErrorIs(t, err, log.ErrOffsetOutOfRange)
		require.NoError(t, topic.Delete(ctx))
		_, err = count(log.Start())
		require.ErrorIs(t, err, log.ErrTopicDeleted)
	})
}

func TestATrimEndsAtAPlaceAsAReaderBegins(t *testing.T) {
	_, topic := openTopic(t, 1)
	timed(t, topic, 10)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	found, err := r.Fetch(ctx, 10, 1000)
	require.NoError(t, err)
	for _, c := range []struct {
		to    log.From
		start int64
	}{
		{log.Start(), 0}, {log.At(found[4].Timestamp), 4}, {log.Offset(6), 6}, {log.Offset(2), 6}, {log.End(), 10}, {log.At(found[4].Timestamp), 10},
	} {
		require.NoError(t, topic.TrimTo(ctx, 0, c.to), c.to)
		start, end := bounds(t, topic)
		require.Equal(t, []int64{c.start, 10}, []int64{start, end}, fmt.Sprint(c.to))
	}
	require.ErrorContains(t, topic.TrimTo(ctx, 0, log.End().Or(log.Latest)), "a trim has no Or")
	require.Error(t, topic.TrimTo(ctx, 0, log.Shift(1)))
}
