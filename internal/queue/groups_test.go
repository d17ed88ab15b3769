package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// groupedSpool opens a lane with groups.
func groupedSpool(t *testing.T, fs vfs.FS) (*store.Store, *Lane) {
	t.Helper()
	s, err := store.Open(store.Options{FS: fs, Dir: "data"})
	require.NoError(t, err)
	q, err := openLane(ctx, crowded(s), layout, 1, Options{
		Ready: func(*store.Turn) {}, Leased: func(*store.Turn, *Message) {}, Group: groupOf,
	})
	require.NoError(t, err)
	under(t, s, store.NoSync, q.Start)
	return s, q
}

func putMany(t *testing.T, s *store.Store, q *Lane, group string, from, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, s.Do(ctx, &putOp{q: q, data: fmt.Appendf(nil, "%s %d", group, from+i)}, store.NoSync))
	}
}

// takeRound takes up to n messages in one round.
func takeRound(t *testing.T, s *store.Store, q *Lane, n int) (got []*Message) {
	t.Helper()
	busy, first := true, true
	for tries := 0; busy && len(got) < n && tries < 200; tries++ { // a test may be what it is busy with
		if tries > 0 {
			<-time.After(pacePause)
		}
		synctest.Wait()
		under(t, s, store.NoSync, func(turn *store.Turn) {
			if first {
				q.NextRound(turn)
			}
			first = false
			for len(got) < n {
				m := q.Take(turn, time.Now().Add(time.Hour))
				if m == nil {
					break
				}
				got = append(got, m)
			}
			busy = q.Busy()
		})
	}
	return got
}

func bodies(got []*Message) (out []string) {
	for _, m := range got {
		out = append(out, string(m.Data))
	}
	return out
}

func settleAll(t *testing.T, s *store.Store, q *Lane, got []*Message) {
	t.Helper()
	for _, m := range got {
		require.NoError(t, s.Do(ctx, &settleOp{q, m}, store.NoSync))
	}
}

// A blocked group is passed by the others however much of it there is, takes
// bounded memory, and comes back in order.
func TestABlockedGroupIsPassedByTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		const n = 20_000
		putMany(t, s, q, "big", 0, n)
		putMany(t, s, q, "small", 0, 3)
		head := takeRound(t, s, q, 1)
		require.Equal(t, []string{"big 0"}, bodies(head))
		others := takeRound(t, s, q, 10)
		require.Equal(t, []string{"small 0", "small 1", "small 2"}, bodies(others))
		settleAll(t, s, q, others)
		under(t, s, store.NoSync, func(*store.Turn) {
			memory := q.inMemory()
			if memory > 2*(windowMessages+chunkMessages) || len(q.groups.byID) != 1 {
				t.Errorf("%d messages and %d groups in memory", memory, len(q.groups.byID))
			}
		})

		require.NoError(t, s.Do(ctx, &returnOp{q: q, m: head[0]}, store.NoSync))
		for i := 0; i < n; {
			got := takeRound(t, s, q, 10)
			require.NotEmpty(t, got, "at %d", i)
			for _, m := range got {
				require.Equal(t, fmt.Sprint("big ", i), string(m.Data))
				i++
			}
			settleAll(t, s, q, got)
		}
		synctest.Wait()
		under(t, s, store.NoSync, func(*store.Turn) {
			if len(q.groups.byID)+q.groups.parked+q.groups.bytes+len(q.groups.spilled)+q.inMemory() > 0 {
				t.Errorf("left: %+v", q.groups)
			}
		})
		require.Zero(t, countKeys(t, s, layout.Parked))
		require.NoError(t, s.Close())
	})
}

func countKeys(t *testing.T, s *store.Store, k store.Kind) (n int) {
	t.Helper()
	lo, hi := store.Span(k, 1)
	it, err := s.Iter(ctx, lo, hi)
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}

// The index of what is spilled is of no use to the next process.
func TestSpilledMessagesSurviveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s, q := groupedSpool(t, fs)
		putMany(t, s, q, "big", 0, 5000)
		under(t, s, store.NoSync, func(*store.Turn) { q.groups.passing.backlog.restart(5001) }) // or the small one passed at once
		putMany(t, s, q, "small", 0, 1)
		require.Len(t, takeRound(t, s, q, 1), 1)
		require.Equal(t, []string{"small 0"}, bodies(takeRound(t, s, q, 1)))
		require.NotZero(t, countKeys(t, s, layout.Parked))
		require.NoError(t, s.Close())

		s, q = groupedSpool(t, fs)
		synctest.Wait()
		require.Zero(t, countKeys(t, s, layout.Parked))
		require.Empty(t, takeRound(t, s, q, 10), "both groups are blocked still")
		var head *Message
		under(t, s, store.NoSync, func(turn *store.Turn) { head, _ = q.Find(turn, 0) })
		settleAll(t, s, q, []*Message{head})
		for i := 1; i < 5000; {
			got := takeRound(t, s, q, 1000)
			require.NotEmpty(t, got, "at %d", i)
			require.Equal(t, fmt.Sprint("big ", i), string(got[0].Data))
			i += len(got)
			settleAll(t, s, q, got)
		}
		require.NoError(t, s.Close())
	})
}

// What happens between the reading of spilled messages and their arrival in
// memory is not undone by it.
func TestReadingBackSpilledMessagesIsNotStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		q.groups.room = room{2, 8, 1 << 20, 4, paceMessages, lookAhead}
		putMany(t, s, q, "g", 0, 10)
		head := takeRound(t, s, q, 1)
		require.Empty(t, takeRound(t, s, q, 1), "parks two and spills seven")

		var late *readBack // is under way when the rest happens
		under(t, s, store.NoSync, func(*store.Turn) {
			k := q.groups.byID["g"]
			k.wanted, q.groups.loading, q.groups.wanted = true, true, []*group{k}
			late = q.groups.plan()
		})
		require.NoError(t, late.read(ctx, store.IsDamage))
		putMany(t, s, q, "g", 10, 5)
		require.Empty(t, takeRound(t, s, q, 1), "spills five more")
		var third *Message
		under(t, s, store.NoSync, func(turn *store.Turn) { third, _ = q.Lookup(turn, 3) })
		require.Equal(t, "g 3", string(third.Data))
		settleAll(t, s, q, []*Message{third})
		require.NoError(t, s.Do(ctx, late, store.NoSync))

		settleAll(t, s, q, head)
		var got []string
		for more := takeRound(t, s, q, 3); len(more) > 0; more = takeRound(t, s, q, 3) {
			got = append(got, bodies(more)...)
			settleAll(t, s, q, more)
		}
		want := []string{}
		for i := 1; i < 15; i++ {
			if i != 3 {
				want = append(want, fmt.Sprint("g ", i))
			}
		}
		require.Equal(t, want, got)
		require.NoError(t, s.Close())
	})
}

func TestSpillingGoesOnWhileMessagesAreReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		q.groups.room = room{2, 8, 1 << 20, 100, paceMessages, lookAhead}
		putMany(t, s, q, "g", 0, 10)
		head := takeRound(t, s, q, 1)
		require.Empty(t, takeRound(t, s, q, 1))
		var late *readBack
		under(t, s, store.NoSync, func(*store.Turn) {
			k := q.groups.byID["g"]
			k.wanted, q.groups.loading, q.groups.wanted = true, true, []*group{k}
			late = q.groups.plan()
			late.most = 100
		})
		require.NoError(t, late.read(ctx, store.IsDamage))
		putMany(t, s, q, "g", 10, 5)
		require.Empty(t, takeRound(t, s, q, 1))
		require.NoError(t, s.Do(ctx, late, store.NoSync))
		settleAll(t, s, q, head)
		for i := 1; i < 15; {
			got := takeRound(t, s, q, 3)
			require.NotEmpty(t, got, "at %d", i)
			for _, m := range got {
				require.Equal(t, fmt.Sprint("g ", i), string(m.Data))
				i++
			}
			settleAll(t, s, q, got)
		}
		require.NoError(t, s.Close())
	})
}

// Purging spares what is in flight, and what is behind it is gone wherever it
// was.
func TestPurgingASpoolWithGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		putMany(t, s, q, "g", 0, 3000)
		head := takeRound(t, s, q, 1)
		require.Empty(t, takeRound(t, s, q, 1))
		n := 0
		under(t, s, store.NoSync, func(turn *store.Turn) { n = q.Purge(turn, true) })
		require.Equal(t, 2999, n)
		putMany(t, s, q, "g", 3000, 1)
		require.Empty(t, takeRound(t, s, q, 1), "blocked still")
		settleAll(t, s, q, head)
		require.Equal(t, []string{"g 3000"}, bodies(takeRound(t, s, q, 1)))
		require.Zero(t, countKeys(t, s, layout.Parked))
		require.NoError(t, s.Close())
	})
}

// A group goes on as soon as a deletion is accepted. It may be visible much later,
// if the disk is slow; what was undone counts for nothing.
func TestAGroupDoesNotWaitForADeletionToBeVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		putMany(t, s, q, "g", 0, 3)
		head := takeRound(t, s, q, 1)[0]
		require.Empty(t, takeRound(t, s, q, 1))
		var undone, next *Message
		under(t, s, store.NoSync, func(turn *store.Turn) {
			q.NextRound(turn)
			q.Settle(turn, head)
			q.UndoSettle(head)
			undone = q.Take(turn, time.Now().Add(time.Hour))
			q.Settle(turn, head)
			next = q.Take(turn, time.Now().Add(time.Hour))
			q.Settled(turn, head)
		})
		require.Nil(t, undone)
		require.NotNil(t, next)
		require.Equal(t, "g 1", string(next.Data))
		require.Empty(t, takeRound(t, s, q, 1))
		settleAll(t, s, q, []*Message{next})
		require.Equal(t, []string{"g 2"}, bodies(takeRound(t, s, q, 5)))
		require.NoError(t, s.Close())
	})
}

// What is parked uses memory that is free in the store, and gives it back.
func TestParkedMessagesShareTheMemoryThatIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		const free = 10_000 * messageBytes
		freeOf(s).bytes = free
		putMany(t, s, q, "g", 0, 2000)
		head := takeRound(t, s, q, 1)
		require.Empty(t, takeRound(t, s, q, 1))
		require.Zero(t, countKeys(t, s, layout.Parked), "nothing is spilled although it is more than one group's part")
		under(t, s, store.NoSync, func(turn *store.Turn) {
			if q.groups.parked != 1999 || freeOf(s).bytes > free-1999*messageBytes {
				t.Errorf("%d parked, %d free", q.groups.parked, freeOf(s).bytes)
			}
			q.Purge(turn, true)
			if freeOf(s).bytes != free {
				t.Errorf("%d free after the purge", freeOf(s).bytes)
			}
		})
		settleAll(t, s, q, head)
		putMany(t, s, q, "g", 2000, 10)
		require.Len(t, takeRound(t, s, q, 1), 1)
		require.Empty(t, takeRound(t, s, q, 1))
		under(t, s, store.NoSync, func(turn *store.Turn) {
			q.Close(turn)
			if freeOf(s).bytes != free {
				t.Errorf("%d free after the end", freeOf(s).bytes)
			}
		})
		require.NoError(t, s.Close())
	})
}

// What was given back is there for the next receive, although that is not visible
// yet; what was undone is not.
func plainSpool(t *testing.T, fs vfs.FS) (*store.Store, *Lane) {
	t.Helper()
	s, err := store.Open(store.Options{FS: fs, Dir: "data"})
	require.NoError(t, err)
	q, err := openLane(ctx, s, layout, 1, Options{Ready: func(*store.Turn) {}, Leased: func(*store.Turn, *Message) {}})
	require.NoError(t, err)
	under(t, s, store.NoSync, q.Start)
	return s, q
}

func TestWhatWasGivenBackIsFoundInTheNextRound(t *testing.T) {
	for _, open := range []func(*testing.T, vfs.FS) (*store.Store, *Lane){groupedSpool, fairSpool, plainSpool} {
		synctest.Test(t, func(t *testing.T) {
			s, q := open(t, vfs.NewMem())
			putMany(t, s, q, "g", 0, 2)
			head := takeRound(t, s, q, 1)[0]
			until := head.Until
			var undone, again *Message
			under(t, s, store.NoSync, func(turn *store.Turn) {
				q.Return(turn, head, false)
				q.UndoReturn(head, until)
				q.NextRound(turn)
				undone, _ = q.Find(turn, head.Seq)
				q.Return(turn, head, false)
				q.NextRound(turn)
				again = q.Take(turn, until.Time())
				q.Returned(turn, head)
			})
			require.True(t, undone == head, "it is out still")
			require.True(t, again == head)
			require.True(t, head.Taken(), "and its late return changes nothing")
			require.NoError(t, s.Close())
		})
	}
}

// What was settled and given back is not kept in memory for a receive that may
// not come.
func TestNothingIsKeptForAReceiveThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		const n = 2000
		for i := range n {
			putMany(t, s, q, fmt.Sprint("g", i), 0, 1)
		}
		got := takeRound(t, s, q, n)
		require.Len(t, got, n)
		for _, m := range got[:n/2] {
			require.NoError(t, s.Do(ctx, &returnOp{q: q, m: m}, store.NoSync))
		}
		settleAll(t, s, q, got[n/2:])
		under(t, s, store.NoSync, func(*store.Turn) {
			if n := len(q.line.back) + len(q.groups.leaving); n > 100 {
				t.Errorf("%d are kept", n)
			}
		})
		require.NoError(t, s.Close())
	})
}
