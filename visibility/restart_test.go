package visibility_test

import (
	"fmt"
	"math/rand/v2"
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

// disk is a store that can be closed or crash, and be opened again.
type disk struct {
	t  tester
	fs *storetest.FS
	db *pebblemq.DB
}

// tester is what testing.TB and rapid.T have in common.
type tester interface {
	require.TestingT
	Helper()
	Cleanup(func())
}

func newDisk(t tester) *disk {
	d := &disk{t: t, fs: storetest.NewFS(vfs.NewCrashableMem())}
	d.open()
	t.Cleanup(func() { require.NoError(t, d.db.Close()) })
	return d
}

func (d *disk) open() {
	d.t.Helper()
	var err error
	d.db, err = storetest.OpenFS(d.fs, store.Options{MemoryBytes: store.MinMemoryBytes})
	require.NoError(d.t, err)
}

func (d *disk) reopen() {
	d.t.Helper()
	require.NoError(d.t, d.db.Close())
	d.open()
}

// crash goes on with what a loss of power would leave: of what was not synced,
// each piece with the given probability in percent.
func (d *disk) crash(percent int) {
	d.t.Helper()
	clone := d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, uint64(percent)))})
	require.NoError(d.t, d.db.Close())
	d.fs = storetest.NewFS(clone)
	d.open()
}

func (d *disk) queue(name string, c *visibility.QueueConfig) *visibility.Queue {
	d.t.Helper()
	q, err := visibility.OpenQueue(ctx, d.db, name, c)
	require.NoError(d.t, err)
	return q
}

func TestEverythingSurvivesARestart(t *testing.T) {
	for _, end := range []string{"close", "crash"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDisk(t)
				q := d.queue("q", nil)
				send(t, q, "deleted", "held", "extended", "released", "waits")
				_, err := q.Send(ctx, visibility.Message{Body: []byte("delayed"), Delay: time.Hour})
				require.NoError(t, err)
				got := receive(t, q, 4)
				first := got[1].FirstReceivedAt
				require.NoError(t, q.Delete(ctx, got[0].Receipt))
				require.NoError(t, q.ChangeVisibility(ctx, got[2].Receipt, 10*time.Minute))
				require.NoError(t, q.ChangeVisibility(ctx, got[3].Receipt, 0))
				before := stats(t, q)
				if end == "close" {
					d.reopen()
				} else {
					<-time.After(time.Second) // the sync interval
					synctest.Wait()
					d.crash(0)
				}
				q = d.queue("q", nil)
				if end == "crash" {
					before.OldestAge += time.Second
				}
				require.Equal(t, before, stats(t, q))
				rest := receive(t, q, 10)
				require.Equal(t, []string{"released", "waits"}, bodies(rest))
				require.Equal(t, 2, rest[0].ReceiveCount)
				require.ErrorIs(t, q.Delete(ctx, got[3].Receipt), visibility.ErrStaleReceipt)
				require.NoError(t, q.Delete(ctx, rest[0].Receipt))
				require.NoError(t, q.Delete(ctx, rest[1].Receipt))
				require.NoError(t, q.Delete(ctx, got[0].Receipt), "deleted long ago")
				require.NoError(t, q.ChangeVisibility(ctx, got[1].Receipt, time.Minute), "old receipts are good")
				<-time.After(time.Minute)
				synctest.Wait()
				again := one(t, q)
				require.Equal(t, "held", string(again.Body))
				require.Equal(t, 2, again.ReceiveCount)
				require.True(t, first.Equal(again.FirstReceivedAt))
				require.NoError(t, q.Delete(ctx, again.Receipt))
				<-time.After(10 * time.Minute)
				synctest.Wait()
				require.NoError(t, q.Delete(ctx, got[2].Receipt), "not received again")
				counts(t, q, 0, 0, 1)
				<-time.After(time.Hour)
				synctest.Wait()
				require.Equal(t, "delayed", string(one(t, q).Body))
			})
		})
	}
}

func TestReleaseOnOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		q := d.queue("q", nil)
		send(t, q, "a", "b", "c")
		old := receive(t, q, 2)
		d.reopen()
		q = d.queue("q", &visibility.QueueConfig{ReleaseOnOpen: true})
		counts(t, q, 3, 0, 0)
		got := receive(t, q, 1)
		require.Equal(t, []string{"a"}, bodies(got))
		require.Equal(t, 2, got[0].ReceiveCount)
		require.ErrorIs(t, q.Delete(ctx, old[0].Receipt), visibility.ErrStaleReceipt)
		require.NoError(t, q.Delete(ctx, old[1].Receipt), "nobody has received it since")
		require.Equal(t, []string{"c"}, bodies(receive(t, q, 10)))
	})
}

func TestOldReceiptsWorkBeyondTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		q := d.queue("q", nil)
		const n = 6000
		batch := make([]visibility.Message, n)
		for i := range batch {
			batch[i].Body = fmt.Append(nil, i)
		}
		_, err := q.SendBatch(ctx, batch, nil)
		require.NoError(t, err)
		var held []*visibility.Received
		for len(held) < n {
			got := receive(t, q, 1000)
			require.NotEmpty(t, got)
			held = append(held, got...)
		}
		d.reopen()
		q = d.queue("q", nil)
		counts(t, q, 0, n, 0)
		require.NoError(t, q.Delete(ctx, held[5000].Receipt))
		require.NoError(t, q.ChangeVisibility(ctx, held[5001].Receipt, time.Hour))
		require.NoError(t, q.ChangeVisibility(ctx, held[5002].Receipt, 0))
		got := receive(t, q, 10)
		require.Equal(t, []string{"5002"}, bodies(got))
		require.NoError(t, q.Delete(ctx, got[0].Receipt))
		counts(t, q, 0, n-2, 0)
		<-time.After(30 * time.Second)
		synctest.Wait()
		for i := 0; i < n; {
			got := receive(t, q, 1000)
			require.NotEmpty(t, got, "after %d", i)
			for _, m := range got {
				if i == 5000 {
					i += 3
				}
				require.Equal(t, fmt.Sprint(i), string(m.Body))
				i++
				require.NoError(t, q.Delete(ctx, m.Receipt))
			}
		}
		counts(t, q, 0, 1, 0)
	})
}

// TestReceiptOfALostMessage has a message lost along with its receive, and its
// place taken by another one.
func TestReceiptOfALostMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		q := d.queue("q", nil)
		send(t, q, "kept")
		_, err := q.Send(pebblemq.WithDurability(ctx, pebblemq.NoSync), visibility.Message{Body: []byte("lost")})
		require.NoError(t, err)
		old := receive(t, q, 2)
		require.Len(t, old, 2)
		d.crash(0)
		q = d.queue("q", nil)
		counts(t, q, 1, 0, 0)
		<-time.After(time.Millisecond)
		send(t, q, "other")
		require.NoError(t, q.Delete(ctx, old[1].Receipt), "it is gone")
		counts(t, q, 2, 0, 0)
		require.NoError(t, q.Delete(ctx, old[0].Receipt), "the receipt is ahead of the count that is on disk")
		require.Equal(t, []string{"other"}, bodies(receive(t, q, 10)))
	})
}

func TestSameCountAfterACrashIsAnotherReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		q := d.queue("q", nil)
		send(t, q, "x")
		old := one(t, q)
		d.crash(0)
		q = d.queue("q", nil)
		<-time.After(time.Millisecond)
		again := one(t, q)
		require.Equal(t, old.ReceiveCount, again.ReceiveCount, "the mark was lost")
		require.ErrorIs(t, q.Delete(ctx, old.Receipt), visibility.ErrStaleReceipt)
		require.NoError(t, q.Delete(ctx, again.Receipt))
	})
}

func TestDeadLetterMoveSurvivesACrashAsAWhole(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		synctest.Test(t, func(t *testing.T) {
			d := newDisk(t)
			open := func() (q, dead *visibility.Queue) {
				dead = d.queue("dead", nil)
				return d.queue("q", &visibility.QueueConfig{DeadLetterQueue: "dead", MaxReceives: 1, ReleaseOnOpen: true}), dead
			}
			q, _ := open()
			const n = 50
			for i := range n {
				send(t, q, fmt.Sprint(i))
			}
			require.Len(t, receive(t, q, n), n)
			<-time.After(30 * time.Second)
			receive(t, q, 1)
			d.crash(percent)
			q, dead := open()
			a, b := stats(t, q), stats(t, dead)
			require.EqualValues(t, n, a.Visible+b.Visible)
			none(t, q)
			counts(t, dead, n, 0, 0)
		})
	}
}

// TestAReceiveThatTheStoreTurnsAwayTakesNothing closes the store while a message is on its way to
// the disk and a receive waits for it.
func TestAReceiveThatTheStoreTurnsAwayTakesNothing(t *testing.T) {
	for name, o := range map[string]visibility.ReceiveOptions{"no wait": {}, "wait": {Wait: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cold := storetest.OpenCold(t, storetest.ClassWAL)
				q, err := visibility.OpenQueue(ctx, cold.DB, "mail", nil)
				require.NoError(t, err)
				cold.Freeze()
				sent := q.SendAsync(ctx, visibility.Message{Body: []byte("a")})
				synctest.Wait()
				var received []*visibility.Received
				var refused error
				done := make(chan struct{})
				go func() {
					defer close(done)
					received, refused = q.Receive(ctx, &o)
				}()
				synctest.Wait()
				closed := make(chan error, 1)
				go func() { closed <- cold.DB.Close() }()
				synctest.Wait()
				cold.Thaw()
				require.NoError(t, <-closed)
				<-done
				_, err = sent.Wait(ctx)
				require.NoError(t, err)
				cold.Reopen(t)
				q, err = visibility.LookupQueue(ctx, cold.DB, "mail")
				require.NoError(t, err)
				s, err := q.Stats(ctx)
				require.NoError(t, err)
				if refused != nil {
					require.ErrorIs(t, refused, pebblemq.ErrClosed)
				}
				require.EqualValues(t, len(received), s.InFlight, "the receive returned %v", refused)
				require.NoError(t, cold.DB.Close())
			})
		})
	}
}
