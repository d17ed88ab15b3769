package log_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
)

// forgetfulDisk is a disk whose store has a topic with an OffsetRetention of a minute.
type forgetfulDisk struct {
	*storetest.FS
	quota *storetest.Quota
}

func newForgetfulDisk() forgetfulDisk {
	d := forgetfulDisk{storetest.NewFS(vfs.NewCrashableMem()), storetest.NewQuota(1<<30, false)}
	d.SetHook(d.quota.Hook)
	d.Usage = d.quota.Usage
	return d
}

func (d forgetfulDisk) open(t *testing.T) (*pebblemq.DB, *log.Topic) {
	db, err := storetest.OpenFS(d, store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(t, err)
	topic, err := log.OpenTopic(ctx, db, "orders", forgetful)
	require.NoError(t, err)
	return db, topic
}

// openFull opens the store while its disk is nearly full.
func (d forgetfulDisk) openFull(t *testing.T) (*pebblemq.DB, *log.Topic) {
	d.quota.Resize(d.quota.Used() + 1<<20)
	db, topic := d.open(t)
	require.True(t, db.Stats().DiskFull)
	return db, topic
}

func (d forgetfulDisk) makeRoom(t *testing.T, db *pebblemq.DB) {
	d.quota.Resize(1 << 30)
	<-time.After(time.Second)
	require.False(t, db.Stats().DiskFull)
}

func TestAGroupThatAFullDiskRefusesToBeginAnewHasNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newForgetfulDisk()
		db, topic := disk.open(t)
		appendAll(t, topic, numbered(10)...)
		c := &log.GroupConfig{From: log.End().Or(log.Latest)}
		_, err := topic.OpenGroup(ctx, "g", c)
		require.NoError(t, err)
		<-time.After(2 * time.Minute)
		require.NoError(t, db.Close())

		db, topic = disk.openFull(t)
		_, err = topic.OpenGroup(ctx, "g", c)
		require.ErrorIs(t, err, pebblemq.ErrDiskFull)
		disk.makeRoom(t, db)
		_, err = topic.LookupGroup(ctx, "g")
		require.ErrorIs(t, err, log.ErrOffsetsExpired)
		g, err := topic.OpenGroup(ctx, "g", c)
		require.NoError(t, err)
		require.Equal(t, []int64{10}, committed(t, g))
		require.NoError(t, db.Close())
	})
}

func TestAJoinThatAFullDiskRefusesForgetsNoOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newForgetfulDisk()
		db, topic := disk.open(t)
		appendAll(t, topic, numbered(10)...)
		committedBy(t, topic, "g", 4, log.Start())
		<-time.After(time.Second)
		require.NoError(t, db.Close())

		db, topic = disk.openFull(t)
		g := openGroup(t, topic, "g")
		_, err := g.Join(ctx, nil)
		require.ErrorIs(t, err, pebblemq.ErrDiskFull)
		disk.makeRoom(t, db)
		m := join(t, g)
		<-time.After(5 * time.Minute) // at work for longer than the retention
		require.NoError(t, m.Commit(ctx, poll(t, m, 1)...))
		require.NoError(t, db.Close())

		db, topic = disk.open(t)
		synctest.Wait()
		require.Equal(t, []int64{5}, committed(t, openGroup(t, topic, "g")))
		require.NoError(t, db.Close())
	})
}

func TestAGroupThatIsOpenedUnderAnotherConfigDoesNotBeginAnewByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, topic := retained(t, forgetful)
		appendAll(t, topic, numbered(10)...)
		right := &log.GroupConfig{From: log.Start().Or(log.Earliest)}
		_, err := topic.OpenGroup(ctx, "g", right)
		require.NoError(t, err)
		<-time.After(2 * time.Minute)
		_, err = topic.OpenGroup(ctx, "g", &log.GroupConfig{From: log.End().Or(log.Latest)})
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		g, err := topic.OpenGroup(ctx, "g", right)
		require.NoError(t, err)
		require.Equal(t, []int64{0}, committed(t, g))
	})
}

func TestAGroupThatAFullDiskRefusesToAlterIsNotAltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newForgetfulDisk()
		var full atomic.Bool
		disk.Usage = func() (vfs.DiskUsage, error) {
			if full.Load() {
				return vfs.DiskUsage{AvailBytes: 2 << 20, TotalBytes: 1 << 40}, nil
			}
			return vfs.DiskUsage{AvailBytes: 1 << 39, TotalBytes: 1 << 40}, nil
		}
		db, topic := disk.open(t)
		appendAll(t, topic, numbered(10)...)
		g := openGroup(t, topic, "g")
		m := join(t, g)
		require.NoError(t, topic.TrimTo(ctx, 0, log.End()))
		full.Store(true)
		for range 200 { // the store looks now and then
			_, _ = topic.Append(ctx, log.Record{Value: make([]byte, 100<<10)})
		}
		require.True(t, db.Stats().DiskFull)
		require.ErrorIs(t, g.Alter(ctx, &log.GroupConfig{From: log.Start().Or(log.Latest)}), pebblemq.ErrDiskFull)
		soon, stop := context.WithTimeout(ctx, time.Millisecond)
		defer stop()
		_, err := m.Poll(soon, 1)
		require.ErrorIs(t, err, log.ErrOffsetOutOfRange)
		require.NoError(t, m.Leave(ctx))
		full.Store(false)
		require.NoError(t, db.Close())
	})
}

// A pass for tombstones that a full disk refuses is tried again after a pause, and not forgotten.
func TestAFullDiskLetsTombstonesWait(t *testing.T) {
	spins := time.AfterFunc(20*time.Second, func() { panic("the passes leave no time for anything else") }) // of real time
	defer spins.Stop()
	for _, noticed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := newForgetfulDisk()
			db, orders := disk.open(t)
			topic, err := log.OpenTopic(ctx, db, "state", &log.TopicConfig{Compact: true, TombstoneRetention: time.Second})
			require.NoError(t, err)
			for _, k := range []string{"a", "b", "a"} {
				_, err := topic.Append(ctx, kv(k, 1), kv(k, nil))
				require.NoError(t, err)
			}
			disk.quota.Fill()
			if noticed {
				_, err = orders.Append(ctx, numbered(1)...)
				require.ErrorIs(t, err, pebblemq.ErrDiskFull)
			}
			<-time.After(time.Minute)
			disk.makeRoom(t, db)
			<-time.After(10 * time.Second)
			synctest.Wait()
			require.Zero(t, tombstones(t, topic))
			require.NoError(t, db.Close())
		})
	}
}

// While an append waits for the disk, a pass does not come to the batch before it. What is due
// there stays due.
func TestATombstoneThatAPassDoesNotReachStaysDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewCrashableMem())
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		topic, err := log.OpenTopic(ctx, db, "state", &log.TopicConfig{Compact: true, TombstoneRetention: 10 * time.Second})
		require.NoError(t, err)
		_, err = topic.Append(ctx, kv("k", nil))
		require.NoError(t, err)
		<-time.After(5 * time.Second) // it is known when it may go
		gate := new(storetest.Gate)
		fs.SetHook(gate.Hook)
		gate.Shut()
		topic.AppendAsync(ctx, kv("other", 1))
		<-time.After(30 * time.Second)
		gate.Open()
		<-time.After(10 * time.Second)
		synctest.Wait()
		require.Zero(t, tombstones(t, topic))
		require.NoError(t, db.Close())
	})
}
