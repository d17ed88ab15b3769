package log

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/storetest"
)

// A pass that finds its records trimmed away is over; it is no failure.
func TestACompactionThatIsTrimmedEndsQuietly(t *testing.T) {
	ctx := context.Background()
	topic, err := OpenTopic(ctx, storetest.Open(t, nil), "orders", &TopicConfig{Compact: true})
	require.NoError(t, err)
	for range 5 {
		_, err := topic.Append(ctx, Record{Key: []byte("k")})
		require.NoError(t, err)
	}
	p, c := topic.partitions()[0], topic.config.Load()
	stop, err := p.tidyEnd(ctx, c)
	require.NoError(t, err)
	from, done, err := p.beginTidy(ctx, topic.config.Load(), stop)
	require.NoError(t, err)
	require.False(t, done)
	require.NoError(t, topic.TrimTo(ctx, 0, Offset(3)))
	_, err = p.compact(ctx, c, from, stop)
	require.ErrorIs(t, err, errMoved)
	require.NoError(t, topic.Compact(ctx))
}

// A change of what a pass is about ends it, too, and what it did counts no more.
func TestAPassThatIsOutdatedDoesNotCount(t *testing.T) {
	ctx := context.Background()
	db := storetest.Open(t, nil)
	topic, err := OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	_, err = topic.Append(ctx, Record{}, Record{})
	require.NoError(t, err)
	p, c := topic.partitions()[0], topic.config.Load()
	require.NoError(t, topic.Alter(ctx, &TopicConfig{Compact: true}))
	require.ErrorIs(t, p.endTidy(ctx, c, 1), errMoved)
	require.Zero(t, p.tidy)
}

func TestACompactionThatWaitsForAnotherIsCancelled(t *testing.T) {
	topic, err := OpenTopic(context.Background(), storetest.Open(t, nil), "orders", nil)
	require.NoError(t, err)
	require.NoError(t, topic.tidying.pass.Lock(context.Background()))
	defer topic.tidying.pass.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- topic.Compact(ctx) }()
	require.ErrorIs(t, <-done, context.DeadlineExceeded)
}
