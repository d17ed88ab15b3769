package store

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lateKey is written with the next synced group.
type lateKey struct{ Sealed }

func (k *lateKey) Seal(t *Turn) { t.Set([]byte{byte(KindApp), 'k'}, []byte("late")) }

// A group of nothing but late writes has no operation of its own that a reader could wait for.
func TestAReaderWaitsForAGroupOfLateWrites(t *testing.T) {
	s, err := OpenMemory(Options{SyncInterval: MaxSyncInterval})
	require.NoError(t, err)
	ctx := context.Background()
	key := &lateKey{}
	require.NoError(t, s.Do(ctx, OpFunc(func(t *Turn) error { t.TouchLate(key); return nil }), NoSync))
	require.NoError(t, s.settle(ctx))
	g := s.seal(true, false)
	require.NotNil(t, g)

	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.settle(short), context.DeadlineExceeded)

	require.NoError(t, s.apply(g))
	s.markApplied(g)
	require.True(t, s.queueSync(g))
	it, err := s.Iter(ctx, []byte{byte(KindApp)}, []byte{byte(KindApp) + 1})
	require.NoError(t, err)
	require.True(t, it.First())
	require.NoError(t, it.Close())
	require.NoError(t, s.Close())
}
