package visibility_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

// TestARedriveSurvivesACrashAtEveryWrite: each message is in one of the two queues, the counts
// say in which, and the redrive goes on to its end. A cancelled redrive stays cancelled.
func TestARedriveSurvivesACrashAtEveryWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 150
		type remains struct {
			at        string
			fs        *vfs.MemFS
			cancelled bool
		}
		fs := storetest.NewFS(vfs.NewCrashableMem())
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		dead, to := open(t, db, "dead", nil), open(t, db, "to", nil)
		for i := range n {
			send(t, dead, fmt.Sprint(i))
		}
		_, err = dead.Send(ctx, visibility.Message{ID: "reminder", Delay: time.Hour})
		require.NoError(t, err)
		r, err := dead.Redrive(ctx, &visibility.RedriveOptions{To: "to", Rate: 20})
		require.NoError(t, err)
		var mu sync.Mutex
		var left []remains
		cancelled := false
		fs.SetHook(func(c storetest.Call) error {
			mu.Lock()
			defer mu.Unlock()
			left = append(left, remains{c.Op + " " + c.Name, fs.CrashClone(vfs.CrashCloneCfg{}), cancelled})
			return nil
		})
		<-time.After(time.Second)
		require.NoError(t, dead.Cancel(ctx, "reminder"))
		mu.Lock()
		cancelled = true
		mu.Unlock()
		_, err = r.Wait(ctx)
		require.NoError(t, err)
		counts(t, to, n, 0, 0)
		require.NoError(t, db.Close())
		require.Greater(t, len(left), 50)
		for i, l := range left {
			if testing.Short() && i%4 != 0 {
				continue
			}
			at := fmt.Sprintf("crash %d before %s", i, l.at)
			db, err := storetest.OpenFS(l.fs, store.Options{})
			require.NoError(t, err, at)
			dead, to := open(t, db, "dead", nil), open(t, db, "to", nil)
			list, err := dead.Redrives(ctx)
			require.NoError(t, err, at)
			before := list[0].Info()
			_, a := browse(t, dead, &visibility.BrowseOptions{State: visibility.Visible})
			_, b := browse(t, to, nil)
			require.GreaterOrEqual(t, uint64(len(b)), before.Moved, at)
			require.LessOrEqual(t, uint64(len(b)), before.Moved+2, at) // it goes on already
			all := slices.Concat(a, b)
			slices.Sort(all)
			require.LessOrEqual(t, n, len(all), at) // of what was moved between the two looks, twice
			require.Len(t, slices.Compact(all), n, at)
			_, err = dead.Find(ctx, "reminder")
			if l.cancelled {
				require.ErrorIs(t, err, visibility.ErrUnknownMessage, at)
			}
			info, err := list[0].Wait(ctx)
			require.NoError(t, err, at)
			done(t, info, visibility.RedriveCompleted, n, 0, 0)
			counts(t, to, n, 0, 0)
			require.NoError(t, db.Close(), at)
		}
	})
}
