package log

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// A group may be deleted between its read and its place in memory. What was read must not become
// the state of the next group of that name.
func TestAGroupThatIsDeletedWhileItOpensLeavesNothing(t *testing.T) {
	ctx := context.Background()
	fs := vfs.NewCrashableMem()
	reopen := func() (*pebblemq.DB, *Topic) {
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		return db, topic
	}
	db, topic := reopen()
	_, err := topic.Append(ctx, Record{}, Record{})
	require.NoError(t, err)
	g, err := topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	require.NoError(t, g.Seek(ctx, Offset(2)))
	require.NoError(t, db.Close())

	db, topic = reopen()
	require.NoError(t, topic.ready(ctx))
	found, err := topic.findGroup(ctx, "g")
	require.NoError(t, err)
	done, err := topic.placeOf(ctx, found, Start())
	require.NoError(t, err)
	require.EqualValues(t, 2, done[0].next)
	require.NoError(t, topic.DeleteGroup(ctx, "g"))
	g, err = topic.installFound(ctx, found, GroupConfig{}, done)
	require.NoError(t, err)
	require.Nil(t, g)

	g, err = topic.OpenGroup(ctx, "g", nil)
	require.NoError(t, err)
	at, err := g.Committed(ctx)
	require.NoError(t, err)
	require.Zero(t, at[0].Next)
	require.NoError(t, db.Close())
}

// Nor must a group that expires meanwhile have its place still, or begin anew unasked.
func TestAGroupThatExpiresWhileItOpensIsLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		fs := vfs.NewMem()
		config := &TopicConfig{OffsetRetention: time.Hour}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := OpenTopic(ctx, db, "orders", config)
		require.NoError(t, err)
		_, err = topic.OpenGroup(ctx, "g", nil)
		require.NoError(t, err)
		require.NoError(t, db.Close())

		db, err = storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err = OpenTopic(ctx, db, "orders", config)
		require.NoError(t, err)
		require.NoError(t, topic.ready(ctx))
		found, err := topic.findGroup(ctx, "g")
		require.NoError(t, err)
		done, err := topic.placeOf(ctx, found, Start())
		require.NoError(t, err)
		<-time.After(2 * time.Hour)
		synctest.Wait()
		g, err := topic.installFound(ctx, found, GroupConfig{}, done)
		require.NoError(t, err)
		require.Nil(t, g)
		_, err = topic.OpenGroup(ctx, "g", nil)
		require.ErrorIs(t, err, ErrOffsetsExpired)
		require.NoError(t, db.Close())
	})
}
