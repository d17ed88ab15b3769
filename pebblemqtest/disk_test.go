package pebblemqtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/pebblemqtest"
	"github.com/pebblemq/pebblemq/workqueue"
)

func set(ctx context.Context, db *pebblemq.DB, key string) error {
	return db.Update(ctx, func(tx *pebblemq.Tx) error { return tx.Set([]byte(key), []byte("x")) })
}

func has(t testing.TB, db *pebblemq.DB, key string) (found bool) {
	t.Helper()
	require.NoError(t, db.View(ctx, func(tx *pebblemq.Tx) error {
		v, err := tx.Get([]byte(key))
		found = v != nil
		return err
	}))
	return found
}

func on(d *pebblemqtest.Disk) *pebblemqtest.Options {
	return &pebblemqtest.Options{Disk: d, Store: &pebblemq.Options{SyncInterval: time.Minute}}
}

func TestACrashKeepsWhatWasSyncedAndNothingElse(t *testing.T) {
	for _, bubble := range []bool{false, true} {
		test := func(t *testing.T) {
			d := pebblemqtest.NewDisk()
			db := pebblemqtest.Open(t, on(d))
			require.NoError(t, set(ctx, db, "synced"))
			require.NoError(t, set(pebblemq.WithDurability(ctx, pebblemq.NoSync), db, "relaxed"))
			d.Crash()
			require.ErrorIs(t, set(ctx, db, "late"), pebblemq.ErrClosed)

			db = pebblemqtest.Open(t, on(d))
			require.True(t, db.Stats().Unclean)
			require.True(t, has(t, db, "synced"))
			require.False(t, has(t, db, "relaxed"))
			require.NoError(t, set(pebblemq.WithDurability(ctx, pebblemq.NoSync), db, "relaxed"))
			require.NoError(t, db.Close())
			d.Crash()
			d.Crash()

			db = pebblemqtest.Open(t, on(d))
			require.False(t, db.Stats().Unclean)
			require.True(t, has(t, db, "relaxed"), "Close makes everything durable")
		}
		if bubble {
			synctest.Test(t, test)
		} else {
			test(t)
		}
	}
}

// Each writer notes what it was told. The crash comes at any moment.
func TestWhatWasReportedDoneSurvivesACrash(t *testing.T) {
	for round := range 20 {
		d := pebblemqtest.NewDisk()
		db := pebblemqtest.Open(t, on(d))
		var told sync.Map
		var writers sync.WaitGroup
		begun := make(chan struct{}, 1000)
		for w := range 8 {
			writers.Go(func() {
				for n := 0; ; n++ {
					key := fmt.Sprintf("%d/%d", w, n)
					if set(ctx, db, key) != nil {
						return
					}
					told.Store(key, true)
					select {
					case begun <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 1 + round*10 {
			<-begun
		}
		d.Crash()
		writers.Wait()

		db = pebblemqtest.Open(t, on(d))
		told.Range(func(key, _ any) bool {
			require.True(t, has(t, db, key.(string)), "%v was reported done", key)
			return true
		})
		require.NoError(t, db.Close())
	}
}

func TestACrashEndsARunAndDeliversAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pebblemqtest.NewDisk()
		db := pebblemqtest.Open(t, on(d))
		broker, err := workqueue.OpenBroker(ctx, db, "main")
		require.NoError(t, err)
		jobs, err := broker.DeclareQueue(ctx, "jobs", nil)
		require.NoError(t, err)
		require.NoError(t, broker.Publish(ctx, "", "jobs", workqueue.Message{Body: []byte("a")}))
		ended, begun := make(chan error, 1), make(chan struct{})
		go func() {
			ended <- jobs.Run(ctx, func(ctx context.Context, _ *workqueue.Delivery) error {
				close(begun)
				<-ctx.Done()
				return ctx.Err()
			}, nil)
		}()
		<-begun
		d.Crash()
		require.ErrorIs(t, <-ended, pebblemq.ErrClosed)

		db = pebblemqtest.Open(t, on(d))
		broker, err = workqueue.OpenBroker(ctx, db, "main")
		require.NoError(t, err)
		jobs, err = broker.Queue(ctx, "jobs")
		require.NoError(t, err)
		m, ok, err := jobs.Get(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "a", string(m.Body))
	})
}

func TestAFullDiskHealsWhenItIsFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pebblemqtest.NewDisk()
		db := pebblemqtest.Open(t, on(d))
		require.NoError(t, set(ctx, db, "a"))
		d.Fill()
		time.Sleep(5 * time.Second)
		require.ErrorIs(t, set(ctx, db, "b"), pebblemq.ErrDiskFull)
		d.Free()
		time.Sleep(5 * time.Second)
		require.NoError(t, set(ctx, db, "c"))
		d.Fill()
	})
}

func TestAFrozenDiskAnswersOnceItThaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pebblemqtest.NewDisk()
		db := pebblemqtest.Open(t, on(d))
		d.Freeze()
		soon, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		require.ErrorIs(t, set(soon, db, "a"), pebblemq.ErrUnknownOutcome)
		d.Thaw()
		require.NoError(t, set(ctx, db, "b"))
		d.Freeze() // and the store can be closed
	})
}

func TestACrashOfAFrozenDiskKeepsWhatWasReportedDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pebblemqtest.NewDisk()
		db := pebblemqtest.Open(t, on(d))
		d.Freeze()
		told := make(chan error, 1)
		go func() { told <- set(ctx, db, "a") }()
		synctest.Wait()
		d.Crash()
		err := <-told
		d.Thaw()
		db = pebblemqtest.Open(t, on(d))
		require.Equal(t, err == nil, has(t, db, "a"))
	})
}

func TestASlowDiskTakesLongerForEachSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := pebblemqtest.NewDisk()
		db := pebblemqtest.Open(t, on(d))
		d.Slow(time.Second)
		begin := time.Now()
		require.NoError(t, set(ctx, db, "a"))
		require.GreaterOrEqual(t, time.Since(begin), time.Second)
		d.Slow(0)
		begin = time.Now()
		require.NoError(t, set(ctx, db, "b"))
		require.Zero(t, time.Since(begin))
	})
}

func TestAFailedDiskFailsTheStoreForGood(t *testing.T) {
	if !inChild(t) {
		return
	}
	d := pebblemqtest.NewDisk()
	db := pebblemqtest.Open(t, on(d))
	require.NoError(t, set(ctx, db, "a"))
	d.Fail(nil)
	err := set(ctx, db, "b")
	require.ErrorIs(t, err, pebblemq.ErrFailed)
	require.ErrorIs(t, err, syscall.EIO)
	d.Repair()
	require.ErrorIs(t, set(ctx, db, "c"), pebblemq.ErrFailed)
	d.Crash()

	other := errors.New("controller gone")
	db = pebblemqtest.Open(t, on(d))
	require.True(t, has(t, db, "a"))
	d.Fail(other)
	require.ErrorIs(t, set(ctx, db, "b"), other)
	require.ErrorIs(t, db.Close(), pebblemq.ErrFailed)
	d.Repair()
	require.True(t, has(t, pebblemqtest.Open(t, on(d)), "a"))
}
