package pebblemqtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/visibility"
)

func TestAStoreIsClosedAtTheEndOfItsTest(t *testing.T) {
	var db *pebblemq.DB
	failed, said := failure(t, func(t testing.TB) {
		db = pebblemqtest.Open(t, nil)
		require.NoError(t, set(ctx, db, "a"))
	})
	require.False(t, failed, said)
	require.ErrorIs(t, db.Err(), pebblemq.ErrClosed)
}

func TestAStoreMayBeClosedByItsTestAndOpenedInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := pebblemqtest.Open(t, nil)
		require.NoError(t, db.Close())
		pebblemqtest.Open(t, nil)
	})
}

func TestBadOptionsEndTheTest(t *testing.T) {
	failed, said := failure(t, func(t testing.TB) {
		pebblemqtest.Open(t, &pebblemqtest.Options{Store: &pebblemq.Options{MemoryBytes: 1}})
		panic("not reached")
	})
	require.True(t, failed)
	require.Contains(t, said, "MemoryBytes 1 is below")
}

func TestTheLogOfTheStoreIsThatOfTheTest(t *testing.T) {
	failed, said := failure(t, func(t testing.TB) {
		db := pebblemqtest.Open(t, nil)
		q, err := visibility.OpenQueue(ctx, db, "mail", nil)
		require.NoError(t, err)
		_, err = q.Send(ctx, visibility.Message{Body: []byte("a")})
		require.NoError(t, err)
		running, stop := context.WithCancel(ctx)
		defer stop()
		require.NoError(t, q.Run(running, func(context.Context, *visibility.Received) error {
			return errors.New("no such address")
		}, &visibility.RunOptions{OnError: func(context.Context, *visibility.Received, error) { stop() }}))
	})
	require.False(t, failed, said)
	require.Contains(t, said, "no such address")
}

func TestAHandlerThatDoesNotEndFailsTheTest(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	failed, said := failure(t, func(t testing.TB) {
		db := pebblemqtest.Open(t, nil)
		q, err := visibility.OpenQueue(ctx, db, "mail", nil)
		require.NoError(t, err)
		_, err = q.Send(ctx, visibility.Message{Body: []byte("a")})
		require.NoError(t, err)
		begun := make(chan struct{})
		go q.Run(ctx, func(context.Context, *visibility.Received) error {
			close(begun)
			<-release
			return nil
		}, nil)
		<-begun
	})
	require.True(t, failed)
	require.Contains(t, said, "are left after the store was closed")
	require.Contains(t, said, "TestAHandlerThatDoesNotEndFailsTheTest")
}

func TestAStoreThatFailsWithoutACommandFailsItsTest(t *testing.T) {
	if !inChild(t) {
		return
	}
	failed, said := failure(t, func(t testing.TB) {
		db := pebblemqtest.Open(t, nil)
		require.NoError(t, pebblemqtest.Poison(db))
	})
	require.True(t, failed)
	require.Contains(t, said, "panicked")
}
