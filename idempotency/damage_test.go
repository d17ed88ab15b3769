package idempotency_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

// till is a namespace in a store whose tables are damaged while it is closed.
type till struct {
	storetest.Workbench
	ahead time.Duration // of the clock
	keys  *idempotency.Namespace
}

const tillExpiry = time.Hour

func newTill(t *testing.T, n int) *till {
	s := &till{}
	clock := func() time.Time { return time.Now().Add(s.ahead) }
	s.Start(t, store.Options{Clock: clock}, func() { s.keys = openKeys(t, s.DB, &idempotency.Config{Expiry: tillExpiry}) })
	for i := range n {
		_, err := s.do(i)
		require.NoError(t, err)
	}
	return s
}

func (s *till) key(i int) []byte { return fmt.Appendf(nil, "%04d", i) }

// do reports whether the handler ran.
func (s *till) do(i int) (ran bool, err error) {
	_, err = s.keys.Do(store.WithDurability(context.Background(), store.NoSync), s.key(i), func(context.Context, idempotency.Claim) ([]byte, error) {
		ran = true
		return make([]byte, 100), nil
	}, nil)
	return ran, err
}

// left counts the records and the entries that are there and can be read.
func (s *till) left(kind store.Kind) int {
	s.T.Helper()
	o, _ := lookUp(s.T, bridge.Store(s.DB))
	lo, hi := store.Span(kind, o.ID)
	it, err := bridge.Store(s.DB).Iter(context.Background(), lo, hi)
	require.NoError(s.T, err)
	it.PassOver(context.Background(), store.IsUnread)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(s.T, it.Close())
	return n
}

func lookUp(t *testing.T, s *store.Store) (o *store.Object, found bool) {
	t.Helper()
	require.NoError(t, s.Do(context.Background(), store.QuietFunc(func(turn *store.Turn) error {
		o, found = turn.Lookup(store.ClassNamespace, "payments")
		return nil
	}), store.NoSync))
	require.True(t, found)
	return o, found
}

// It is not known whether the handler of a key has run whose record cannot be read.
func TestAKeyThatCannotBeReadDoesNotRun(t *testing.T) {
	s := newTill(t, 500)
	s.Damage(store.KindIdemRecord, 0.5)
	refused := 0
	for i := range 500 {
		ran, err := s.do(i)
		require.False(t, ran)
		if err == nil {
			continue
		}
		refused++
		require.ErrorIs(t, err, pebblemq.ErrCorrupt)
		require.ErrorContains(t, err, fmt.Sprintf(`namespace "payments", key %q`, s.key(i)))
		_, _, err = s.keys.Find(context.Background(), s.key(i))
		require.ErrorIs(t, err, pebblemq.ErrCorrupt)
		require.NoError(t, s.keys.Forget(context.Background(), s.key(i)), "a way out")
		ran, err = s.do(i)
		require.NoError(t, err)
		require.True(t, ran)
	}
	require.Positive(t, refused)
	require.Less(t, refused, 250)
	n, err := countOf(s.keys)
	require.NoError(t, err)
	require.EqualValues(t, 500, n)
}

// What cannot be read stays, with its entries, until it can be read.
func TestReclaimPassesOverWhatCannotBeRead(t *testing.T) {
	for name, kind := range map[string]store.Kind{"records": store.KindIdemRecord, "entries": store.KindIdemExpiry} {
		t.Run(name, func(t *testing.T) {
			s := newTill(t, 3000)
			s.ahead = 3 * tillExpiry
			s.Damage(kind, 0.5)
			count := func() uint64 {
				n, err := countOf(s.keys)
				require.NoError(t, err)
				return n
			}
			require.Eventually(t, func() bool { return len(s.Log.Lines("expired idempotency keys")) == 1 }, storetest.Patience, time.Millisecond)
			stay := count()
			require.Positive(t, stay)
			require.Less(t, stay, uint64(2000), "a block, or those of a part of the index of a table, which differs with its layout")
			if kind == store.KindIdemRecord {
				require.EqualValues(t, stay, s.left(store.KindIdemExpiry), "they are found again")
			}
			s.Repair()
			require.Eventually(t, func() bool { return count() == 0 }, storetest.Patience, time.Millisecond)
			require.Zero(t, s.left(store.KindIdemRecord))
			require.Zero(t, s.left(store.KindIdemExpiry))
			require.Len(t, s.Log.Lines("expired idempotency keys"), 1)
		})
	}
}
