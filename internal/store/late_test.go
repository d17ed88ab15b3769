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

func TestWhatIsAskedForWithoutTheBatonIsWrittenWithinTheSyncInterval(t *testing.T) {
	s, err := OpenMemory(Options{SyncInterval: time.Millisecond})
	require.NoError(t, err)
	s.TouchLate(&lateKey{})
	require.Eventually(t, func() bool {
		v, err := s.Get(context.Background(), []byte{byte(KindApp), 'k'})
		return err == nil && string(v) == "late"
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, s.Close())
}

// chainedKey touches another late key when it is sealed.
type chainedKey struct {
	Sealed
	next *lateKey
}

func (k *chainedKey) Seal(t *Turn) { t.TouchLate(k.next) }

func TestWhatIsTouchedWhileItIsSealedComesInTheSameGroup(t *testing.T) {
	s, err := OpenMemory(Options{SyncInterval: MaxSyncInterval})
	require.NoError(t, err)
	next := &lateKey{}
	require.NoError(t, s.Do(context.Background(), OpFunc(func(t *Turn) error {
		t.TouchLate(next)
		t.TouchLate(&chainedKey{next: next})
		return nil
	}), NoSync))
	s.mu.Peek(func() {
		s.late.seal(&s.turn)
		require.Empty(t, s.late.sealers)
		require.False(t, next.late)
	})
	require.NoError(t, s.Close())
}
