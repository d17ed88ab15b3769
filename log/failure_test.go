package log_test

import (
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

func TestAFailedStoreIsReadToItsEndAndThenTells(t *testing.T) {
	if !inChild(t) {
		return
	}
	mem := vfs.NewCrashableMem()
	fs := crashFS{storetest.NewFS(mem)}
	db, topic := fs.open(t)
	_, err := topic.Append(ctx, numbered(10)...)
	require.NoError(t, err)
	g := openGroup(t, topic, "g")
	m := join(t, g)
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	late, err := topic.NewReader(0, log.End())
	require.NoError(t, err)
	woken := make(chan error, 1)
	go func() {
		for _, err := range late.Records(ctx) {
			woken <- err
		}
	}()

	fault := &storetest.Fault{Class: storetest.ClassWAL, Op: storetest.OpSync, N: 1, Forever: true}
	fs.SetHook(fault.Hook)
	_, err = topic.Append(ctx, values("lost")...)
	require.ErrorIs(t, err, pebblemq.ErrFailed)
	require.ErrorIs(t, err, pebblemq.ErrUnknownOutcome)
	require.ErrorIs(t, <-woken, pebblemq.ErrFailed)

	n := 0
	for rec, err := range r.Records(ctx) {
		if err != nil {
			require.ErrorIs(t, err, pebblemq.ErrFailed)
			break
		}
		require.EqualValues(t, n, rec.Offset)
		n++
	}
	require.Equal(t, 10, n, "what is durable is read, what is not is not")
	found := poll(t, m, 100)
	require.Len(t, found, 10)
	_, err = m.Poll(ctx, 1)
	require.ErrorIs(t, err, pebblemq.ErrFailed)
	require.ErrorIs(t, m.Commit(ctx, found...), pebblemq.ErrFailed)
	_, err = topic.Append(ctx, values("x")...)
	require.ErrorIs(t, err, pebblemq.ErrFailed)
	require.ErrorIs(t, db.Close(), pebblemq.ErrFailed)

	db, topic = crashFS{storetest.NewFS(mem.CrashClone(vfs.CrashCloneCfg{}))}.open(t)
	require.Len(t, fetchAll(t, topic, 0, log.Start()), 10)
	require.NoError(t, db.Close())
}

// Unsynced records have gone with the store, and readers that come to their place say why.
func TestAFailedStoreDoesNotSayThatItIsDamaged(t *testing.T) {
	if !inChild(t) {
		return
	}
	fs := crashFS{storetest.NewFS(vfs.NewCrashableMem())}
	db, topic := fs.open(t)
	appendAll(t, topic, numbered(10)...)
	fault := &storetest.Fault{Class: storetest.ClassWAL, Op: storetest.OpSync, N: 3, Forever: true}
	fs.SetHook(fault.Hook)
	var w sync.WaitGroup
	for range 8 {
		w.Go(func() {
			for {
				if _, err := topic.Append(noSync, values("x")...); err != nil {
					return
				}
			}
		})
	}
	w.Wait()
	r, err := topic.NewReader(0, log.Start())
	require.NoError(t, err)
	for _, err = range r.Records(ctx) {
		if err != nil {
			break
		}
	}
	require.NotErrorIs(t, err, pebblemq.ErrCorrupt)
	require.ErrorIs(t, err, pebblemq.ErrFailed)
	require.ErrorIs(t, db.Close(), pebblemq.ErrFailed)
}
