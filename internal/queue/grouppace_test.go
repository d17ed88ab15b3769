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

// takeNow takes a message of a new round, if there is one without waiting.
func takeNow(t *testing.T, s *store.Store, q *Lane) (m *Message) {
	t.Helper()
	synctest.Wait()
	under(t, s, store.NoSync, func(turn *store.Turn) {
		q.NextRound(turn)
		m = q.Take(turn, time.Now().Add(time.Hour))
	})
	return m
}

// While a group goes on, those who wait for something else do not have all of it
// spilled.
func TestABacklogOfAGroupThatGoesOnIsHardlySpilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		const n, least = 20_000, 8
		q.groups.room.spill, q.groups.pace.left, q.groups.pace.step = least, least, least
		putMany(t, s, q, "big", 0, n)
		most := 0
		for i := range n / 10 {
			got := takeRound(t, s, q, 10)
			require.Equal(t, fmt.Sprint("big ", 10*i), string(got[0].Data))
			require.Len(t, got, 10)
			require.Nil(t, takeNow(t, s, q), "the group is blocked")
			most = max(most, countKeys(t, s, layout.Parked))
			settleAll(t, s, q, got)
		}
		require.LessOrEqual(t, most, 10*least)
		require.NoError(t, s.Close())
	})
}

// While nothing goes on the pace grows: what stands behind millions is found.
func TestABacklogOfABlockedGroupIsPassedFasterAndFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := groupedSpool(t, vfs.NewMem())
		const n, least = 40_000, 8
		q.groups.room.spill, q.groups.pace.left, q.groups.pace.step = least, least, least
		putMany(t, s, q, "big", 0, n)
		under(t, s, store.NoSync, func(*store.Turn) { q.groups.passing.backlog.restart(n + 1) }) // or it passed at once
		putMany(t, s, q, "small", 0, 1)
		head := takeRound(t, s, q, 1)
		require.Equal(t, []string{"big 0"}, bodies(head))
		pauses := 0
		var m *Message
		for ; m == nil && pauses < 100; pauses++ {
			<-time.After(pacePause)
			for range 100 { // as the window is loaded
				if m = takeNow(t, s, q); m != nil {
					break
				}
			}
		}
		require.NotNil(t, m)
		require.Equal(t, "small 0", string(m.Data))
		require.LessOrEqual(t, pauses, 14, "8 * 2^13 is more than there are")
		require.Greater(t, pauses, 5)
		require.NoError(t, s.Close())
	})
}
