package visibility_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/visibility"
)

// After a crash the messages that were in flight are received one at a time. Those that wait for that
// are in flight, for Stats and Browse as for a receive, which is never empty while something is visible.
func TestWhatWaitsForItsTrialIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		q := open(t, db, "q", nil)
		for range 3 {
			send(t, q, "x")
		}
		got, err := q.Receive(pebblemq.WithDurability(ctx, pebblemq.Sync), &visibility.ReceiveOptions{Max: 3, VisibilityTimeout: time.Second})
		require.NoError(t, err)
		require.Len(t, got, 3)
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		storetest.Close(t, db)
		time.Sleep(time.Minute)

		db, err = storetest.OpenFS(crashed, store.Options{})
		require.NoError(t, err)
		q = open(t, db, "q", nil)
		receive := func(want int) {
			t.Helper()
			got, err := q.Receive(ctx, &visibility.ReceiveOptions{Max: 10})
			require.NoError(t, err)
			require.Len(t, got, want)
			for _, m := range got {
				require.NoError(t, q.ChangeVisibility(ctx, m.Receipt, time.Hour))
			}
		}
		states := func() (visible, inFlight int) {
			for m, err := range q.Browse(ctx, nil) {
				require.NoError(t, err)
				if m.State == visibility.Visible {
					visible++
				} else {
					inFlight++
				}
			}
			st := stats(t, q)
			require.EqualValues(t, visible, st.Visible)
			require.EqualValues(t, inFlight, st.InFlight)
			return visible, inFlight
		}
		for range 3 {
			visible, _ := states()
			require.Positive(t, visible)
			receive(1)
			visible, _ = states()
			require.Zero(t, visible)
			receive(0)
			time.Sleep(6 * time.Second)
		}
		storetest.Close(t, db)
	})
}
