package queue

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

func TestSpoolsShareTheMemoryThatIsFree(t *testing.T) {
	s, err := store.OpenMemory(store.Options{})
	require.NoError(t, err)
	defer s.Close()
	open := func(id uint32) *Lane {
		q, err := openLane(ctx, s, layout, id, Options{Ready: func(*store.Turn) {}})
		require.NoError(t, err)
		return q
	}
	put := func(q *Lane, n int) (window int) {
		for range n {
			require.NoError(t, s.Do(ctx, &putOp{q: q}, store.NoSync))
		}
		under(t, s, store.Sync, func(*store.Turn) {}) // a frontier may be on its way to the disk, and what follows it is shown then
		under(t, s, store.NoSync, func(*store.Turn) { window = q.line.window.len() })
		return window
	}
	const spare = 100
	freeOf(s).bytes = (2*windowMessages + spare) * messageBytes
	first, second := open(1), open(2)
	require.Equal(t, 2*windowMessages+spare, put(first, 3*windowMessages), "all that is free")
	require.Equal(t, windowMessages, put(second, 2*windowMessages), "its own")

	for range windowMessages + spare {
		under(t, s, store.NoSync, func(turn *store.Turn) { first.Take(turn, time.Time{}) })
	}
	third := open(3)
	require.Equal(t, windowMessages, put(third, 2*windowMessages), "its own, of what was given back")
	under(t, s, store.NoSync, func(turn *store.Turn) {
		first.Purge(turn, false)
		second.Purge(turn, false)
		third.Close(turn)
	})
	require.Equal(t, (2*windowMessages+spare)*messageBytes, freeOf(s).bytes)
}

// TestAFastConsumerRaisesTheFrontierFurther: it need not wait for the disk every
// few thousand messages.
func TestAFastConsumerRaisesTheFrontierFurther(t *testing.T) {
	s, err := store.OpenMemory(store.Options{})
	require.NoError(t, err)
	defer s.Close()
	ready := make(chan struct{}, 1)
	q, err := openLane(ctx, s, layout, 1, Options{Ready: func(*store.Turn) {
		select {
		case ready <- struct{}{}:
		default:
		}
	}})
	require.NoError(t, err)
	const n = 4 * frontierStep
	for range n {
		require.NoError(t, s.Do(ctx, &putOp{q: q}, store.NoSync))
	}
	waits := 0
	for taken := 0; taken < n; {
		got := false
		under(t, s, store.NoSync, func(turn *store.Turn) {
			for q.Take(turn, time.Time{}) != nil {
				taken, got = taken+1, true
			}
		})
		if !got {
			waits++
			<-ready
		}
	}
	step := uint64(0)
	under(t, s, store.NoSync, func(*store.Turn) { step = q.crash.frontier.step })
	require.Greater(t, step, uint64(frontierStep))
	require.LessOrEqual(t, step, uint64(maxFrontierStep))
	require.Positive(t, waits)
}
