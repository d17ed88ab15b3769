package log_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/log"
)

// notices notes what the callbacks of a member are told.
type notices struct{ list []string }

func (n *notices) note(what string) func(context.Context, *log.Member, []int) {
	return func(_ context.Context, _ *log.Member, partitions []int) {
		n.list = append(n.list, fmt.Sprint(what, partitions))
	}
}

func (n *notices) options() *log.JoinOptions {
	return &log.JoinOptions{OnAssigned: n.note("assigned"), OnRevoked: n.note("revoked"), OnLost: n.note("lost")}
}

// take returns what has been noted since the last call.
func (n *notices) take() (list []string) {
	list, n.list = n.list, nil
	return list
}

func joinWith(t testing.TB, g *log.Group, o *log.JoinOptions) *log.Member {
	t.Helper()
	m, err := g.Join(ctx, o)
	require.NoError(t, err)
	return m
}

// pollNothing makes a member look for records, of which there are none.
func pollNothing(t testing.TB, m *log.Member) {
	t.Helper()
	soon, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	found, err := m.Poll(soon, 10)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, found)
}

func TestAMemberIsToldOfItsPartitionsBeforeTheirRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 2)
		g := openGroup(t, topic, "g")
		for p := range 2 {
			_, err := topic.AppendWith(ctx, into(p), values("x", "y")...)
			require.NoError(t, err)
		}
		var n notices
		o := n.options()
		o.OnAssigned = func(ctx context.Context, m *log.Member, partitions []int) {
			n.note("assigned")(ctx, m, partitions)
			require.NoError(t, g.Seek(ctx, log.Offset(1), partitions...), "the place for it")
		}
		a := joinWith(t, g, o)
		require.Empty(t, n.take(), "only Poll calls back")
		require.Equal(t, []string{"y", "y"}, valuesOf(poll(t, a, 10)))
		require.Equal(t, []string{"assigned[0 1]"}, n.take())
		require.NoError(t, g.Seek(ctx, log.Start()))
		require.Len(t, poll(t, a, 10), 4, "Seek is no news")
		require.Empty(t, n.take())
		require.NoError(t, a.Leave(ctx))
		require.Equal(t, []string{"revoked[0 1]"}, n.take())
		require.NoError(t, a.Leave(ctx))
		require.Empty(t, n.take())
	})
}

// Leave tells the callbacks before it gives the partitions up. A Poll in between must neither
// call them again nor return records.
func TestAMemberThatLeavesIsToldNothingMore(t *testing.T) {
	db, topic := openTopic(t, 1)
	g := openGroup(t, topic, "g")
	var n notices
	o := n.options()
	revoked := make(chan struct{})
	o.OnRevoked = func(ctx context.Context, m *log.Member, partitions []int) {
		n.note("revoked")(ctx, m, partitions)
		close(revoked)
	}
	a := joinWith(t, g, o)
	pollNothing(t, a)

	held, goOn, left := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	go func() { // holds the partitions up
		left <- bridge.Store(db).Do(ctx, store.QuietFunc(func(*store.Turn) error {
			close(held)
			<-goOn
			return nil
		}), store.NoSync)
	}()
	<-held
	go func() { left <- a.Leave(ctx) }()
	<-revoked
	pollNothing(t, a)
	close(goOn)
	require.NoError(t, errors.Join(<-left, <-left))
	require.Equal(t, []string{"assigned[0]", "revoked[0]"}, n.take())
	_, err := a.Poll(ctx, 1)
	require.ErrorIs(t, err, log.ErrLeft)
}

// A server may recover from the panic of a callback and poll again.
func TestAnOnAssignedThatPanicsIsCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 1)
		g := openGroup(t, topic, "g")
		_, err := topic.Append(ctx, values("x")...)
		require.NoError(t, err)
		var n notices
		o := n.options()
		o.OnAssigned = func(ctx context.Context, m *log.Member, partitions []int) {
			if n.note("assigned")(ctx, m, partitions); len(n.list) == 1 {
				panic("on purpose")
			}
		}
		a := joinWith(t, g, o)
		soon, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		require.Panics(t, func() { _, _ = a.Poll(soon, 1) })
		found, err := a.Poll(soon, 1)
		require.NoError(t, err)
		require.Equal(t, []string{"x"}, valuesOf(found))
		require.NoError(t, a.Leave(ctx))
		require.Equal(t, []string{"assigned[0]", "assigned[0]", "revoked[0]"}, n.take())
	})
}

func TestAPartitionChangesHandsWhenItsOwnerHasBeenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 2)
		g := openGroup(t, topic, "g")
		for p := range 2 {
			_, err := topic.AppendWith(ctx, into(p), numbered(10)...)
			require.NoError(t, err)
		}
		var n notices
		o := n.options()
		var got []log.Record
		o.OnRevoked = func(ctx context.Context, m *log.Member, partitions []int) {
			n.note("revoked")(ctx, m, partitions)
			require.NoError(t, m.Commit(ctx, got...), "it may commit")
		}
		a := joinWith(t, g, o)
		got = poll(t, a, 20)
		require.Len(t, got, 20)
		n.take()

		b := join(t, g)
		require.Empty(t, b.Partitions(), "a works on its records")
		info, err := g.Info(ctx)
		require.NoError(t, err)
		require.Equal(t, []int{0, 1}, info.Members[0].Partitions)
		_, err = topic.AppendWith(ctx, into(0), values("new")...)
		require.NoError(t, err)
		_, err = topic.AppendWith(ctx, into(1), values("new")...)
		require.NoError(t, err)
		more := poll(t, a, 10)
		require.Equal(t, []string{"revoked[1]"}, n.take())
		require.Equal(t, []int{0}, a.Partitions())
		require.Equal(t, []int{1}, b.Partitions())
		require.Len(t, more, 1)
		require.Equal(t, []string{"new"}, valuesOf(poll(t, b, 10)), "nothing comes twice")
		require.ErrorIs(t, a.Commit(ctx, got[len(got)-1]), log.ErrFenced)
	})
}

func TestAMemberThatDoesNotPollLosesItsPartitionsAfterTheDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 2)
		g := openGroup(t, topic, "g")
		var n notices
		o := n.options()
		o.DrainTimeout = pebblemq.Unlimited
		a := joinWith(t, g, o)
		pollNothing(t, a)
		b := join(t, g)
		<-time.After(24 * time.Hour)
		synctest.Wait()
		require.Empty(t, b.Partitions())
		pollNothing(t, a)
		require.Equal(t, []int{1}, b.Partitions())
	})
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 2)
		g := openGroup(t, topic, "g")
		var n notices
		a := joinWith(t, g, n.options())
		pollNothing(t, a)
		b := join(t, g)
		<-time.After(30*time.Second - 2*time.Millisecond)
		synctest.Wait()
		require.Empty(t, b.Partitions())
		<-time.After(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, []int{1}, b.Partitions())
		n.take()
		pollNothing(t, a)
		require.Equal(t, []string{"lost[1]"}, n.take())
		require.NoError(t, topic.DeleteGroup(ctx, "g"))
		_, err := a.Poll(ctx, 1)
		require.ErrorIs(t, err, log.ErrGroupDeleted)
		require.Equal(t, []string{"lost[0]"}, n.take())
	})
}

func TestGroupInfoTellsWhoOwnsWhat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := openTopic(t, 3)
		g := openGroup(t, topic, "g")
		start := time.Now()
		joinWith(t, g, &log.JoinOptions{Name: "first"})
		<-time.After(time.Second)
		joinWith(t, g, &log.JoinOptions{Name: "second"})
		info, err := g.Info(ctx)
		require.NoError(t, err)
		require.Len(t, info.Members, 2)
		require.Equal(t, log.MemberInfo{Name: "first", Joined: info.Members[0].Joined, Partitions: []int{0, 1}}, info.Members[0])
		require.Equal(t, log.MemberInfo{Name: "second", Joined: info.Members[1].Joined, Partitions: []int{2}}, info.Members[1])
		require.True(t, info.Members[0].Joined.Equal(start))
		require.True(t, info.Members[1].Joined.Equal(start.Add(time.Second)))
	})
}

func TestBadJoinOptionsAreRefused(t *testing.T) {
	_, topic := openTopic(t, 1)
	g := openGroup(t, topic, "g")
	var n notices
	for says, o := range map[string]log.JoinOptions{
		"Name of a member of group":           {Name: strings.Repeat("x", 257)},
		"DrainTimeout 1s of a member":         {DrainTimeout: time.Second},
		"DrainTimeout -2ns of a member of gr": {DrainTimeout: -2, OnRevoked: n.note("")},
	} {
		_, err := g.Join(ctx, &o)
		require.ErrorContains(t, err, says)
	}
}

// Members with and without callbacks come, go, pause, seek and poll, in any order. In the
// end each partition is read, each owner knows what it has, and no two have the same.
func TestNoPartitionIsLeftUnread(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const partitions = 4
		db, err := pebblemq.OpenMemory(nil)
		require.NoError(rt, err)
		defer db.Close()
		topic, err := log.OpenTopic(ctx, db, "orders", &log.TopicConfig{Partitions: partitions})
		require.NoError(rt, err)
		g := openGroup(t, topic, "g")
		type actor struct {
			m     *log.Member
			knows map[int]bool // nil without callbacks
		}
		var actors []*actor
		quick := func(a *actor) []log.Record {
			soon, cancel := context.WithTimeout(ctx, 100*time.Microsecond)
			defer cancel()
			found, err := a.m.Poll(soon, 100)
			if err != nil {
				require.ErrorIs(rt, err, context.DeadlineExceeded)
			}
			for _, r := range found {
				require.True(rt, a.knows == nil || a.knows[r.Partition], "a record of a partition that it was not told of")
			}
			return found
		}
		someone := func(rt *rapid.T) *actor {
			if len(actors) == 0 {
				rt.Skip("there is nobody")
			}
			return rapid.SampledFrom(actors).Draw(rt, "who")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"join": func(rt *rapid.T) {
				a := &actor{}
				o := &log.JoinOptions{}
				if rapid.Bool().Draw(rt, "listens") {
					a.knows = map[int]bool{}
					is := func(v bool) func(context.Context, *log.Member, []int) {
						return func(_ context.Context, _ *log.Member, list []int) {
							for _, p := range list {
								require.NotEqual(rt, v, a.knows[p], "told twice")
								a.knows[p] = v
							}
						}
					}
					o.OnAssigned, o.OnRevoked, o.DrainTimeout = is(true), is(false), pebblemq.Unlimited
				}
				a.m, err = g.Join(ctx, o)
				require.NoError(rt, err)
				actors = append(actors, a)
			},
			"leave": func(rt *rapid.T) {
				a := someone(rt)
				require.NoError(rt, a.m.Leave(ctx))
				for p, is := range a.knows {
					require.False(rt, is, "it was not told that it lost %d", p)
				}
				for i := range actors {
					if actors[i] == a {
						actors = append(actors[:i], actors[i+1:]...)
						break
					}
				}
			},
			"poll":   func(rt *rapid.T) { quick(someone(rt)) },
			"pause":  func(rt *rapid.T) { require.NoError(rt, someone(rt).m.Pause()) },
			"resume": func(rt *rapid.T) { require.NoError(rt, someone(rt).m.Resume()) },
			"seek":   func(rt *rapid.T) { require.NoError(rt, g.Seek(ctx, log.Start())) },
		})
		if len(actors) == 0 {
			return
		}
		for range 2 { // at first they hand over
			for _, a := range actors {
				require.NoError(rt, a.m.Resume())
				quick(a)
			}
		}
		require.NoError(rt, g.Seek(ctx, log.End()))
		for p := range partitions {
			_, err := topic.AppendWith(noSync, into(p), values("last")...)
			require.NoError(rt, err)
		}
		read := map[int]int{}
		for begin := time.Now(); len(read) < partitions && time.Since(begin) < 10*time.Second; {
			for _, a := range actors {
				for _, r := range quick(a) {
					read[r.Partition]++
				}
			}
		}
		require.Equal(rt, map[int]int{0: 1, 1: 1, 2: 1, 3: 1}, read)
	})
}
