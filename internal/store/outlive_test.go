package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func TestAContextThatOutlivesAnotherEndsASecondLater(t *testing.T) {
	type key struct{}
	for name, c := range map[string]struct{ waits, ends time.Duration }{
		"a wait that begins before": {0, 3 * time.Second},
		"a wait that begins after":  {time.Minute, time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				limited, stop := context.WithTimeout(context.WithValue(ctx, key{}, "value"), 2*time.Second)
				defer stop()
				late, free := store.Outlive(limited)
				defer free()
				require.Equal(t, "value", late.Value(key{}))
				<-time.After(c.waits)
				require.NoError(t, late.Err())
				<-late.Done()
				require.Equal(t, c.ends, time.Since(begin))
				require.ErrorIs(t, late.Err(), context.DeadlineExceeded)
			})
		})
	}
}

func TestAnOpThatOutlivesItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassWAL, storetest.OpSync)
		over, stop := context.WithCancelCause(ctx)
		stop(errors.New("enough"))
		do := func(name string, d store.Durability) (time.Duration, error) {
			late, free := store.Outlive(over)
			defer free()
			begin := time.Now()
			err := s.Do(late, set(name, "1"), d)
			return time.Since(begin), err
		}
		_, err := do("a", store.Sync)
		require.NoError(t, err)
		gate.Shut()
		took, err := do("b", store.NoSync)
		require.NoError(t, err)
		require.Zero(t, took)
		took, err = do("c", store.Sync)
		require.Equal(t, time.Second, took, "there is one grace")
		require.ErrorIs(t, err, store.ErrUnknownOutcome)
		require.ErrorContains(t, err, "enough")
		gate.Open()
		require.Len(t, keys(t, s), 3)
		require.NoError(t, s.Close())
	})
}

// A read has no outcome to wait for.
func TestACancelledReadReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassWAL, storetest.OpSync)
		gate.Shut()
		under := start(func() error { return s.Do(ctx, set("a", "1"), store.Sync) })
		synctest.Wait()
		refuse := &op{run: func(*store.Turn) error { return errRefused }}
		for name, call := range map[string]func(context.Context) error{
			"a fence":   s.Fence,
			"a view":    func(ctx context.Context) error { _, err := s.Snapshot(ctx); return err },
			"a refusal": func(ctx context.Context) error { return s.Do(ctx, refuse, store.Sync) },
		} {
			begin := time.Now()
			limited, stop := context.WithTimeout(ctx, time.Minute)
			err := call(limited)
			stop()
			require.Equal(t, context.DeadlineExceeded, err, name)
			require.Equal(t, time.Minute, time.Since(begin), name)
		}
		gate.Open()
		require.NoError(t, <-under)
		require.NoError(t, s.Close())
	})
}

// A store that takes no more writes lets in what gives something back.
func TestPromptOpsAreLetInWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, "", "")
		gate.Shut()
		full := func() bool {
			limited, stop := context.WithTimeout(ctx, time.Second)
			defer stop()
			for n := 0; ; n++ {
				if err := s.Do(limited, set(fmt.Sprint(n), string(make([]byte, 16<<10))), store.NoSync); err != nil {
					return errors.Is(err, context.DeadlineExceeded)
				}
			}
		}
		require.True(t, full())
		ran := false
		require.NoError(t, s.Do(ctx, store.PromptFunc{OpFunc: func(*store.Turn) error { ran = true; return nil }}, store.NoSync))
		require.True(t, ran)
		gate.Open()
		require.NoError(t, s.Close())
	})
}

func TestStatsAnswerWhileTheManifestWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, gate, _ := gated(t, storetest.ClassManifest, "")
		gate.Shut()
		for n := 0; gate.Held() == 0; n++ {
			require.NoError(t, s.Do(ctx, set(fmt.Sprint(n), string(make([]byte, 16<<10))), store.Sync))
			synctest.Wait()
		}
		begin := time.Now()
		for range 3 {
			require.NotZero(t, s.Stats().Operations)
		}
		require.LessOrEqual(t, time.Since(begin), 3*time.Second)
		gate.Open()
		require.NoError(t, s.Close())
	})
}

func TestALatchIsWaitedForUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := store.NewLatch()
		require.NoError(t, l.Lock(ctx))
		limited, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		require.ErrorIs(t, l.Lock(limited), context.DeadlineExceeded)
		var none context.Context
		require.ErrorIs(t, l.Lock(none), store.ErrInvalid)
		next := start(func() error { return l.Lock(ctx) })
		synctest.Wait()
		l.Unlock()
		require.NoError(t, <-next)
		l.Unlock()
		require.NoError(t, l.Lock(limited), "a free one is not waited for")
	})
}
