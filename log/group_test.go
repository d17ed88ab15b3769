package log_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func openGroup(t testing.TB, topic *log.Topic, name string) *log.Group {
	t.Helper()
	g, err := topic.OpenGroup(ctx, name, nil)
	require.NoError(t, err)
	return g
}

func join(t testing.TB, g *log.Group) *log.Member {
	t.Helper()
	m, err := g.Join(ctx, nil)
	require.NoError(t, err)
	return m
}

func poll(t testing.TB, m *log.Member, n int) []log.Record {
	t.Helper()
	found, err := m.Poll(ctx, n)
	require.NoError(t, err)
	return found
}

func committed(t testing.TB, g *log.Group) []int64 {
	t.Helper()
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	var offsets []int64
	for _, l := range lags {
		offsets = append(offsets, l.Committed)
	}
	return offsets
}

func TestPartitionsAreSharedAndMoveAsLittleAsPossible(t *testing.T) {
	_, topic := openTopic(t, 6)
	g := openGroup(t, topic, "g")
	a := join(t, g)
	require.Equal(t, []int{0, 1, 2, 3, 4, 5}, a.Partitions())
	b := join(t, g)
	require.Equal(t, []int{0, 1, 2}, a.Partitions())
	require.Equal(t, []int{3, 4, 5}, b.Partitions())
	c := join(t, g)
	require.Equal(t, []int{0, 1}, a.Partitions())
	require.Equal(t, []int{3, 4}, b.Partitions())
	require.Equal(t, []int{2, 5}, c.Partitions())
	require.NoError(t, a.Leave(ctx))
	require.Empty(t, a.Partitions())
	require.Equal(t, []int{0, 3, 4}, b.Partitions())
	require.Equal(t, []int{1, 2, 5}, c.Partitions())
	require.NoError(t, a.Leave(ctx), "leaving twice")
	_, err := a.Poll(ctx, 1)
	require.ErrorIs(t, err, log.ErrLeft)
	require.Same(t, g, b.Group())
	require.Equal(t, "g", g.Name())
}

func TestMoreMembersThanPartitionsLeaveSomeIdle(t *testing.T) {
	_, topic := openTopic(t, 1)
	g := openGroup(t, topic, "g")
	a, b := join(t, g), join(t, g)
	require.Equal(t, []int{0}, a.Partitions())
	require.Empty(t, b.Partitions())
	require.NoError(t, a.Leave(ctx))
	require.Equal(t, []int{0}, b.Partitions())
}

func TestAMemberLeavesAlsoWhenItsContextHasEnded(t *testing.T) {
	_, topic := openTopic(t, 1)
	g := openGroup(t, topic, "g")
	a, b := join(t, g), join(t, g)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.NoError(t, a.Leave(ended))
	require.Equal(t, []int{0}, b.Partitions())
}

func TestUncommittedRecordsGoToTheNextOwner(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	a, b := join(t, g), join(t, g)
	found := poll(t, a, 5)
	require.Equal(t, []string{"v0", "v1", "v2", "v3", "v4"}, valuesOf(found))
	require.NoError(t, a.Commit(ctx, found[1]))
	require.NoError(t, a.Leave(ctx))
	require.Equal(t, []string{"v2", "v3"}, valuesOf(poll(t, b, 2)))
}

func TestLookupOpensAGroupWhateverItsConfig(t *testing.T) {
	_, topic := openTopic(t, 1)
	_, err := topic.LookupGroup(ctx, "g")
	require.ErrorIs(t, err, log.ErrUnknownGroup)
	require.Empty(t, groupNames(t, topic), "a lookup creates nothing")
	appendAll(t, topic, numbered(3)...)
	made, err := topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.End()})
	require.NoError(t, err)
	g, err := topic.LookupGroup(ctx, "g")
	require.NoError(t, err)
	require.Same(t, made, g)
	_, err = topic.LookupGroup(ctx, "")
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}

func TestACommitAfterLeaveSaysSo(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(1)...)
	m := join(t, openGroup(t, topic, "g"))
	got := poll(t, m, 1)
	require.NoError(t, m.Leave(ctx))
	err := m.Commit(ctx, got[0])
	require.ErrorIs(t, err, log.ErrFenced)
	require.ErrorContains(t, err, "the member has left")
	_, err = m.Poll(ctx, 1)
	require.ErrorIs(t, err, log.ErrLeft)
}

func TestACommitByAFormerOwnerIsRefused(t *testing.T) {
	db, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	a, b := join(t, g), join(t, g)
	old := poll(t, a, 3)
	require.NoError(t, a.Leave(ctx))

	err := a.Commit(ctx, old[0])
	var fenced *log.FencedError
	require.ErrorAs(t, err, &fenced)
	require.Equal(t, log.FencedError{Topic: "orders", Group: "g", Epoch: 1, Current: 2}, *fenced)
	require.ErrorIs(t, a.CommitOffset(ctx, log.Committed{Partition: 0, Next: 1}), log.ErrFenced)

	err = db.Update(ctx, func(tx *pebblemq.Tx) error {
		_, err := topic.In(tx).Append(values("effect")...)
		return errors.Join(err, tx.Set([]byte("k"), []byte("v")), a.In(tx).Commit(old...))
	})
	require.ErrorIs(t, err, log.ErrFenced)
	require.NoError(t, db.View(ctx, func(tx *pebblemq.Tx) error {
		v, err := tx.Get([]byte("k"))
		require.Nil(t, v)
		return err
	}))
	require.Len(t, fetchAll(t, topic, 0, log.Start()), 10)
	require.Equal(t, []int64{0}, committed(t, g))
	require.NoError(t, b.Commit(ctx, poll(t, b, 10)...))
	require.Equal(t, []int64{10}, committed(t, g))
}

func TestAPartitionThatComesBackIsANewAssignment(t *testing.T) {
	_, topic := openTopic(t, 2)
	for p := range 2 {
		_, err := topic.AppendWith(ctx, into(p), numbered(4)...)
		require.NoError(t, err)
	}
	g := openGroup(t, topic, "g")
	a := join(t, g)
	old := map[int]log.Record{}
	for len(old) < 2 {
		for _, r := range poll(t, a, 4) {
			old[r.Partition] = r
		}
	}
	b := join(t, g)
	require.Equal(t, []int{1}, b.Partitions())
	require.NoError(t, b.Leave(ctx))
	require.Equal(t, []int{0, 1}, a.Partitions())
	require.NoError(t, a.Commit(ctx, old[0]), "kept all the time")
	require.ErrorIs(t, a.Commit(ctx, old[1]), log.ErrFenced, "another had it in between")
	again := poll(t, a, 10)
	require.Len(t, again, 4, "only what was not kept is read again")
	require.Equal(t, 1, again[0].Partition)
	require.NoError(t, a.Commit(ctx, again...))
	require.Equal(t, []int64{4, 4}, committed(t, g))
}

func TestCommitsGoForwardsOnly(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	found := poll(t, m, 10)
	require.NoError(t, m.Commit(ctx, found[5], found[2]), "the highest counts")
	require.NoError(t, m.Commit(ctx, found[5]), "again")
	require.ErrorIs(t, m.Commit(ctx, found[4]), log.ErrBackwards)
	require.ErrorIs(t, m.CommitOffset(ctx, log.Committed{Partition: 0, Next: 5}), log.ErrBackwards)
	require.ErrorIs(t, m.CommitOffset(ctx, log.Committed{Partition: 0, Next: 11}), log.ErrOffsetOutOfRange)
	require.NoError(t, m.CommitOffset(ctx, log.Committed{Partition: 0, Next: 10}))
	require.Equal(t, []int64{10}, committed(t, g))
}

func TestACommitInATransactionIsPartOfIt(t *testing.T) {
	db, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	found := poll(t, m, 10)
	oops := errors.New("oops")
	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		require.NoError(t, m.In(tx).Commit(found...))
		return oops
	}), oops)
	require.Equal(t, []int64{0}, committed(t, g))
	err := db.Update(ctx, func(tx *pebblemq.Tx) error {
		return errors.Join(m.In(tx).Commit(found[3]), m.In(tx).Commit(found[7]), m.In(tx).CommitOffset(log.Committed{Partition: 0, Next: 11}))
	})
	require.ErrorIs(t, err, log.ErrOffsetOutOfRange)
	require.ErrorContains(t, err, `commit to group "g" of topic "orders"`)
	require.Equal(t, []int64{0}, committed(t, g), "those before the refused one are undone")
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		return errors.Join(m.In(tx).Commit(found[3]), m.In(tx).CommitOffset(log.Committed{Partition: 0, Next: 9}), tx.Set([]byte("k"), nil))
	}))
	require.Equal(t, []int64{9}, committed(t, g))
	var bad error
	require.Error(t, db.Update(ctx, func(tx *pebblemq.Tx) error {
		bad = m.In(tx).Commit(log.Record{})
		return nil
	}))
	require.ErrorIs(t, bad, pebblemq.ErrInvalid)
}

func TestCommittedOffsetsSurviveReopening(t *testing.T) {
	fs := newCrashFS(t)
	db, topic := fs.open(t)
	appendAll(t, topic, numbered(100)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	require.NoError(t, m.Commit(ctx, poll(t, m, 42)...))
	late, err := topic.OpenGroup(ctx, "late", &log.GroupConfig{From: log.End()})
	require.NoError(t, err)
	require.Equal(t, []int64{100}, committed(t, late))
	require.NoError(t, db.Close())

	db, topic = fs.open(t)
	appendAll(t, topic, numbered(1)...)
	g = openGroup(t, topic, "g")
	require.Equal(t, []int64{42}, committed(t, g))
	require.Equal(t, []string{"v42"}, valuesOf(poll(t, join(t, g), 1)))
	_, err = topic.OpenGroup(ctx, "late", &log.GroupConfig{})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, "From")
	late, err = topic.OpenGroup(ctx, "late", &log.GroupConfig{From: log.End()})
	require.NoError(t, err)
	require.Equal(t, []int64{100}, committed(t, late), "where it began, not where the end is now")
	require.NoError(t, db.Close())
}

func TestASyncedCommitSurvivesACrash(t *testing.T) {
	fs := newCrashFS(t)
	db, topic := fs.open(t)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	found := poll(t, m, 10)
	require.NoError(t, m.Commit(pebblemq.WithDurability(ctx, pebblemq.Sync), found[4]))
	crashed := fs.crash(1, 0)
	require.NoError(t, db.Close())
	db, topic = crashed.open(t)
	require.Equal(t, []int64{5}, committed(t, openGroup(t, topic, "g")))
	require.NoError(t, db.Close())
}

func TestWhatACompactionDropsCountsUntilItIsPassed(t *testing.T) {
	_, topic := retained(t, &log.TopicConfig{Compact: true})
	for i := range 11 {
		_, err := topic.Append(ctx, kv(string("aaaaaaaaaab"[i]), i)) // a batch each
		require.NoError(t, err)
	}
	g := openGroup(t, topic, "g")
	require.NoError(t, topic.Compact(ctx))
	m := join(t, g)
	lag := func() int64 {
		lags, err := g.Lag(ctx)
		require.NoError(t, err)
		return lags[0].Records
	}
	require.EqualValues(t, 11, lag())
	found, err := m.Poll(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"9 a=9"}, show(found))
	require.NoError(t, m.Commit(ctx, found[0]))
	require.EqualValues(t, 1, lag(), "the dropped ones before it are passed")
	found, err = m.Poll(ctx, 1)
	require.NoError(t, err)
	require.NoError(t, m.Commit(ctx, found[0]))
	require.Zero(t, lag())
}

func groupNames(t testing.TB, topic *log.Topic) (names []string) {
	t.Helper()
	list, err := topic.Groups(ctx)
	require.NoError(t, err)
	for _, info := range list {
		names = append(names, info.Name)
	}
	return names
}

func TestEnsureGroupCreatesAndAlters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, forgetful)
		appendAll(t, topic, numbered(10)...)
		created := time.Now()
		g, did, err := topic.EnsureGroup(ctx, "g", nil)
		require.NoError(t, err)
		require.Equal(t, pebblemq.Ensured{Created: true}, did)
		<-time.After(30 * time.Second)
		again := &log.GroupConfig{From: log.At(time.Now()).Or(log.Latest)}
		_, err = topic.OpenGroup(ctx, "g", again)
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, `group "g" of topic "orders" has From start, not time 2000-01-01T00:00:30Z or latest; EnsureGroup alters it`)
		_, did, err = topic.EnsureGroup(ctx, "g", again)
		require.NoError(t, err)
		require.Equal(t, pebblemq.Ensured{Altered: []string{"From"}}, did)
		require.Equal(t, []int64{0}, committed(t, g), "it stays where it is")
		info, err := g.Info(ctx)
		require.NoError(t, err)
		require.Equal(t, log.GroupInfo{Name: "g", ID: info.ID, Config: *again, Created: created, Altered: time.Now(), Open: true, Lag: info.Lag}, info)

		<-time.After(time.Hour)
		synctest.Wait()
		_, err = topic.LookupGroup(ctx, "g")
		require.ErrorIs(t, err, log.ErrOffsetsExpired)
		g, err = topic.OpenGroup(ctx, "g", nil)
		require.NoError(t, err, "nil is as stored, and says where to begin anew")
		require.Equal(t, []int64{10}, committed(t, g))
		require.NoError(t, g.Alter(ctx, nil))
		_, did, err = topic.EnsureGroup(ctx, "g", &log.GroupConfig{})
		require.NoError(t, err)
		require.Zero(t, did)
	})
}

func TestFromIsStoredAsItsText(t *testing.T) {
	at := time.Date(2026, 11, 29, 6, 30, 0, 123456789, time.FixedZone("", 3600))
	for text, from := range map[string]log.From{
		"start": log.Start(), "start or earliest": log.Start().Or(log.Earliest), "end or latest": log.End().Or(log.Latest), "offset 42": log.Offset(42),
		"time 2026-11-29T05:30:00.123456789Z or latest": log.At(at).Or(log.Latest),
	} {
		written, err := from.MarshalText()
		require.NoError(t, err)
		require.Equal(t, text, string(written))
		var read log.From
		require.NoError(t, read.UnmarshalText(written))
		require.Equal(t, from, read)
	}
	for _, text := range []string{"", "beginning", "start ", "start or", "start or never", "offset", "offset x", "offset 042", "time now", "shift +1", "end end"} {
		require.ErrorIs(t, new(log.From).UnmarshalText([]byte(text)), pebblemq.ErrInvalid, "%q", text)
	}
	_, topic := openTopic(t, 1)
	_, err := topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.At(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))})
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
}

func FuzzFrom(f *testing.F) {
	for _, seed := range []string{"start", "end or latest", "offset 7 or earliest", "time 2026-11-29T05:30:00.5Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var from log.From
		if from.UnmarshalText([]byte(text)) == nil {
			require.Equal(t, text, from.String())
		}
	})
}

func TestLagIsExact(t *testing.T) {
	_, topic := openTopic(t, 2)
	_, err := topic.AppendWith(ctx, into(0), numbered(7)...)
	require.NoError(t, err)
	_, err = topic.AppendWith(ctx, into(1), numbered(3)...)
	require.NoError(t, err)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	require.NoError(t, m.CommitOffset(ctx, log.Committed{Partition: 0, Next: 2}))
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(4)))
	lags, err := g.Lag(ctx)
	require.NoError(t, err)
	for i := range lags {
		require.Positive(t, lags[i].Age)
		lags[i].Age = 0
	}
	require.Equal(t, []log.Lag{
		{Partition: 0, Committed: 2, End: 7, Records: 3}, {Partition: 1, Committed: 0, End: 3, Records: 3},
	}, lags)
}

func TestSeekMovesALiveGroupAndFencesWhatItHolds(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	found := poll(t, m, 10)
	require.NoError(t, m.Commit(ctx, found[7]))
	require.NoError(t, g.Seek(ctx, log.Offset(3)))
	require.Equal(t, []int64{3}, committed(t, g))
	require.ErrorIs(t, m.Commit(ctx, found[9]), log.ErrFenced, "it must not undo the Seek")
	again := poll(t, m, 10)
	require.Equal(t, "v3", string(again[0].Value))
	require.NoError(t, g.Seek(ctx, log.End(), 0))
	appendAll(t, topic, values("new")...)
	require.Equal(t, []string{"new"}, valuesOf(poll(t, m, 10)))
	require.NoError(t, g.Seek(ctx, log.Start()))
	require.Len(t, poll(t, m, 100), 11)
}

func TestATrimmedCommitIsLoudUntilTheGroupIsMoved(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(10)...)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	require.NoError(t, topic.TrimTo(ctx, 0, log.Offset(6)))
	for range 2 {
		_, err := m.Poll(ctx, 10)
		var out *log.OffsetError
		require.ErrorAs(t, err, &out)
		require.EqualValues(t, 6, out.Lost())
	}
	require.NoError(t, g.Seek(ctx, log.Start()))
	require.Len(t, poll(t, m, 10), 4)
}

func TestGroupsAreIndependent(t *testing.T) {
	_, topic := openTopic(t, 1)
	appendAll(t, topic, numbered(3)...)
	for i := range 3 {
		m := join(t, openGroup(t, topic, fmt.Sprintf("g%d", i)))
		found := poll(t, m, 10)
		require.Len(t, found, 3)
		require.NoError(t, m.Commit(ctx, found[:i+1]...))
	}
	for i := range 3 {
		g := openGroup(t, topic, fmt.Sprintf("g%d", i))
		require.Equal(t, []int64{int64(i + 1)}, committed(t, g))
		require.Same(t, g, openGroup(t, topic, g.Name()))
	}
}

func TestAMemberReadsAllItsPartitionsAndWakesForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 4)
		m := join(t, openGroup(t, topic, "g"))
		got := make(chan int)
		go func() {
			for r, err := range m.Records(ctx) {
				if err != nil {
					close(got)
					return
				}
				got <- r.Partition
			}
		}()
		for i := range 20 {
			synctest.Wait()
			_, err := topic.AppendWith(ctx, into(i%4), values("x")...)
			require.NoError(t, err)
			require.Equal(t, i%4, <-got)
		}
		require.NoError(t, m.Leave(ctx))
		<-got
	})
}

func TestABusyPartitionDoesNotStarveTheOthers(t *testing.T) {
	_, topic := openTopic(t, 2)
	_, err := topic.AppendWith(noSync, into(0), numbered(5000)...)
	require.NoError(t, err)
	_, err = topic.AppendWith(noSync, into(1), values("x")...)
	require.NoError(t, err)
	m := join(t, openGroup(t, topic, "g"))
	for i, r := range poll(t, m, 1000) {
		if r.Partition == 1 {
			require.Less(t, i, 500)
			return
		}
	}
	t.Fatal("starved")
}

// TestMembersComeAndGoWithoutLoss runs a producer and members that join and leave
// all the time. Every record is committed, and none twice.
func TestMembersComeAndGoWithoutLoss(t *testing.T) {
	_, topic := openTopic(t, 3)
	g := openGroup(t, topic, "g")
	const total = 3000
	running, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	commits := map[string]int{}
	note := func(r log.Record, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			commits[string(r.Value)]++
		} else if !errors.Is(err, log.ErrFenced) {
			t.Error(err)
		}
		if len(commits) == total {
			stop()
		}
	}
	// visit is one stay in the group, of at most n records.
	visit := func(n int) error {
		m, err := g.Join(ctx, nil)
		if err != nil {
			return err
		}
		for r, err := range m.Records(running) {
			if err != nil {
				break
			}
			note(r, m.Commit(ctx, r))
			if n--; n == 0 {
				break
			}
		}
		return m.Leave(ctx)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for running.Err() == nil {
				if err := errors.Join(visit(50*w), topic.CheckInvariants()); err != nil { // the first one stays
					t.Error(err)
				}
			}
		})
	}
	for i := range total / 10 {
		var records []log.Record
		for j := range 10 {
			records = append(records, log.Record{Key: fmt.Append(nil, j), Value: fmt.Append(nil, i*10+j)})
		}
		appendAll(t, topic, records...)
	}
	wg.Wait()
	require.Len(t, commits, total)
	for v, n := range commits {
		require.Equal(t, 1, n, v)
	}
}
