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

// leasedSpool opens a lane whose leases outlive the process.
func leasedSpool(t *testing.T, fs vfs.FS, leased func(*Message)) (*store.Store, *Lane) {
	t.Helper()
	s, err := store.Open(store.Options{FS: fs, Dir: "data"})
	require.NoError(t, err)
	q, err := openLane(ctx, crowded(s), layout, 1, Options{Ready: func(*store.Turn) {}, Leased: func(_ *store.Turn, m *Message) { leased(m) }})
	require.NoError(t, err)
	under(t, s, store.NoSync, q.Start)
	return s, q
}

// A lease that runs on far behind a long backlog is found without bringing the
// backlog into memory.
func TestAnOldLeaseBehindABacklogIsRecalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s, q := leasedSpool(t, fs, func(*Message) {})
		const n = 12_000
		for i := range n {
			require.NoError(t, s.Do(ctx, &putOp{q: q, data: fmt.Append(nil, i)}, store.NoSync))
		}
		out := takeAll(t, s, q, n, time.Now().Add(time.Hour))
		for _, m := range out[:n-1] {
			require.NoError(t, s.Do(ctx, &returnOp{q: q, m: m}, store.NoSync))
		}
		require.NoError(t, s.Close())

		var found []uint64
		s, q = leasedSpool(t, fs, func(m *Message) { found = append(found, m.Seq) })
		synctest.Wait()
		under(t, s, store.NoSync, func(*store.Turn) {
			if !q.crash.recalled() || q.line.window.len() > windowMessages+chunkMessages {
				t.Errorf("recalled %v, %d messages in the window", q.crash.recalled(), q.line.window.len())
			}
		})
		require.Equal(t, []uint64{n - 1}, found)
		st := Stats{}
		under(t, s, store.NoSync, func(*store.Turn) { st = q.Stats() })
		require.EqualValues(t, 1, st.Taken)
		require.EqualValues(t, n-1, st.Ready)
		require.Len(t, takeAll(t, s, q, n-1, time.Now().Add(time.Hour)), n-1, "in their order")
		require.NoError(t, s.Close())
	})
}

// takeAll takes n messages.
func takeAll(t *testing.T, s *store.Store, q *Lane, n int, until time.Time) (all []*Message) {
	t.Helper()
	for len(all) < n {
		synctest.Wait()
		under(t, s, store.NoSync, func(turn *store.Turn) {
			for len(all) < n {
				m := q.Take(turn, until)
				if m == nil {
					return
				}
				all = append(all, m)
			}
		})
	}
	for i := range all {
		require.Equal(t, all[0].Seq+uint64(i), all[i].Seq)
	}
	return all
}

// Many leases, spread over a backlog, take several reads to find. Some have
// ended by then.
func TestAllLeasesAreRecalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s, q := leasedSpool(t, fs, func(*Message) {})
		const n = 9_000
		for range n {
			require.NoError(t, s.Do(ctx, &putOp{q: q, data: make([]byte, 300)}, store.NoSync))
		}
		soon := takeAll(t, s, q, n/2, time.Now().Add(time.Minute))
		late := takeAll(t, s, q, n-len(soon), time.Now().Add(time.Hour))
		require.NoError(t, s.Close())
		<-time.After(2 * time.Minute)

		found := 0
		s, q = leasedSpool(t, fs, func(*Message) { found++ })
		synctest.Wait()
		st := Stats{}
		under(t, s, store.NoSync, func(*store.Turn) { st = q.Stats() })
		require.Equal(t, len(late), found)
		require.EqualValues(t, len(late), st.Taken)
		require.EqualValues(t, n-len(late), st.Ready)
		require.Len(t, takeAll(t, s, q, n-len(late), time.Now().Add(time.Hour)), n-len(late))
		require.NoError(t, s.Close())
	})
}

// What cannot be decoded holds nobody up, and is not deleted along with what
// surrounds it.
func TestADamagedMessageIsKeptAndPassed(t *testing.T) {
	fs := vfs.NewMem()
	f := newFeed(t, fs)
	const n, bad = dropMessages + 100, 50
	for range n {
		f.put(store.NoSync, []byte("message"))
	}
	require.NoError(t, f.s.Do(ctx, store.OpFunc(func(*store.Turn) error { return nil }), store.Sync))
	f.do(func(turn *store.Turn) { require.NoError(t, f.q.spoil(turn, bad)) })
	require.NoError(t, f.s.Close())

	f = newFeed(t, fs)
	for seq := range uint64(n) {
		if seq == bad {
			continue
		}
		m := f.take()
		require.Equal(t, seq, m.Seq)
		f.settle(m)
	}
	require.Equal(t, Stats{Unreadable: 1, Bytes: f.stats().Bytes}, f.stats())
	require.ErrorIs(t, storedMessage(t, f.s, bad).err, store.ErrFormat, "it is still there")
	require.NoError(t, f.s.Close())
}

// Nobody knows which of the messages are settled.
func TestMessagesWithADamagedStateAreKeptAndPassed(t *testing.T) {
	fs := vfs.NewMem()
	f := newFeed(t, fs)
	f.put(store.Sync, []byte("message"))
	f.do(func(t *store.Turn) { t.Set(seqKey(layout.State, place{id: 1}, 0), []byte{9, 9}) })
	f.put(store.Sync, []byte("other"))
	require.NoError(t, f.s.Close())

	f = newFeed(t, fs)
	m := f.take()
	require.EqualValues(t, 1, m.Seq)
	f.settle(m)
	require.Equal(t, Stats{Unreadable: 1, Bytes: 7}, f.stats())
	require.NoError(t, f.s.Close())
}

func TestADamagedDelayedMessageHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, vfs.NewMem())
		due := time.Now().Add(time.Minute)
		for i := range 3 {
			require.NoError(t, f.s.Do(ctx, &delayOp{q: f.q, data: []byte{byte(i)}, due: due}, store.Sync))
		}
		f.do(func(t *store.Turn) { t.Set(dueKey(layout.Delayed, place{id: 1}, due.UnixNano(), 1), []byte{9}) })
		<-time.After(time.Hour)
		synctest.Wait()
		for i, want := range [][]byte{{0}, {9}, {2}} {
			m := f.take()
			require.Equal(t, want, m.Data, "%d", i)
			f.settle(m)
		}
		require.Equal(t, Stats{}, f.stats())
		require.NoError(t, f.s.Close())
	})
}

// A message that was out when the process ended gets a new mark once it is loaded, unless
// it is purged before.
func TestAPurgeLeavesNoMarkToBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := openOne(t)
		takeSynced(t, s, q)
		q, err := openLane(ctx, s, layout, 1, Options{Ready: func(*store.Turn) {}})
		require.NoError(t, err)
		under(t, s, store.NoSync, q.loader.start)
		synctest.Wait()
		under(t, s, store.NoSync, func(turn *store.Turn) {
			require.EqualValues(t, 1, q.loaded)
			require.Equal(t, 1, q.Purge(turn, false))
		})
		require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte("y")}, store.Sync))
		v, err := s.Get(ctx, seqKey(layout.State, place{id: 1}, 0))
		require.NoError(t, err)
		require.Nil(t, v)
		require.NoError(t, s.Close())
	})
}
