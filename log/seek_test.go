package log_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/log"
)

func TestASeekIsPartOfItsTransaction(t *testing.T) {
	db, topic := openTopic(t, 2)
	for p := range 2 {
		_, err := topic.AppendWith(ctx, into(p), numbered(5)...)
		require.NoError(t, err)
	}
	g := openGroup(t, topic, "g")
	m := join(t, g)
	got := poll(t, m, 10)
	require.Len(t, got, 10)
	refused := errors.New("no")
	update := func(more func(tx *pebblemq.Tx) error) error {
		return db.Update(ctx, func(tx *pebblemq.Tx) error {
			return errors.Join(m.In(tx).Commit(got[0]), g.In(tx).Seek(log.Offset(3), 0), tx.Set([]byte("k"), nil), more(tx))
		})
	}
	require.ErrorIs(t, update(func(*pebblemq.Tx) error { return refused }), refused)
	require.ErrorIs(t, update(func(tx *pebblemq.Tx) error { // at the commit
		return m.In(tx).CommitOffset(log.Committed{Partition: 1, Next: 6})
	}), log.ErrOffsetOutOfRange)
	require.Equal(t, []int64{0, 0}, committed(t, g))
	require.NoError(t, m.Commit(ctx, got[0]), "a member notices nothing of a Seek that was refused")

	require.NoError(t, update(func(tx *pebblemq.Tx) error { return g.In(tx).Seek(log.Shift(1), 0) }))
	require.Equal(t, []int64{4, 0}, committed(t, g))
	require.ErrorIs(t, m.Commit(ctx, got[1]), log.ErrFenced)
	require.Equal(t, []string{"v4"}, valuesOf(poll(t, m, 10)))
	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Seek(log.Offset(6)) }), log.ErrOffsetOutOfRange)
	require.ErrorIs(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Seek(log.Start(), 7) }), log.ErrUnknownPartition)

	require.NoError(t, m.Leave(ctx))
	require.NoError(t, db.Update(ctx, func(tx *pebblemq.Tx) error { return g.In(tx).Seek(log.Start()) }))
	require.Len(t, poll(t, join(t, g), 10), 10, "a group without members moves, too")
}

func TestASeekEndsAnOutageThatWasNotToldYet(t *testing.T) {
	_, topic := openTopic(t, 2)
	for p := range 2 {
		_, err := topic.AppendWith(ctx, into(p), numbered(2)...)
		require.NoError(t, err)
	}
	g := openGroup(t, topic, "g")
	m := join(t, g)
	require.NoError(t, topic.TrimTo(ctx, 1, log.Offset(1)))
	require.Equal(t, []string{"v0", "v1"}, valuesOf(poll(t, m, 10)), "the other partition comes first")
	require.NoError(t, g.Seek(ctx, log.Start(), 1))
	require.Equal(t, []string{"v1"}, valuesOf(poll(t, m, 10)))
}

func TestInfoCountsThePartitionsThatAGroupCannotReadOnIn(t *testing.T) {
	_, topic := openTopic(t, 2)
	for p := range 2 {
		_, err := topic.AppendWith(ctx, into(p), numbered(2)...)
		require.NoError(t, err)
	}
	g := openGroup(t, topic, "g")
	blocked := func() int {
		info, err := g.Info(ctx)
		require.NoError(t, err)
		return info.Blocked
	}
	m := join(t, g)
	require.NoError(t, topic.TrimTo(ctx, 1, log.Offset(1)))
	require.Zero(t, blocked(), "the member has not come to it")
	require.Len(t, poll(t, m, 10), 2)
	require.Equal(t, 1, blocked())
	require.NoError(t, g.Seek(ctx, log.Start(), 1))
	require.Zero(t, blocked())
}
