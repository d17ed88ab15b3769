package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// life is a process with a queue, from which a test goes on to the next one.
type life struct {
	t  *testing.T
	fs *vfs.MemFS
	db *pebblemq.DB
	q  *workqueue.Queue
}

func begin(t *testing.T, fs *vfs.MemFS, limit int, messages int) *life {
	t.Helper()
	l := &life{t: t, fs: fs}
	var err error
	l.db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	b := openBroker(t, l.db)
	l.q, err = b.DeclareQueue(bg, "q", &workqueue.QueueConfig{DeliveryLimit: limit})
	require.NoError(t, err)
	for i := range messages {
		require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{MessageID: fmt.Sprint(i)}))
	}
	return l
}

// prefetch returns a consumer with all messages in its inbox.
func (l *life) prefetch() *workqueue.Consumer {
	l.t.Helper()
	c, err := l.q.Consume(bg, &workqueue.ConsumeOptions{Prefetch: 100})
	require.NoError(l.t, err)
	synctest.Wait()
	return c
}

// sync returns when all that was done before is on disk.
func (l *life) sync() {
	l.t.Helper()
	require.NoError(l.t, l.db.Update(bg, func(tx *pebblemq.Tx) error { return tx.Set([]byte("k"), nil) }))
}

// died returns the disk as a crash of the process leaves it.
func (l *life) died() *vfs.MemFS {
	l.t.Helper()
	l.sync()
	fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
	storetest.Close(l.t, l.db)
	return fs
}

func (l *life) closed() *vfs.MemFS {
	l.t.Helper()
	storetest.Close(l.t, l.db)
	return l.fs
}

// counts gets n messages and returns how often each was delivered.
func (l *life) counts(n int) map[string]int {
	l.t.Helper()
	counts := make(map[string]int)
	for range n {
		d, ok, err := l.q.Get(bg)
		require.NoError(l.t, err)
		require.True(l.t, ok)
		counts[d.MessageID] = d.DeliveryCount
		require.NoError(l.t, d.Ack(bg))
	}
	return counts
}

func TestWhatNobodyHasSeenIsNotCounted(t *testing.T) {
	ends := map[string]func(*life) *vfs.MemFS{"the store is closed": (*life).closed, "the process dies": (*life).died}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := vfs.NewCrashableMem()
				for lives := range 4 {
					l := begin(t, fs, 2, max(0, 5-5*lives))
					l.prefetch()
					fs = end(l)
				}
				l := begin(t, fs, 2, 0)
				for range 5 {
					d, ok, err := l.q.Get(bg)
					require.NoError(t, err)
					require.True(t, ok)
					require.Equal(t, 1, d.DeliveryCount, "message %s", d.MessageID)
				}
				l.closed()
			})
		})
	}
}

func TestWhatNextHasReturnedIsCounted(t *testing.T) {
	ends := map[string]func(*life) *vfs.MemFS{"the store is closed": (*life).closed, "the process dies": (*life).died}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := vfs.NewCrashableMem()
				for lives := range 3 {
					l := begin(t, fs, 10, max(0, 3-3*lives))
					d, err := l.prefetch().Next(bg)
					require.NoError(t, err)
					require.Equal(t, "0", d.MessageID)
					require.Equal(t, lives+1, d.DeliveryCount)
					fs = end(l)
				}
				l := begin(t, fs, 10, 0)
				require.Equal(t, map[string]int{"0": 4, "1": 1, "2": 1}, l.counts(3))
				l.closed()
			})
		})
	}
}

// In the life before, an fsync came after the delivery; this one dies before there is any.
func TestASuspectIsCountedBeforeNextReturnsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, vfs.NewCrashableMem(), 10, 3)
		fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
		l.closed()
		for lives := range 3 {
			l = begin(t, fs, 10, 0)
			d, err := l.prefetch().Next(bg)
			require.NoError(t, err)
			require.Equal(t, "0", d.MessageID)
			require.Equal(t, lives+1, d.DeliveryCount)
			require.True(t, d.Redelivered)
			fs = l.fs.CrashClone(vfs.CrashCloneCfg{})
			l.closed()
		}
	})
}

func TestFetchReturnsASuspectAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, vfs.NewCrashableMem(), 10, 3)
		fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
		l.closed()
		l = begin(t, fs, 10, 0)
		c := l.prefetch()
		for i := range 3 {
			list, err := c.Fetch(bg, 10)
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.Equal(t, fmt.Sprint(i), list[0].MessageID)
		}
		l.closed()
	})
}

func TestNextGivesASuspectBackIfTheDiskDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, vfs.NewCrashableMem(), 10, 1)
		mem := l.fs.CrashClone(vfs.CrashCloneCfg{})
		l.closed()
		fs, gate := storetest.NewFS(mem), &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		c, err := queueOf(t, openBroker(t, db), "q").Consume(bg, nil)
		require.NoError(t, err)
		synctest.Wait()
		fs.SetHook(gate.Hook)
		gate.Shut()
		ctx, stop := context.WithTimeout(bg, time.Second)
		defer stop()
		_, err = c.Next(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		gate.Open()
		d, err := c.Next(bg)
		require.NoError(t, err)
		require.Equal(t, 1, d.DeliveryCount)
		storetest.Close(t, db)
	})
}

// A handler of Run that has not been called has seen nothing, even if Run holds the message.
func TestWhatWaitsForItsHandlerIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, vfs.NewCrashableMem(), 10, 4)
		hold := make(chan struct{})
		go func() {
			_ = l.q.Run(bg, func(context.Context, *workqueue.Delivery) error {
				<-hold
				return nil
			}, &workqueue.RunOptions{Concurrency: 1, Key: func(*workqueue.Delivery) string { return "" }})
		}()
		synctest.Wait()
		l.sync()
		fs := l.fs.CrashClone(vfs.CrashCloneCfg{})
		close(hold)
		l.closed()
		l = begin(t, fs, 10, 0)
		require.Equal(t, map[string]int{"0": 2, "1": 1, "2": 1, "3": 1}, l.counts(4))
		l.closed()
	})
}

// The mark of a suspect gets to the disk while the store is being closed: either the handler is
// called, or it does not count.
func TestASuspectIsCountedIfItsHandlerIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := leftOut(t, "suspect")
		fs, gate := storetest.NewFS(mem), &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		q := queueOf(t, openBroker(t, db), "q")
		fs.SetHook(gate.Hook)
		gate.Shut()
		calls := 0
		ran := make(chan error)
		go func() {
			ran <- q.Run(bg, func(context.Context, *workqueue.Delivery) error {
				calls++
				return errors.New("fails")
			}, nil)
		}()
		synctest.Wait() // the mark waits for the disk
		closed := make(chan error)
		go func() { closed <- db.Close() }()
		synctest.Wait()
		gate.Open()
		require.NoError(t, <-closed)
		require.Error(t, <-ran)
		db, err = storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		d := get(t, openBroker(t, db), "q", "")
		require.Equal(t, calls+1, d.DeliveryCount)
		storetest.Close(t, db)
	})
}

func TestNextDoesNotReturnASuspectThatWentBackMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, vfs.NewCrashableMem(), 10, 1)
		mem := l.fs.CrashClone(vfs.CrashCloneCfg{})
		l.closed()
		fs, gate := storetest.NewFS(mem), &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		b := openBroker(t, db)
		_, _, err = b.EnsureQueue(bg, "q", &workqueue.QueueConfig{DeliveryLimit: 10, AckTimeout: time.Second})
		require.NoError(t, err)
		c, err := queueOf(t, b, "q").Consume(bg, nil)
		require.NoError(t, err)
		synctest.Wait()
		fs.SetHook(gate.Hook)
		gate.Shut()
		got := make(chan *workqueue.Delivery)
		go func() {
			d, err := c.Next(bg)
			require.NoError(t, err)
			got <- d
		}()
		time.Sleep(2500 * time.Millisecond) // its AckTimeout is over
		gate.Open()
		d := <-got
		require.Equal(t, 1, d.DeliveryCount)
		require.NoError(t, d.Ack(bg))
		storetest.Close(t, db)
	})
}
