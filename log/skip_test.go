package log_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/log"
)

// trimmedUnder returns a group whose place in partition 0 was trimmed away.
func trimmedUnder(t testing.TB, reset log.Reset) (*log.Topic, *log.Group) {
	_, topic := openTopic(t, 2)
	for p := range 2 {
		_, err := topic.AppendWith(ctx, into(p), numbered(8)...)
		require.NoError(t, err)
	}
	g, err := topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.Start().Or(reset)})
	require.NoError(t, err)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(5)))
	return topic, g
}

func TestATrimmedPartitionHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, g := trimmedUnder(t, log.None)
		m := join(t, g)
		start, errs, read := time.Now(), 0, 0
		for read < 8 {
			found, err := m.Poll(ctx, 3)
			if err != nil {
				var out *log.OffsetError
				require.ErrorAs(t, err, &out)
				require.Zero(t, out.Partition)
				errs++
			}
			for _, r := range found {
				require.Equal(t, 1, r.Partition)
				read++
			}
		}
		require.Zero(t, time.Since(start))
		require.Equal(t, 1, errs)
		lags, err := g.Lag(ctx)
		require.NoError(t, err)
		require.ErrorIs(t, lags[0].Err, log.ErrOffsetOutOfRange)
		_, err = m.Poll(ctx, 1)
		require.ErrorIs(t, err, log.ErrOffsetOutOfRange, "it is told again")
		require.Equal(t, time.Second, time.Since(start))
		require.NoError(t, g.Seek(ctx, log.Start(), 0))
		require.Len(t, poll(t, m, 10), 3)
	})
}

func TestAGroupThatSaysHowGoesOnAfterATrim(t *testing.T) {
	for reset, want := range map[log.Reset][]string{
		log.Earliest: {"v5", "v6", "v7"},
		log.Latest:   nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			topic, g := trimmedUnder(t, reset)
			m := join(t, g)
			var got []string
			for range 8 + len(want) {
				r := poll(t, m, 1)[0]
				if r.Partition == 0 {
					got = append(got, string(r.Value))
				}
			}
			require.Equal(t, want, got)
			lags, err := g.Lag(ctx)
			require.NoError(t, err)
			require.EqualValues(t, 8-len(want), lags[0].Skipped)
			require.EqualValues(t, 8-len(want), lags[0].Committed, "what is gone is finished")
			require.NoError(t, lags[0].Err)
			_, err = topic.AppendWith(ctx, into(0), values("new")...)
			require.NoError(t, err)
			require.Equal(t, []string{"new"}, valuesOf(poll(t, m, 10)))
		})
	}
}

// What the receiver has when the records are trimmed is its own to finish.
func TestARecordInHandIsCommittedAfterItsTrim(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(8)...)
	g, err := topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.Start().Or(log.Earliest)})
	require.NoError(t, err)
	m := join(t, g)
	got := poll(t, m, 2)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(5)))
	appendAll(t, topic, values("new")...)
	for range 20 { // through what was read ahead
		if more := poll(t, m, 1); string(more[0].Value) == "new" {
			break
		}
	}
	require.NoError(t, m.Commit(ctx, got...))
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	require.GreaterOrEqual(t, lags[0].Committed, int64(2))
}

func TestRunGoesOnAfterATrim(t *testing.T) {
	for reset, want := range map[log.Reset]int{log.None: 8, log.Earliest: 11} {
		synctest.Test(t, func(t *testing.T) {
			_, g := trimmedUnder(t, reset)
			running, stop := context.WithTimeout(ctx, time.Hour)
			defer stop()
			handled := 0
			err := g.Run(running, func(context.Context, log.Record) error {
				handled++
				return nil
			}, nil)
			require.NoError(t, err)
			require.ErrorIs(t, running.Err(), context.DeadlineExceeded, "it ended early")
			require.Equal(t, want, handled)
		})
	}
}
