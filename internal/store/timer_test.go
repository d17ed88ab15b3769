package store_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
)

// arm changes a timer in an Op of its own.
func arm(t *testing.T, s *store.Store, tm *store.Timer, at time.Time) {
	t.Helper()
	o := &op{run: func(t *store.Turn) error { t.Arm(tm, at); return nil }}
	require.NoError(t, s.Do(ctx, o, store.NoSync))
}

func disarm(t *testing.T, s *store.Store, tm *store.Timer) {
	t.Helper()
	o := &op{run: func(t *store.Turn) error { t.Disarm(tm); return nil }}
	require.NoError(t, s.Do(ctx, o, store.NoSync))
}

func TestTimersFireInOrderAndOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenMemory(store.Options{})
		require.NoError(t, err)
		begin := time.Now()
		var h history
		timer := func(name string) *store.Timer {
			return store.NewTimer(func(t *store.Turn) {
				h.add("%s after %v", name, time.Since(begin))
				t.Set(key(name), nil)
			})
		}
		late, soon, later, never := timer("late"), timer("soon"), timer("moved"), timer("never")
		arm(t, s, late, begin.Add(12*time.Hour))
		arm(t, s, soon, begin.Add(time.Second))
		arm(t, s, later, begin.Add(time.Second))
		arm(t, s, later, begin.Add(3*time.Hour))
		arm(t, s, never, begin.Add(time.Hour))
		disarm(t, s, never)
		disarm(t, s, never)
		<-time.After(12 * time.Hour)
		synctest.Wait()
		require.Equal(t, history{"soon after 1s", "moved after 3h0m0s", "late after 12h0m0s"}, h)
		require.Len(t, keys(t, s), 3, "what a timer writes is committed")
		arm(t, s, soon, begin)
		synctest.Wait()
		require.Len(t, h, 4, "a moment in the past is now")
		require.NoError(t, s.Close())
	})
}

func TestTimerMayArmItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenMemory(store.Options{})
		require.NoError(t, err)
		fired := 0
		var tm *store.Timer
		tm = store.NewTimer(func(t *store.Turn) {
			fired++
			t.Arm(tm, t.Now().Add(time.Minute))
		})
		arm(t, s, tm, time.Now())
		<-time.After(10*time.Minute + time.Second)
		synctest.Wait()
		require.Equal(t, 11, fired)
		require.NoError(t, s.Close())
	})
}

// A queue with a long backlog of what is due handles some of it each time and
// arms its timer for now again. Others must get their turn in between, and
// groups stay bounded.
func TestBusyTimerLetsOthersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, small(vfs.NewMem()))
		var stop atomic.Bool
		c := &counter{}
		var tm *store.Timer
		tm = store.NewTimer(func(t *store.Turn) {
			t.Touch(c)
			c.n++
			t.Set(key("backlog"), make([]byte, 4<<10))
			if !stop.Load() && c.n < 1<<20 {
				t.Arm(tm, t.Now())
			}
		})
		arm(t, s, tm, time.Now())
		require.NoError(t, s.Do(ctx, set("a", "1"), store.Sync))
		stop.Store(true)
		require.NoError(t, s.Close())
		require.Less(t, c.n, 1<<20)
	})
}

func TestDueTimersFillBoundedGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, small(vfs.NewMem()))
		const timers, size = 1000, 4 << 10
		c := &counter{}
		o := &op{run: func(t *store.Turn) error {
			for range timers {
				t.Arm(store.NewTimer(func(t *store.Turn) {
					t.Touch(c)
					c.n++
					t.Set(key("x"), make([]byte, size))
				}), t.Now())
			}
			return nil
		}}
		require.NoError(t, s.Do(ctx, o, store.NoSync))
		synctest.Wait()
		require.Equal(t, timers, c.n)
		require.GreaterOrEqual(t, c.seals, timers*size/(64<<10), "groups grow beyond their limit")
		require.NoError(t, s.Close())
	})
}

func TestJumpOfTheClockIsNoticedWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var skew atomic.Int64
		clock := func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
		s, err := store.OpenMemory(store.Options{Clock: clock})
		require.NoError(t, err)
		var fired atomic.Bool
		tm := store.NewTimer(func(*store.Turn) { fired.Store(true) })
		arm(t, s, tm, s.Now().Add(24*time.Hour))
		<-time.After(time.Hour)
		skew.Store(int64(48 * time.Hour))
		<-time.After(time.Minute)
		synctest.Wait()
		require.True(t, fired.Load())

		fired.Store(false)
		arm(t, s, tm, s.Now().Add(time.Hour))
		skew.Add(-int64(24 * time.Hour))
		<-time.After(24 * time.Hour)
		synctest.Wait()
		require.False(t, fired.Load(), "a clock that was set back delays what is due")
		<-time.After(time.Hour)
		synctest.Wait()
		require.True(t, fired.Load())
		require.NoError(t, s.Close())
	})
}

func TestTimersEndWithTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := store.OpenMemory(store.Options{})
		require.NoError(t, err)
		tm := store.NewTimer(func(*store.Turn) { t.Error("fired after Close") })
		arm(t, s, tm, time.Now().Add(time.Second))
		require.NoError(t, s.Close())
		<-time.After(time.Hour)
	})
}
