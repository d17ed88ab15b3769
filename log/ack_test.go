package log_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
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

// drain polls until the member has everything there is.
func drain(t testing.TB, m *log.Member, n int) (all []log.Record) {
	t.Helper()
	for len(all) < n {
		all = append(all, poll(t, m, n-len(all))...)
	}
	return all
}

func TestRecordsAreAcknowledgedOutOfOrder(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	found := drain(t, m, 10)

	require.NoError(t, m.Ack(ctx, found[3], found[9], found[4]))
	require.Equal(t, []int64{0}, committed(t, g), "the lowest unfinished one")
	require.NoError(t, m.Ack(ctx, found[0]))
	require.Equal(t, []int64{1}, committed(t, g))
	require.NoError(t, m.Ack(ctx, found[2], found[1]))
	require.Equal(t, []int64{5}, committed(t, g), "over what was finished before")
	require.NoError(t, m.Ack(ctx, found[3]), "again")
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 4, lags[0].Records)

	require.NoError(t, m.Leave(ctx))
	other := join(t, g)
	require.Equal(t, []string{"v5", "v6", "v7", "v8"}, valuesOf(drain(t, other, 4)), "not v9")
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err = log.OpenTopic(ctx, db, "orders", nil)
	require.NoError(t, err)
	g = openGroup(t, topic, "g")
	m = join(t, g)
	require.Equal(t, []string{"v5", "v6", "v7", "v8"}, valuesOf(drain(t, m, 4)), "not after a restart either")
	appendAll(t, topic, values("new")...)
	found = poll(t, m, 10)
	require.Equal(t, []string{"new"}, valuesOf(found))
	require.NoError(t, m.Commit(ctx, found[0]))
	require.Equal(t, []int64{11}, committed(t, g))
	require.NoError(t, db.Close())
}

// Exactly the records that were acknowledged with Sync are finished, whatever happens.
func TestTheFinishedSetSurvivesACrashExactly(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 10 {
		fs := vfs.NewCrashableMem()
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		_, err = topic.Append(ctx, numbered(100)...)
		require.NoError(t, err)
		m := join(t, openGroup(t, topic, "g"))
		found := drain(t, m, 100)
		want := map[string]bool{}
		for _, r := range found {
			want[string(r.Value)] = true
		}
		for range 30 {
			i, j := rng.IntN(100), rng.IntN(100)
			require.NoError(t, m.Ack(pebblemq.WithDurability(ctx, pebblemq.Sync), found[i], found[j]))
			delete(want, string(found[i].Value))
			delete(want, string(found[j].Value))
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 10 * round, RNG: rng})
		require.NoError(t, db.Close())
		db, err = storetest.OpenFS(clone, store.Options{})
		require.NoError(t, err)
		topic, err = log.OpenTopic(ctx, db, "orders", nil)
		require.NoError(t, err)
		got := map[string]bool{}
		for _, v := range valuesOf(drain(t, join(t, openGroup(t, topic, "g")), len(want))) {
			got[v] = true
		}
		require.Equal(t, want, got)
		require.NoError(t, db.Close())
	}
}

func TestARefusedTransactionAcknowledgesNothing(t *testing.T) {
	db, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(5)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	found := drain(t, m, 5)
	require.NoError(t, m.Ack(ctx, found[3]))
	err := db.Update(ctx, func(tx *pebblemq.Tx) error {
		return errors.Join(
			m.In(tx).Ack(found[0], found[2]),
			m.In(tx).Ack(found[1]),
			m.In(tx).CommitOffset(log.Committed{Next: 1 << 40}),
		)
	})
	require.ErrorIs(t, err, log.ErrOffsetOutOfRange)
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 4, lags[0].Records)
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return m.In(tx).Ack(found[0], found[1], found[2]) }))
	require.Equal(t, []int64{4}, committed(t, g))
}

func TestAFormerOwnerAcknowledgesNothing(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(5)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	found := drain(t, m, 5)
	require.NoError(t, m.Ack(ctx, found[4]))
	require.NoError(t, g.Seek(ctx, log.Start()))
	require.ErrorIs(t, m.Ack(ctx, found[0]), log.ErrFenced)
	require.Len(t, drain(t, m, 5), 5, "the seek forgets what was acknowledged")
	require.ErrorIs(t, m.Ack(ctx), pebblemq.ErrInvalid)
	require.ErrorIs(t, m.Ack(ctx, log.Record{}), pebblemq.ErrInvalid)
}

func TestGapsAreBounded(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(2*log.MaxGaps+4)...)
	m := join(t, openGroup(t, topic, "g"))
	found := drain(t, m, 2*log.MaxGaps+4)
	for i := range log.MaxGaps {
		require.NoError(t, m.Ack(ctx, found[2*i+1]))
	}
	require.ErrorIs(t, m.Ack(ctx, found[2*log.MaxGaps+1]), pebblemq.ErrTooLarge)
	require.NoError(t, m.Ack(ctx, found[0]))
	require.NoError(t, m.Ack(ctx, found[2*log.MaxGaps+1]))
}

func TestACommitCarriesMetadata(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: 2})
	require.NoError(t, err)
	_, err = topic.AppendWith(ctx, into(1), numbered(5)...)
	require.NoError(t, err)
	m := join(t, openGroup(t, topic, "g"))
	at := log.Committed{Partition: 1, Next: 3, Metadata: strings.Repeat("m", log.MaxMetadataBytes)}
	require.NoError(t, m.CommitOffset(ctx, at))
	long := at
	long.Metadata += "m"
	require.ErrorIs(t, m.CommitOffset(ctx, long), pebblemq.ErrTooLarge)
	require.NoError(t, db.Close())
	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	topic, err = log.LookupTopic(ctx, db, "orders")
	require.NoError(t, err)
	list, err := openGroup(t, topic, "g").Committed(ctx)
	require.NoError(t, err)
	require.Equal(t, []log.Committed{{}, at}, list)
	require.NoError(t, db.Close())
}

func TestAShiftMovesAGroupByRecords(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	require.NoError(t, m.CommitOffset(ctx, log.Committed{Next: 5}))
	require.NoError(t, g.Seek(ctx, log.Shift(-3)))
	require.Equal(t, []int64{2}, committed(t, g))
	require.Equal(t, "v2", string(poll(t, m, 1)[0].Value))
	require.NoError(t, g.Seek(ctx, log.Shift(8), 0))
	require.Equal(t, []int64{10}, committed(t, g))
	for _, by := range []int64{1, -11} {
		var e *log.OffsetError
		require.ErrorAs(t, g.Seek(ctx, log.Shift(by)), &e)
		require.Equal(t, 10+by, e.Offset)
	}
	require.Equal(t, []int64{10}, committed(t, g))
	_, err := topic.NewReader(0, log.Shift(1))
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	_, err = topic.OpenGroup(ctx, "h", &log.GroupConfig{From: log.Shift(0)})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}

func TestAPausedPartitionIsKeptAndNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 4)
		for p := range 4 {
			_, err := topic.AppendWith(ctx, into(p), values(fmt.Sprint("a", p), fmt.Sprint("b", p))...)
			require.NoError(t, err)
		}
		g := openGroup(t, topic, "g")
		m := join(t, g)
		require.NoError(t, m.Pause(0, 1))
		require.ErrorIs(t, m.Pause(4), log.ErrUnknownPartition)
		require.ErrorIs(t, m.Resume(-1), log.ErrUnknownPartition)
		require.ElementsMatch(t, []string{"a2", "b2", "a3", "b3"}, valuesOf(poll(t, m, 10)))

		other := join(t, g) // takes two
		require.Len(t, m.Partitions(), 2)
		require.Contains(t, m.Partitions(), 0)
		require.NoError(t, other.Leave(ctx)) // and gives them back: their pause is over, if they had one
		require.Len(t, m.Partitions(), 4)
		got := make(chan []string)
		go func() { got <- valuesOf(poll(t, m, 10)) }()
		for _, v := range <-got {
			require.NotContains(t, v, "0", "kept, and paused still")
		}
		require.NoError(t, m.Pause())
		go func() { got <- valuesOf(poll(t, m, 10)) }()
		synctest.Wait()
		select {
		case <-got:
			t.Error("all is paused")
		default:
		}
		require.NoError(t, m.Resume(0))
		require.ElementsMatch(t, []string{"a0", "b0"}, <-got)
		require.NoError(t, m.Resume())
	})
}

func TestLagHasTheAgeOfTheOldestUnfinishedRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		g := openGroup(t, topic, "g")
		m := join(t, g)
		for range 3 {
			appendAll(t, topic, values("v")...)
			<-time.After(time.Hour)
		}
		age := func() time.Duration {
			lags, err := g.Lag(ctx)
			require.NoError(t, err)
			return lags[0].Age
		}
		require.Equal(t, 3*time.Hour, age())
		found := drain(t, m, 3)
		require.NoError(t, m.Ack(ctx, found[1]))
		require.NoError(t, m.Ack(ctx, found[0]))
		require.Equal(t, time.Hour, age())
		require.NoError(t, m.Ack(ctx, found[2]))
		require.Zero(t, age())
		_, err := topic.Append(ctx, log.Record{Timestamp: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		require.Zero(t, age(), "from the future")
	})
}

func TestADeletedGroupIsGone(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(3)...)
	g, other := openGroup(t, topic, "g"), openGroup(t, topic, "other")
	m := join(t, g)
	found := drain(t, m, 3)
	require.NoError(t, m.Commit(ctx, found[1]))
	require.Equal(t, []string{"g", "other"}, groupNames(t, topic))

	ended := make(chan error)
	go func() {
		_, err := m.Poll(ctx, 1)
		ended <- err
	}()
	require.NoError(t, topic.DeleteGroup(ctx, "g"))
	require.ErrorIs(t, <-ended, log.ErrGroupDeleted)
	require.ErrorIs(t, m.Commit(ctx, found[2]), log.ErrGroupDeleted)
	require.ErrorIs(t, topic.DeleteGroup(ctx, "g"), log.ErrUnknownGroup)
	_, err := g.Join(ctx, nil)
	require.ErrorIs(t, err, log.ErrGroupDeleted)
	_, err = g.Lag(ctx)
	require.ErrorIs(t, err, log.ErrGroupDeleted)
	require.ErrorIs(t, g.Seek(ctx, log.Start()), log.ErrGroupDeleted)
	require.NoError(t, m.Leave(ctx))
	require.Equal(t, []int64{0}, committed(t, openGroup(t, topic, "g")), "another one of that name")
	require.Equal(t, []int64{0}, committed(t, other))
}
