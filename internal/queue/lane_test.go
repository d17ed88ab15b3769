package queue

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func TestFirstInFirstOutThroughTheWindowAndTheDisk(t *testing.T) {
	s, err := store.OpenMemory(store.Options{})
	require.NoError(t, err)
	defer s.Close()
	ready := make(chan struct{}, 1)
	q, err := openLane(ctx, crowded(s), layout, 1, Options{Ready: func(*store.Turn) {
		select {
		case ready <- struct{}{}:
		default:
		}
	}})
	require.NoError(t, err)
	const n = 3*windowMessages + 7
	for i := range n {
		require.NoError(t, s.Do(ctx, &putOp{q: q, data: fmt.Appendf(nil, "m%d", i)}, store.NoSync))
	}
	for i := range n {
		var m *Message
		for m == nil {
			require.NoError(t, s.Do(ctx, store.OpFunc(func(t *store.Turn) error {
				m = q.Take(t, time.Time{})
				return nil
			}), store.NoSync))
			if m == nil {
				<-ready
			}
		}
		require.Equal(t, fmt.Sprintf("m%d", i), string(m.Data))
		require.NoError(t, s.Do(ctx, &settleOp{q, m}, store.NoSync))
	}
	require.NoError(t, s.Do(ctx, store.OpFunc(func(*store.Turn) error {
		require.Equal(t, Stats{}, q.Stats())
		return nil
	}), store.NoSync))
}

// markOf returns the mark of a message as the disk has it.
func markOf(t *testing.T, s *store.Store, seq uint64) mark {
	t.Helper()
	l := storedMessage(t, s, seq)
	require.False(t, l.gone)
	require.NoError(t, l.err)
	return l.mark
}

func openOne(t *testing.T) (*store.Store, *Lane) {
	t.Helper()
	s, err := store.OpenMemory(store.Options{})
	require.NoError(t, err)
	q, err := openLane(ctx, crowded(s), layout, 1, Options{Ready: func(*store.Turn) {}})
	require.NoError(t, err)
	require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte("x")}, store.Sync))
	return s, q
}

func takeSynced(t *testing.T, s *store.Store, q *Lane) (m *Message) {
	t.Helper()
	under(t, s, store.Sync, func(turn *store.Turn) { m = q.Take(turn, time.Time{}) })
	require.NotNil(t, m)
	return m
}

func TestEachDeliveryIsMarked(t *testing.T) {
	s, q := openOne(t)
	defer s.Close()
	for i := range uint32(3) {
		m := takeSynced(t, s, q)
		require.Equal(t, mark{out: true, count: i + 1}, markOf(t, s, 0))
		require.NoError(t, s.Do(ctx, &returnOp{q: q, m: m}, store.Sync))
		require.Equal(t, mark{count: i + 1}, markOf(t, s, 0))
	}
}

// TestUndoneChangesLeaveTheMark has a message taken and, in the same group,
// changed by a transaction that is then refused.
func TestUndoneChangesLeaveTheMark(t *testing.T) {
	for name, change := range map[string]func(q *Lane, m *Message) store.Op{
		"extend": func(q *Lane, m *Message) store.Op { return &extendOp{q: q, m: m, to: time.Unix(9, 0)} },
		"return": func(q *Lane, m *Message) store.Op { return &returnOp{q: q, m: m} },
		"settle": func(q *Lane, m *Message) store.Op { return &settleOp{q, m} },
	} {
		t.Run(name, func(t *testing.T) {
			s, q := openOne(t)
			defer s.Close()
			under(t, s, store.Sync, func(turn *store.Turn) {
				m := q.Take(turn, time.Unix(5, 0))
				turn.Post(store.OpFunc(func(turn *store.Turn) error {
					op := change(q, m)
					if err := op.Run(turn); err != nil {
						return err
					}
					op.Undo()
					return errRefused
				}), store.NoSync)
			})
			require.Equal(t, mark{out: true, count: 1, until: time.Unix(5, 0).UnixNano()}, markOf(t, s, 0))
		})
	}
}

// TestPrimeSuspectsComeOneAtATimeButDoNotWaitForLong crashes with three
// messages out.
func TestPrimeSuspectsComeOneAtATimeButDoNotWaitForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		open := func() (*store.Store, *Lane) {
			s, err := store.Open(store.Options{FS: fs, Dir: "data"})
			require.NoError(t, err)
			q, err := openLane(ctx, crowded(s), layout, 1, Options{Ready: func(*store.Turn) {}})
			require.NoError(t, err)
			return s, q
		}
		s, q := open()
		for range 3 {
			require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte("x")}, store.Sync))
			takeSynced(t, s, q)
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, s.Close())
		fs = storetest.NewFS(clone)
		s, q = open()
		defer func() { require.NoError(t, s.Close()) }()
		take := func() (m *Message) {
			under(t, s, store.NoSync, func(turn *store.Turn) { m = q.Take(turn, time.Time{}) })
			synctest.Wait()
			return m
		}
		require.Nil(t, take(), "being loaded")
		first := take()
		require.True(t, first.Suspect)
		require.Equal(t, uint32(2), first.Count)
		require.Nil(t, take())
		require.NoError(t, s.Do(ctx, &settleOp{q, first}, store.NoSync))
		require.NotNil(t, take())
		require.Nil(t, take())
		<-time.After(soloTime)
		synctest.Wait()
		require.NotNil(t, take())
	})
}

func TestWindowIsBoundedWhenDelayedMessagesFallDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := openOne(t)
		defer s.Close()
		for range 3 * windowMessages {
			require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte("x")}, store.NoSync))
		}
		for i := range 10 {
			due := time.Now().Add(time.Duration(i+1) * time.Second)
			require.NoError(t, s.Do(ctx, &delayOp{q: q, data: []byte("x"), due: due}, store.NoSync))
		}
		<-time.After(time.Minute)
		synctest.Wait()
		n := 0
		under(t, s, store.NoSync, func(*store.Turn) { n = q.line.window.len() })
		require.Equal(t, windowMessages, n)
	})
}

// TestLapsedLeaseIsCountedOnce restarts twice after a lease that ended while
// the store was closed: the second time it is not taken any more.
func TestLapsedLeaseIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		open := func() (*store.Store, *Lane) {
			s, err := store.Open(store.Options{FS: fs, Dir: "data"})
			require.NoError(t, err)
			q, err := openLane(ctx, crowded(s), layout, 1, Options{Ready: func(*store.Turn) {}, Leased: func(*store.Turn, *Message) {}})
			require.NoError(t, err)
			return s, q
		}
		stats := func(s *store.Store, q *Lane) (st Stats) {
			under(t, s, store.NoSync, func(turn *store.Turn) {
				if m := q.Take(turn, time.Now().Add(time.Second)); m != nil {
					t.Error("window was not empty")
				}
				st = q.Stats()
			})
			synctest.Wait()
			return st
		}
		s, q := open()
		require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte("x")}, store.Sync))
		under(t, s, store.Sync, func(turn *store.Turn) { q.Take(turn, time.Now().Add(time.Second)) })
		for i := range 3 {
			require.NoError(t, s.Close())
			<-time.After(time.Minute)
			s, q = open()
			st := stats(s, q)
			st.ReadyBytes = 0 // is known once it is recalled
			require.Equal(t, Stats{Ready: uint64(min(i, 1)), Taken: uint64(1 - min(i, 1)), Bytes: 1}, st)
		}
		require.NoError(t, s.Close())
	})
}
