package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestTheDataOfManyMessagesThatAreOutIsOnDiskOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := openOne(t) // with "x" in it
		q.leanFrom = 1
		for _, data := range []string{"aa", "bbb"} {
			require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte(data)}, store.Sync))
		}
		bytes := func() (n uint64) {
			under(t, s, store.NoSync, func(*store.Turn) { n = q.Stats().Bytes })
			return n
		}
		var out []*Message
		for range 3 {
			m := takeSynced(t, s, q)
			under(t, s, store.NoSync, func(*store.Turn) { q.Lean(m, noPrint) })
			out = append(out, m)
		}
		require.Equal(t, "x", string(out[0].Data), "few keep it")
		require.Empty(t, string(out[1].Data)+string(out[2].Data))
		require.EqualValues(t, 6, bytes())
		require.NoError(t, s.Do(ctx, &settleOp{q, out[1]}, store.Sync))
		require.EqualValues(t, 4, bytes())
		require.NoError(t, s.Do(ctx, &returnOp{q: q, m: out[2]}, store.Sync))
		m := takeSynced(t, s, q)
		require.True(t, m == out[2])
		require.Equal(t, "bbb", string(m.Data), "it is there again")
		require.EqualValues(t, 4, bytes())
		require.NoError(t, s.Close())
	})
}

func TestAMessageThatCannotBeReadAgainIsPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, q := openOne(t) // with "x" in it
		require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte("y")}, store.Sync))
		q.leanFrom = 0
		lost, other := takeSynced(t, s, q), takeSynced(t, s, q)
		under(t, s, store.Sync, func(turn *store.Turn) {
			q.Lean(lost, noPrint)
			require.NoError(t, q.spoil(turn, lost.Seq))
		})
		for _, m := range []*Message{lost, other} {
			require.NoError(t, s.Do(ctx, &returnOp{q: q, m: m}, store.Sync))
		}
		require.True(t, takeSynced(t, s, q) == other)
		under(t, s, store.NoSync, func(turn *store.Turn) {
			if m := q.Take(turn, time.Time{}); m != nil || q.Stats().Taken != 1 || q.Stats().Unreadable != 1 || q.Stats().Ready != 0 {
				t.Errorf("%+v, %+v", m, q.Stats())
			}
		})
		require.NoError(t, s.Close())
	})
}

// The pass that finds it has read its data, outside the baton.
func TestAMessageWhoseRetentionIsOverHasItsData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenMemory(store.Options{})
		require.NoError(t, err)
		var moved []string
		var q *Lane
		begin := time.Now().UnixNano()
		q, err = openLane(ctx, crowded(s), layout, 1, Options{
			Ready: func(*store.Turn) {}, Leased: func(*store.Turn, *Message) {}, Born: func([]byte) int64 { return begin },
			Outlived: func(turn *store.Turn, m *Message) func(*store.Turn) {
				moved = append(moved, string(m.Data))
				q.Settle(turn, m)
				return func(turn *store.Turn) { q.Settled(turn, m) }
			},
		})
		require.NoError(t, err)
		q.leanFrom = 0
		under(t, s, store.NoSync, func(turn *store.Turn) { q.retention.set(turn, time.Hour, true) })
		for _, data := range []string{"x", "y"} {
			require.NoError(t, s.Do(ctx, &putOp{q: q, data: []byte(data)}, store.Sync))
		}
		m := takeSynced(t, s, q)
		under(t, s, store.NoSync, func(*store.Turn) {
			if q.Lean(m, noPrint); len(m.Data) > 0 {
				t.Errorf("it has %q still", m.Data)
			}
		})
		<-time.After(2 * time.Hour)
		synctest.Wait()
		under(t, s, store.NoSync, func(*store.Turn) {
			if st := q.Stats(); st.Taken+st.Ready+st.Bytes != 0 {
				t.Errorf("%+v", st)
			}
		})
		require.Equal(t, []string{"x", "y"}, moved)
		require.NoError(t, s.Close())
	})
}

func noPrint([]byte) uint32 { return 0 }
