package store_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
)

func TestSyncsThatFallBehindAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		fs.SetHook(gate.Hook)
		o, log := small(fs), new(logText)
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
		s := openStore(t, o)
		<-time.After(time.Minute)
		require.Zero(t, s.Stats().UnsyncedAge, "nothing was written")

		for stall := range 2 {
			gate.Shut()
			require.NoError(t, s.Do(ctx, set("a", "1"), store.NoSync))
			for range 90 {
				<-time.After(10 * time.Millisecond)
				require.NoError(t, s.Do(ctx, set("b", "1"), store.NoSync))
			}
			require.Equal(t, 900*time.Millisecond, s.Stats().UnsyncedAge)
			require.Zero(t, s.Health().Lag, "not worth a word yet")
			require.Equal(t, stall, strings.Count(log.String(), "level=WARN"))
			<-time.After(time.Minute)
			require.Equal(t, time.Minute+900*time.Millisecond, s.Stats().UnsyncedAge)
			require.Equal(t, time.Minute+900*time.Millisecond, s.Health().Lag)
			require.Equal(t, stall+1, strings.Count(log.String(), "level=WARN"), "said once")
			require.Equal(t, stall, strings.Count(log.String(), "level=INFO"))
			gate.Open()
			<-time.After(time.Second)
			require.Zero(t, s.Stats().UnsyncedAge)
			require.Zero(t, s.Health().Lag)
			require.Equal(t, stall+1, strings.Count(log.String(), "level=INFO"), "and that it is over")
		}
		for range 1000 { // a disk that keeps up is not worth a word
			<-time.After(7 * time.Millisecond)
			require.NoError(t, s.Do(ctx, set("c", "1"), store.NoSync))
			require.LessOrEqual(t, s.Stats().UnsyncedAge, store.DefaultSyncInterval)
		}
		require.NoError(t, s.Close())
		require.Equal(t, 4, strings.Count(log.String(), "\n"), log)
	})
}

// Changes older than UnsyncedAge survive, however the disk behaves.
func TestTheUnsyncedAgeBoundsWhatACrashTakes(t *testing.T) {
	for name, trouble := range map[string]func(on *atomic.Bool, g *storetest.Gate) storetest.Hook{
		"a disk that stalls": func(_ *atomic.Bool, g *storetest.Gate) storetest.Hook { return g.Hook },
		"a full disk": func(on *atomic.Bool, _ *storetest.Gate) storetest.Hook {
			return func(c storetest.Call) error {
				if c.Class == storetest.ClassWAL && c.Op == storetest.OpWrite && on.Load() {
					return syscall.ENOSPC
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := storetest.NewFS(vfs.NewCrashableMem())
				var on atomic.Bool
				gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
				fs.SetHook(trouble(&on, gate))
				s := openStore(t, small(fs))
				var written []time.Time
				longest := time.Duration(0)
				for ms := range 6000 {
					switch ms {
					case 1000:
						on.Store(true)
						gate.Shut()
					case 4000:
						on.Store(false)
						gate.Open()
					}
					<-time.After(time.Millisecond)
					if s.Do(ctx, set(fmt.Sprintf("%05d", len(written)), "1"), store.NoSync) == nil {
						written = append(written, time.Now())
					}
					if ms%307 == 0 {
						age := s.Stats().UnsyncedAge
						longest = max(longest, age)
						require.GreaterOrEqual(t, keysAfterCrash(t, fs), olderThan(written, age), "after %d ms", ms)
					}
				}
				require.Greater(t, longest, 2*time.Second)
				require.NoError(t, s.Close())
			})
		})
	}
}

// keysAfterCrash counts the keys that a crash leaves.
func keysAfterCrash(t *testing.T, fs *storetest.FS) int {
	s := openStore(t, small(fs.CrashClone(vfs.CrashCloneCfg{})))
	n := len(keys(t, s))
	require.NoError(t, s.Close())
	return n
}

func olderThan(written []time.Time, age time.Duration) (n int) {
	for _, at := range written {
		if time.Since(at) > age {
			n++
		}
	}
	return n
}
