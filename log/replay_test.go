package log_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

// replayOf reads with Records until it ends by itself.
func replayOf(t *testing.T, topic *log.Topic, from, to log.From) []string {
	t.Helper()
	r, err := topic.NewReader(0, from)
	require.NoError(t, err)
	require.NoError(t, r.Until(to))
	got := []string{}
	for rec, err := range r.Records(ctx) {
		require.NoError(t, err)
		got = append(got, string(rec.Value))
	}
	found, err := r.Fetch(ctx, 10, 10)
	require.NoError(t, err)
	require.Empty(t, found)
	return got
}

// timed appends n records that are a second apart, some to a batch.
func timed(t *testing.T, topic *log.Topic, n int) (all []string) {
	for i := range n {
		_, err := topic.Append(noSync, log.Record{Value: fmt.Appendf(nil, "v%d", i), Timestamp: at(int64(i))})
		require.NoError(t, err)
		all = append(all, fmt.Sprintf("v%d", i))
	}
	return all
}

func TestAReplayIsBoundedByOffsetsOrTimes(t *testing.T) {
	_, topic := openTopic(t, 1)
	all := timed(t, topic, 500)
	for name, c := range map[string]struct {
		from, to log.From
		want     []string
	}{
		"all":                {log.Start(), log.End(), all},
		"nothing":            {log.Start(), log.Start(), []string{}},
		"at the end":         {log.End(), log.End(), []string{}},
		"offsets":            {log.Offset(10), log.Offset(100), all[10:100]},
		"one":                {log.Offset(10), log.Offset(11), all[10:11]},
		"to the end":         {log.Offset(10), log.Offset(500), all[10:]},
		"times":              {log.At(at(20)), log.At(at(30)), all[20:30]},
		"a time that is not": {log.At(at(20)), log.At(at(9999)), all[20:]},
		"offset and time":    {log.Offset(7), log.At(at(9)), all[7:9]},
		"backwards":          {log.Offset(10), log.Offset(5), []string{}},
	} {
		require.Equal(t, c.want, replayOf(t, topic, c.from, c.to), name)
	}
}

func TestAReplayDoesNotSeeWhatComesLater(t *testing.T) {
	_, topic := openTopic(t, 1)
	timed(t, topic, 3)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	require.NoError(t, r.Until(log.End()))
	n := 0
	for _, err := range r.Records(ctx) {
		require.NoError(t, err)
		appendAll(t, topic, values("later")...)
		n++
	}
	require.Equal(t, 3, n)
	require.EqualValues(t, 3, r.Offset())

	require.NoError(t, r.Until(log.Offset(5))) // goes on
	found, err := r.Fetch(ctx, 10, 100)
	require.NoError(t, err)
	require.Equal(t, []string{"later", "later"}, valuesOf(found))
}

func TestAReplayOfAnEmptyTopicEndsAtOnce(t *testing.T) {
	_, topic := openTopic(t, 1)
	require.Empty(t, replayOf(t, topic, log.Start(), log.End()))
}

func TestAReplayLeavesGroupsAlone(t *testing.T) {
	_, topic := openTopic(t, 1)
	timed(t, topic, 10)
	g, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	found, err := m.Poll(ctx, 4)
	require.NoError(t, err)
	require.NoError(t, m.Commit(ctx, found[3]))
	before, err := g.Lag(ctx)
	require.NoError(t, err)
	require.Len(t, replayOf(t, topic, log.Start(), log.End()), 10)
	after, err := g.Lag(ctx)
	require.NoError(t, err)
	before[0].Age, after[0].Age = 0, 0
	require.Equal(t, before, after)
	found, err = m.Poll(ctx, 1)
	require.NoError(t, err)
	require.EqualValues(t, 4, found[0].Offset)
}

func TestBadBoundsAreRefused(t *testing.T) {
	db, topic := openTopic(t, 1)
	timed(t, topic, 10)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(5)))
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	require.ErrorIs(t, r.Until(log.Offset(-1)), pebblemq.ErrInvalid)
	require.ErrorIs(t, r.Until(log.Offset(11)), log.ErrOffsetOutOfRange)
	require.ErrorIs(t, r.Until(log.Offset(4)), log.ErrOffsetOutOfRange)
	require.ErrorIs(t, r.Until(log.End().Or(3)), pebblemq.ErrInvalid)
	_, err = topic.NewReader(0, log.Start().Or(3))
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	_, err = topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.Start().Or(3)})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	found, err := r.Fetch(ctx, 10, 100) // none of it has become a bound
	require.NoError(t, err)
	require.Len(t, found, 5)
	require.NoError(t, db.Close())
	require.ErrorIs(t, r.Until(log.End()), pebblemq.ErrClosed)
}

func TestTheReaderChoosesWhatHappensBelowTheStart(t *testing.T) {
	_, topic := openTopic(t, 1)
	all := timed(t, topic, 10)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(6)))
	for _, reset := range []log.Reset{log.None, log.Earliest, log.Latest} {
		_, err := topic.NewReader(0, log.Offset(11).Or(reset))
		require.ErrorIs(t, err, log.ErrOffsetOutOfRange, "beyond the end it is always an error")
		r, err := topic.NewReader(0, log.Offset(7).Or(reset))
		require.NoError(t, err)
		require.EqualValues(t, 7, r.Offset())
		require.Zero(t, r.Skipped())
	}
	_, err := topic.NewReader(0, log.Offset(2))
	var lost *log.OffsetError
	require.ErrorAs(t, err, &lost)
	require.EqualValues(t, 4, lost.Lost())

	r, err := topic.NewReader(0, log.Offset(2).Or(log.Earliest))
	require.NoError(t, err)
	require.EqualValues(t, 4, r.Skipped())
	found, err := r.Fetch(ctx, 10, 100)
	require.NoError(t, err)
	require.Equal(t, all[6:], valuesOf(found))

	r, err = topic.NewReader(0, log.Offset(2).Or(log.Latest))
	require.NoError(t, err)
	require.EqualValues(t, 10, r.Offset())
	require.EqualValues(t, 8, r.Skipped())
}

// TestAReaderThatIsOvertakenByATrimGoesOnAsItChose trims below a reader that has
// stopped in the middle.
func TestAReaderThatIsOvertakenByATrimGoesOnAsItChose(t *testing.T) {
	for _, c := range []struct {
		reset   log.Reset
		want    []string
		skipped int64
	}{
		{log.None, nil, 0},
		{log.Earliest, []string{"v6", "v7", "v8", "v9"}, 4},
		{log.Latest, nil, 8},
	} {
		t.Run(log.Start().Or(c.reset).String(), func(t *testing.T) {
			_, topic := openTopic(t, 1)
			r, err := topic.NewReader(0, log.Start().Or(c.reset))
			require.NoError(t, err)
			timed(t, topic, 2)
			found, err := r.Fetch(ctx, 10, 100)
			require.NoError(t, err)
			require.Len(t, found, 2)
			for i := 2; i < 10; i++ {
				appendAll(t, topic, values(fmt.Sprintf("v%d", i))...)
			}
			require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(6)))
			found, err = r.Fetch(ctx, 10, 100)
			if c.reset == log.None {
				require.ErrorIs(t, err, log.ErrOffsetOutOfRange)
				require.EqualValues(t, 2, r.Offset())
				return
			}
			require.NoError(t, err)
			require.ElementsMatch(t, c.want, valuesOf(found))
			require.EqualValues(t, c.skipped, r.Skipped())
			require.EqualValues(t, 10, r.Offset())
			appendAll(t, topic, values("next")...)
			found, err = r.Fetch(ctx, 10, 100)
			require.NoError(t, err)
			require.Equal(t, []string{"next"}, valuesOf(found))
		})
	}
}

// TestABoundedReaderThatIsResetStillStops trims beyond its bound.
func TestABoundedReaderThatIsResetStillStops(t *testing.T) {
	for reset, want := range map[log.Reset]error{log.None: log.ErrOffsetOutOfRange, log.Earliest: nil, log.Latest: nil} {
		_, topic := openTopic(t, 1)
		timed(t, topic, 10)
		r, err := topic.NewReader(0, log.Start().Or(reset))
		require.NoError(t, err)
		require.NoError(t, r.Until(log.Offset(5)))
		require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(8)))
		var end error
		for _, err := range r.Records(ctx) {
			require.Error(t, err, "nothing is left below the bound")
			end = err
		}
		require.ErrorIs(t, end, want)
	}
}

func TestAWaitingReaderSurvivesATrimIfItChoseTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		timed(t, topic, 5)
		r, err := topic.NewReader(0, log.End().Or(log.Earliest))
		require.NoError(t, err)
		reading, cancel := context.WithCancel(ctx)
		got := make(chan string)
		go func() {
			defer close(got)
			for rec, err := range r.Records(reading) {
				if err != nil {
					return
				}
				got <- string(rec.Value)
			}
		}()
		synctest.Wait()
		require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(5)))
		appendAll(t, topic, values("x")...)
		require.Equal(t, "x", <-got)
		cancel()
		_, more := <-got
		require.False(t, more)
		require.Zero(t, r.Skipped())
	})
}

func TestGroupsFollowAResetWhenTheyBegin(t *testing.T) {
	_, topic := openTopic(t, 1)
	timed(t, topic, 10)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(6)))
	g, err := topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.Offset(2).Or(log.Earliest)})
	require.NoError(t, err)
	lag, err := g.Lag(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 4, lag[0].Records)
	_, err = topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.Offset(2)})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.NoError(t, g.Seek(ctx, log.Offset(0).Or(log.Latest)))
	lag, err = g.Lag(ctx)
	require.NoError(t, err)
	require.Zero(t, lag[0].Records)
}

func TestAReplayThatIsDoneDoesNotMindATrim(t *testing.T) {
	_, topic := openTopic(t, 1)
	for range 10 {
		appendSynced(t, topic, values("x")...) // a batch of its own
	}
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	require.NoError(t, r.Until(log.Offset(5)))
	for range 2 {
		for _, err := range r.Records(ctx) {
			require.NoError(t, err)
		}
		require.EqualValues(t, 5, r.Offset())
		require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(8)))
	}
}
