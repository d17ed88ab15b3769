package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A read that panics gives the baton back to its holder.
func TestABatonOutlivesAReadThatPanics(t *testing.T) {
	var b baton
	b.Lock()
	require.Panics(t, func() { b.Aside(func() { panic("read") }) })
	require.False(t, b.TryLock(), "the holder has it")
	b.Unlock()
	require.True(t, b.TryLock())
	b.Unlock()
}

// Only Peek gets the baton beside a holder that reads.
func TestABatonIsHeldWhileItsHolderReads(t *testing.T) {
	var b baton
	b.Lock()
	b.Aside(func() {
		require.False(t, b.TryLock())
		peeked := false
		b.Peek(func() { peeked = true })
		require.True(t, peeked)
	})
	b.Unlock()
	require.True(t, b.TryLock())
	b.Unlock()
}
