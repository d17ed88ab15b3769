package workqueue_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestARedriveGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, b := restart(t, fs, nil)
		declare(t, b, "dead", "to")
		for i := range 40 {
			publish(t, b, "dead", fmt.Sprint(i))
		}
		exchange(t, b, workqueue.Fanout, "x")
		bind(t, b, workqueue.Binding{Exchange: "x", Queue: "to"})
		to := &workqueue.RedriveTo{Exchange: "x", Key: "k"}
		_, err := queueOf(t, b, "dead").Redrive(bg, &workqueue.RedriveOptions{To: to, Rate: 10})
		require.NoError(t, err)
		pass(time.Second)
		require.Equal(t, 11, ready(t, b, "to"))

		db, b = restart(t, fs, db)
		list, err := queueOf(t, b, "dead").Redrives(bg)
		require.NoError(t, err)
		require.Len(t, list, 1)
		publish(t, b, "dead", "comes later")
		info, err := list[0].Wait(bg)
		require.NoError(t, err)
		require.Equal(t, workqueue.RedriveCompleted, info.State)
		require.Equal(t, to, info.To)
		require.EqualValues(t, 1, info.ID)
		counted(t, info, 40, 0, 0)
		require.Equal(t, 40, ready(t, b, "to"))
		require.Equal(t, []string{"comes later"}, in(t, b, "dead"))

		_, err = queueOf(t, b, "dead").Redrive(bg, &workqueue.RedriveOptions{Filter: func(*workqueue.Browsed) bool { return true }, Rate: 0.001, Burst: 1})
		require.NoError(t, err)
		publish(t, b, "dead", "one more")
		db, b = restart(t, fs, db)
		list, err = queueOf(t, b, "dead").Redrives(bg)
		require.NoError(t, err)
		info, err = list[0].Wait(bg)
		require.NoError(t, err)
		require.Contains(t, []workqueue.RedriveState{workqueue.RedriveInterrupted, workqueue.RedriveCompleted}, info.State, "its filter is gone")
		require.EqualValues(t, 2, info.ID)

		require.NoError(t, queueOf(t, b, "dead").Delete(bg))
		require.NoError(t, db.Close())
	})
}

func TestARedriveStartsInATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := open(t)
		dying(t, b, "q")
		bury(t, b, "q", "a", "b")
		dead := queueOf(t, b, "dead")
		start := func(after error, spoil bool) (r *workqueue.Redrive, err error) {
			return r, db.Update(bg, func(tx *pebblemq.Tx) (err error) {
				if r, err = dead.In(tx).Redrive(nil); err != nil {
					return err
				}
				if spoil {
					_ = dead.In(tx).Cancel("none")
				}
				return after
			})
		}
		refused := errors.New("refused")
		_, err := start(refused, false)
		require.ErrorIs(t, err, refused)
		_, err = start(nil, true)
		require.Error(t, err)
		pass(time.Minute)
		list, err := dead.Redrives(bg)
		require.NoError(t, err)
		require.Empty(t, list)
		require.Len(t, in(t, b, "dead"), 2)

		r, err := start(nil, false)
		require.NoError(t, err)
		info, err := r.Wait(bg)
		require.NoError(t, err)
		counted(t, info, 2, 0, 0)
		require.Equal(t, []string{"a", "b"}, in(t, b, "q"))
		require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
			_, err := dead.In(tx).Redrive(&workqueue.RedriveOptions{To: &workqueue.RedriveTo{Exchange: "none"}})
			return err
		}), workqueue.ErrUnknownExchange)
	})
}
