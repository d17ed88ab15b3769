package log_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

var forgetful = &log.TopicConfig{OffsetRetention: time.Minute}

// committedBy joins, commits the first records and leaves.
func committedBy(t testing.TB, topic *log.Topic, name string, n int, from log.From) *log.Group {
	t.Helper()
	g, err := topic.OpenGroup(ctx, name, &log.GroupConfig{From: from})
	require.NoError(t, err)
	m := join(t, g)
	found := poll(t, m, n)
	require.NoError(t, m.Commit(ctx, found[n-1]))
	require.NoError(t, m.Leave(ctx))
	return g
}

func TestAGroupWithoutMembersKeepsItsPlaceByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		appendAll(t, topic, numbered(10)...)
		committedBy(t, topic, "g", 4, log.Start())
		<-time.After(3 * time.Hour)
		require.Equal(t, []int64{4}, committed(t, openGroup(t, topic, "g")))
	})
}

func TestAGroupLosesItsPlaceAfterTheOffsetRetentionWithoutMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, forgetful)
		appendAll(t, topic, numbered(10)...)
		g := committedBy(t, topic, "g", 4, log.Start())
		busy := openGroup(t, topic, "busy")
		m := join(t, busy)
		<-time.After(time.Minute - 1)
		require.Equal(t, []int64{4}, committed(t, g))
		<-time.After(1)
		synctest.Wait()
		_, err := g.Committed(ctx)
		require.ErrorIs(t, err, log.ErrOffsetsExpired, "a handle is told")
		_, err = g.Join(ctx, nil)
		require.ErrorIs(t, err, log.ErrOffsetsExpired)
		_, err = topic.OpenGroup(ctx, "g", nil)
		require.ErrorIs(t, err, log.ErrOffsetsExpired, "nobody begins anew by accident")
		require.ErrorContains(t, err, `group "g" of topic "orders"`)
		list, err := topic.Groups(ctx)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, log.GroupInfo{Name: "busy", ID: list[0].ID, Created: list[0].Created, Members: list[0].Members, Open: true, Lag: list[0].Lag}, list[0])
		require.Len(t, list[0].Members, 1)
		require.Equal(t, log.GroupInfo{Name: "g", ID: list[1].ID, Created: list[1].Created, Expired: true}, list[1])
		require.NoError(t, m.Commit(ctx, poll(t, m, 1)...), "one with members is left alone")

		require.NoError(t, topic.DeleteGroup(ctx, "g"))
		require.Equal(t, []int64{0}, committed(t, openGroup(t, topic, "g")))
	})
}

func TestAGroupThatSaysWhereBeginsAnew(t *testing.T) {
	for from, want := range map[log.From]int64{
		log.Start().Or(log.Earliest): 0, log.Start().Or(log.Latest): 10, log.End().Or(log.Earliest): 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewMem()
			db, err := storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			topic, err := log.OpenTopic(ctx, db, "orders", forgetful)
			require.NoError(t, err)
			_, err = topic.OpenGroup(ctx, "g", &log.GroupConfig{From: from})
			require.NoError(t, err)
			appendAll(t, topic, numbered(10)...)
			<-time.After(time.Minute)
			synctest.Wait()
			for range 2 { // the second time it has its place
				g, err := topic.OpenGroup(ctx, "g", &log.GroupConfig{From: from})
				require.NoError(t, err)
				require.Equal(t, []int64{want}, committed(t, g))
				require.NoError(t, db.Close())
				db, err = storetest.OpenFS(fs, store.Options{})
				require.NoError(t, err)
				topic, err = log.OpenTopic(ctx, db, "orders", forgetful)
				require.NoError(t, err)
			}
			require.NoError(t, db.Close())
		})
	}
}

// TestTimeWithoutMembersCountsOverRestarts: also if the topic is only opened, but not if only a
// crash hid the members.
func TestTimeWithoutMembersCountsOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		var db *pebblemq.DB
		var topic *log.Topic
		open := func() {
			var err error
			db, err = storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			topic, err = log.OpenTopic(ctx, db, "orders", forgetful)
			require.NoError(t, err)
			synctest.Wait()
		}
		open()
		appendAll(t, topic, numbered(10)...)
		committedBy(t, topic, "g", 4, log.Start())
		for range 2 {
			<-time.After(25 * time.Second)
			synctest.Wait()
			require.NoError(t, db.Close())
			open()
		}
		m := join(t, openGroup(t, topic, "g")) // after 50 seconds; it begins to count anew
		<-time.After(time.Second)
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, m.Leave(ctx))
		require.NoError(t, db.Close())
		fs = crashed
		open()
		<-time.After(time.Minute - 1)
		require.Equal(t, []int64{4}, committed(t, openGroup(t, topic, "g")))
		require.NoError(t, db.Close())
		open()
		<-time.After(time.Minute)
		synctest.Wait()
		_, err := topic.OpenGroup(ctx, "g", nil)
		require.ErrorIs(t, err, log.ErrOffsetsExpired)
		require.NoError(t, db.Close())
	})
}

func TestTheOffsetRetentionCanBeAltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, topic := openTopic(t, 1)
		appendAll(t, topic, numbered(10)...)
		g := committedBy(t, topic, "g", 4, log.Start())
		<-time.After(100 * time.Minute)
		require.NoError(t, alterTopic(db, "orders", *forgetful))
		synctest.Wait()
		_, err := g.Committed(ctx)
		require.ErrorIs(t, err, log.ErrOffsetsExpired)
		require.ErrorIs(t, alterTopic(db, "orders", log.TopicConfig{OffsetRetention: -1}), pebblemq.ErrInvalid)
	})
}
