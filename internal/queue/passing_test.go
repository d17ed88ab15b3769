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

// putLine puts many messages in few groups.
func putLine(t *testing.T, s *store.Store, q *Lane, group string, n int) {
	t.Helper()
	for left := n; left > 0; left -= 1000 {
		require.NoError(t, s.Do(ctx, &putAllOp{q: q, data: []byte(group + " line"), n: min(left, 1000)}, store.NoSync))
	}
}

// takesUntil takes messages, one a round, until one of a group comes, and says how many others were
// taken and settled before.
func takesUntil(t *testing.T, s *store.Store, q *Lane, group string) (others int) {
	t.Helper()
	for ; ; others++ {
		got := takeRound(t, s, q, 1)
		require.Len(t, got, 1)
		found := string(groupOf(got[0].Data)) == group
		if settleAll(t, s, q, got); found {
			return others
		}
	}
}

func TestTheWaitDoesNotDependOnTheLine(t *testing.T) {
	for _, c := range []struct {
		name string
		open func(*testing.T, vfs.FS) (*store.Store, *Lane)
		out  int // of the line
	}{{"tenants", fairSpool, 10}, {"groups", groupedSpool, 1}} {
		for _, room := range []int{0, freeBytes} {
			for _, n := range []int{100, 10_000, 1_000_000} {
				t.Run(fmt.Sprintf("%s/free=%d/line=%d", c.name, room, n), func(t *testing.T) {
					if n > 100_000 && testing.Short() {
						t.Skip("takes seconds")
					}
					synctest.Test(t, func(t *testing.T) {
						s, q := c.open(t, vfs.NewMem())
						freeOf(s).bytes = room
						putLine(t, s, q, "noisy", n)
						require.Len(t, takeRound(t, s, q, c.out), c.out)
						for range 3 {
							putMany(t, s, q, "quiet", 0, 2)
							require.LessOrEqual(t, takesUntil(t, s, q, "quiet"), 1)
							require.LessOrEqual(t, takesUntil(t, s, q, "quiet"), 1)
						}
						require.NoError(t, s.Close())
					})
				})
			}
		}
	}
}

// After a restart nobody knows who stands in line. It is walked.
func TestALineIsWalkedAfterARestart(t *testing.T) {
	for _, open := range []func(*testing.T, vfs.FS) (*store.Store, *Lane){fairSpool, groupedSpool} {
		synctest.Test(t, func(t *testing.T) {
			fs := vfs.NewMem()
			s, q := open(t, fs)
			putLine(t, s, q, "noisy", 50_000)
			putMany(t, s, q, "quiet", 0, 1)
			require.Len(t, takeRound(t, s, q, 1), 1)
			require.NoError(t, s.Close())
			s, q = open(t, fs)
			synctest.Wait()
			if q.groups.fair {
				require.Len(t, takeRound(t, s, q, 5), 5)
			}
			putMany(t, s, q, "late", 0, 1)
			require.LessOrEqual(t, takesUntil(t, s, q, "quiet"), 3)
			require.LessOrEqual(t, takesUntil(t, s, q, "late"), 3)
			require.NoError(t, s.Close())
		})
	}
}

// While there is one tenant only, nothing steps aside, and so nothing is spilled.
func TestASingleTenantIsNotPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := fairSpool(t, vfs.NewMem())
		putLine(t, s, q, "noisy", 20_000)
		for range 100 {
			require.Len(t, takeRound(t, s, q, 10), 10)
		}
		require.Zero(t, countKeys(t, s, layout.Parked))
		under(t, s, store.NoSync, func(*store.Turn) {
			if q.groups.parked > 0 {
				t.Errorf("%d are parked", q.groups.parked)
			}
		})
		require.NoError(t, s.Close())
	})
}

// No turn of the baton walks the whole line.
func TestATurnIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		freeOf(s).bytes = freeBytes
		putLine(t, s, q, "blocked", 10_000)
		require.Len(t, takeRound(t, s, q, 1), 1)
		parked, first := 0, 0
		under(t, s, store.NoSync, func(turn *store.Turn) {
			q.NextRound(turn)
			if q.Take(turn, time.Now().Add(time.Hour)) != nil || !q.Busy() {
				t.Error("the walk is not under way")
			}
			first = q.groups.parked
		})
		require.LessOrEqual(t, first, walkMessages)
		require.Empty(t, takeRound(t, s, q, 1))
		under(t, s, store.NoSync, func(*store.Turn) { parked = q.groups.parked })
		require.Equal(t, 9999, parked, "and it goes on by itself")
		require.NoError(t, s.Close())
	})
}

// What has passed the line and comes back passes it again.
func TestWhatPassedTheLinePassesItAgain(t *testing.T) {
	for _, open := range []func(*testing.T, vfs.FS) (*store.Store, *Lane){fairSpool, groupedSpool} {
		synctest.Test(t, func(t *testing.T) {
			s, q := open(t, vfs.NewMem())
			putLine(t, s, q, "noisy", 20_000)
			require.NotEmpty(t, takeRound(t, s, q, 10))
			putMany(t, s, q, "quiet", 0, 3)
			for range 3 {
				var m *Message
				for m == nil || string(groupOf(m.Data)) != "quiet" {
					got := takeRound(t, s, q, 1)
					require.Len(t, got, 1)
					m = got[0]
				}
				require.Equal(t, "quiet 0", string(m.Data))
				require.NoError(t, s.Do(ctx, &returnOp{q: q, m: m}, store.NoSync))
			}
			require.NoError(t, s.Close())
		})
	}
}

func TestBacklog(t *testing.T) {
	b := backlog{most: 2}
	b.restart(0)
	a, c := []byte("a"), []byte("c")
	require.True(t, b.single(0))
	b.note(a, 0, 0, true)
	b.note(a, 1, 0, false)
	require.True(t, b.single(0))
	b.note([]byte("b"), 2, 0, false)
	for _, is := range []struct {
		what string
		want bool
		got  bool
	}{
		{"two tenants are single", false, b.single(0)},
		{"the last of them is", true, b.single(2)},
		{"a has something from 1 on", true, b.has(a, 1, false)},
		{"a has something from 2 on", false, b.has(a, 2, false)},
		{"a has something in the window from 1 on", false, b.has(a, 1, true)},
		{"c has something", false, b.has(c, 0, false)},
		{"nobody has something", false, b.has(nil, 0, false)},
	} {
		require.Equal(t, is.want, is.got, is.what)
	}
	b.note(c, 3, 0, false) // there is no room for a third
	require.True(t, b.has(c, 3, false))
	require.True(t, b.has(a, 3, false), "it may be anybody's")
	require.False(t, b.has(a, 3, true), "not in the window")
	require.False(t, b.has(a, 4, false))
	require.False(t, b.single(3), "nobody knows")
	require.True(t, b.single(4))
	b.note(nil, 4, 4, true)
	require.True(t, b.has(nil, 4, true))
	b.note(c, 5, 4, false)
	require.True(t, b.has(c, 5, false))
	b.restart(9)
	require.True(t, b.has(a, 8, false), "any may be from before the restart")
	require.False(t, b.has(a, 9, false))
	require.False(t, b.single(8))
}
