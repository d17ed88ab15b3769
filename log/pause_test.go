package log_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/log"
)

func TestAPauseEndsWithThePartitionEvenIfItComesBackUnseen(t *testing.T) {
	_, topic := openTopic(t, 2)
	for p := range 2 {
		_, err := topic.AppendWith(ctx, into(p), values("x", "y")...)
		require.NoError(t, err)
	}
	g := openGroup(t, topic, "g")
	a := join(t, g)
	require.NoError(t, a.Pause())
	b := join(t, g) // has one of them
	moved := b.Partitions()[0]
	require.NoError(t, b.Leave(ctx))
	found, err := a.Poll(ctx, 10)
	require.NoError(t, err)
	require.Len(t, found, 2)
	for _, r := range found {
		require.Equal(t, moved, r.Partition, "the other one is paused still")
	}
	require.NoError(t, g.Seek(ctx, log.Start()))
	found, err = a.Poll(ctx, 10)
	require.NoError(t, err)
	require.Equal(t, moved, found[0].Partition, "Seek ends no pause")
	require.NoError(t, a.Resume())
	found, err = a.Poll(ctx, 10)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.NotEqual(t, moved, found[0].Partition)
}
