package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pebblemq/pebblemq/internal/store"
)

func fairSpool(t *testing.T, fs vfs.FS) (*store.Store, *Lane) {
	t.Helper()
	s, err := store.Open(store.Options{FS: fs, Dir: "data"})
	require.NoError(t, err)
	q, err := openLane(ctx, crowded(s), layout, 1, Options{
		Ready: func(*store.Turn) {}, Leased: func(*store.Turn, *Message) {}, Group: groupOf, Fair: true,
	})
	require.NoError(t, err)
	under(t, s, store.NoSync, q.Start)
	return s, q
}

// A tenant that has more than its share in flight gives way to those that have
// not, and takes what they leave.
func TestTenantsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := fairSpool(t, vfs.NewMem())
		putMany(t, s, q, "a", 0, 10)
		putMany(t, s, q, "b", 0, 3)
		putMany(t, s, q, "c", 0, 1)
		putMany(t, s, q, "", 0, 3)
		got := takeRound(t, s, q, 10)
		require.Equal(t, []string{
			"a 0", "a 1", // and now it has 2, and its share is 1
			"b 0", "b 1", "c 0", " 0", " 1", " 2",
			"a 2", "b 2", // nobody else is left: the older one of two with as much in flight
		}, bodies(got))
		settleAll(t, s, q, got[:2])
		require.Equal(t, "a", string(groupOf(takeRound(t, s, q, 1)[0].Data)), "has the least in flight of those that wait")
		require.NoError(t, s.Close())
	})
}

// However much one tenant has waiting, it is passed, in bounded memory, and
// nobody is idle meanwhile.
func TestATenantWithABacklogIsPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := fairSpool(t, vfs.NewMem())
		const n = 20_000
		putMany(t, s, q, "noisy", 0, n)
		putMany(t, s, q, "quiet", 0, 3)
		var inFlight []*Message
		quiet := 0
		next := 0
		for taken := 0; quiet < 3; taken++ {
			require.Less(t, taken, 3*n/lookAhead, "quiet has to wait for too long")
			got := takeRound(t, s, q, 1)
			require.Len(t, got, 1)
			if string(groupOf(got[0].Data)) == "quiet" {
				quiet++
				continue
			}
			require.Equal(t, fmt.Sprint("noisy ", next), string(got[0].Data), "order is kept")
			next++
			if inFlight = append(inFlight, got[0]); len(inFlight) == 10 {
				settleAll(t, s, q, inFlight[:1])
				inFlight = inFlight[1:]
			}
		}
		under(t, s, store.NoSync, func(*store.Turn) {
			if n := q.inMemory(); n > 2*(windowMessages+chunkMessages) || len(q.groups.byID) != 2 {
				t.Errorf("%d messages and %d groups in memory", n, len(q.groups.byID))
			}
		})
		settleAll(t, s, q, inFlight)
		for ; next < n; next++ {
			got := takeRound(t, s, q, 1)
			require.Len(t, got, 1)
			require.Equal(t, fmt.Sprint("noisy ", next), string(got[0].Data))
			settleAll(t, s, q, got)
		}
		require.Zero(t, countKeys(t, s, layout.Parked))
		require.NoError(t, s.Close())
	})
}

// The counts are exact, whatever becomes of a message.
func TestTenantsAreCountedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s, q := fairSpool(t, fs)
		putMany(t, s, q, "a", 0, 4)
		putMany(t, s, q, "", 0, 2)
		got := takeRound(t, s, q, 6)
		require.Len(t, got, 6)
		count := func(a, single int) {
			t.Helper()
			under(t, s, store.NoSync, func(*store.Turn) {
				f := q.groups.fairness
				n, active := 0, 0
				if k := q.groups.byID["a"]; k != nil {
					n, active = k.inFlight, 1
				}
				if n != a || f.inFlight != a || f.single != single || f.active != active {
					t.Errorf("%d of a, all %+v", n, f)
				}
			})
		}
		count(4, 2)
		require.NoError(t, s.Close())
		s, q = fairSpool(t, fs)
		synctest.Wait()
		count(4, 2)
		for seq := range uint64(6) {
			under(t, s, store.NoSync, func(turn *store.Turn) { got[seq], _ = q.Find(turn, seq) })
		}
		require.NoError(t, s.Do(ctx, &returnOp{q: q, m: got[0]}, store.NoSync))
		count(3, 2)
		settleAll(t, s, q, got)
		count(0, 0)
		require.NoError(t, s.Close())
	})
}

// takeFair is a receive of a fair lane in the model: whom it serves is for the
// tests above, but it serves.
func (w *world) takeFair(t *rapid.T) {
	until := time.Now().Add(time.Duration(rapid.IntRange(1, 200).Draw(t, "lease")) * time.Second)
	for range rapid.IntRange(1, 20).Draw(t, "n") {
		var m *Message
		var solo, busy bool
		for tries := 0; m == nil && (busy || tries == 0); tries++ {
			require.Less(t, tries, 50, "busy for ever")
			synctest.Wait()
			under(t, w.s, store.NoSync, func(t *store.Turn) {
				m = w.q.Take(t, until)
				busy = w.q.Busy()
				solo = w.q.solo != nil && w.q.solo != m
			})
		}
		if m == nil {
			for _, e := range w.model {
				require.True(t, e.taken || e.prime && solo, "%d is ready", e.seq)
			}
			return
		}
		e := w.model[m.Seq]
		require.NotNil(t, e, "%d is gone", m.Seq)
		require.False(t, e.taken)
		require.False(t, e.prime && solo, "two prime suspects at a time")
		require.Equal(t, e.data, string(m.Data))
		require.Equal(t, e.count+1, m.Count)
		e.taken, e.count, e.until, e.prime, e.unsynced = true, m.Count, until, false, true
		if m.Suspect {
			w.synced()
		}
	}
}

// A tenant whose messages were all spilled is read back at once: nobody else may
// come to remind of it.
func TestASpilledTenantIsReadBackByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := fairSpool(t, vfs.NewMem())
		q.groups.room = room{2, 1, 0, 4, paceMessages, lookAhead}
		putMany(t, s, q, "a", 0, 2)
		require.Len(t, takeRound(t, s, q, 5), 2)
		putMany(t, s, q, "a", 2, 3)
		require.Equal(t, []string{"a 2", "a 3", "a 4"}, bodies(takeRound(t, s, q, 5)))
		require.NoError(t, s.Close())
	})
}

func TestATenantIsReadBackWhenWhatItHadInMemoryWasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := fairSpool(t, vfs.NewMem())
		q.groups.room = room{2, 1, 1 << 20, 4, paceMessages, lookAhead}
		putMany(t, s, q, "a", 0, 6)
		putMany(t, s, q, "b", 6, 1)
		require.Equal(t, []string{"a 0", "a 1", "b 6"}, bodies(takeRound(t, s, q, 3)), "those of a step aside")
		var parked *Message
		under(t, s, store.NoSync, func(turn *store.Turn) {
			if q.groups.parked == 1 {
				parked, _ = q.Lookup(turn, 2)
			}
		})
		require.NotNil(t, parked, "and the rest is spilled")
		settleAll(t, s, q, []*Message{parked})
		require.Equal(t, []string{"a 3", "a 4", "a 5"}, bodies(takeRound(t, s, q, 3)))
		require.NoError(t, s.Close())
	})
}
