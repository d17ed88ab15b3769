package pebblemq_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// hangARead begins an operation that reads a table, and holds the reads up until answer is
// called.
func hangARead(db *pebblemq.DB, fs *storetest.FS) (answer func()) {
	hung, answered := make(chan struct{}), make(chan struct{})
	var once, last sync.Once
	fs.SetReadHook(func(storetest.Call) error {
		once.Do(func() { close(hung) })
		<-answered
		return nil
	})
	go func() {
		_ = bridge.Store(db).Do(bg, store.QuietFunc(func(turn *store.Turn) error {
			_, err := turn.Get([]byte{byte(store.KindApp), 'a'})
			return err
		}), store.NoSync)
	}()
	<-hung
	return func() { last.Do(func() { close(answered) }) }
}

// Calls that wait for a message end with their context also beside an operation whose read the
// disk does not answer.
func TestWaitsForMessagesEndWithTheirContextBesideAReadThatHangs(t *testing.T) {
	for name, wait := range map[string]func(t *testing.T, db *pebblemq.DB) func(context.Context) error{
		"Receive": func(t *testing.T, db *pebblemq.DB) func(context.Context) error {
			q, err := visibility.OpenQueue(bg, db, "q", nil)
			require.NoError(t, err)
			return func(ctx context.Context) error {
				_, err := q.Receive(ctx, &visibility.ReceiveOptions{Wait: 24 * time.Hour})
				return err
			}
		},
		"visibility.Run": func(t *testing.T, db *pebblemq.DB) func(context.Context) error {
			q, err := visibility.OpenQueue(bg, db, "q", nil)
			require.NoError(t, err)
			return func(ctx context.Context) error {
				return q.Run(ctx, func(context.Context, *visibility.Received) error { return nil }, nil)
			}
		},
		"Poll": func(t *testing.T, db *pebblemq.DB) func(context.Context) error {
			topic, err := log.OpenTopic(bg, db, "t", nil)
			require.NoError(t, err)
			g, err := topic.OpenGroup(bg, "g", nil)
			require.NoError(t, err)
			m, err := g.Join(bg, nil)
			require.NoError(t, err)
			return func(ctx context.Context) error {
				_, err := m.Poll(ctx, 1)
				return err
			}
		},
		"log.Run": func(t *testing.T, db *pebblemq.DB) func(context.Context) error {
			topic, err := log.OpenTopic(bg, db, "t", nil)
			require.NoError(t, err)
			g, err := topic.OpenGroup(bg, "g", nil)
			require.NoError(t, err)
			return func(ctx context.Context) error {
				return g.Run(ctx, func(context.Context, log.Record) error { return nil }, nil)
			}
		},
		"workqueue.Run": func(t *testing.T, db *pebblemq.DB) func(context.Context) error {
			b, err := workqueue.OpenBroker(bg, db, "b")
			require.NoError(t, err)
			q, err := b.DeclareQueue(bg, "q", nil)
			require.NoError(t, err)
			return func(ctx context.Context) error {
				return q.Run(ctx, func(context.Context, *workqueue.Delivery) error { return nil }, nil)
			}
		},
		"workqueue.Run, between two attempts": func(t *testing.T, db *pebblemq.DB) func(context.Context) error {
			b, err := workqueue.OpenBroker(bg, db, "b")
			require.NoError(t, err)
			q, err := b.DeclareQueue(bg, "q", nil)
			require.NoError(t, err)
			require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Body: []byte("x")}))
			return func(ctx context.Context) error {
				return q.Run(ctx, func(context.Context, *workqueue.Delivery) error { return errors.New("no") }, &workqueue.RunOptions{
					Key: func(*workqueue.Delivery) string { return "k" }, MaxAttempts: pebblemq.Unlimited,
				})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testWaitBesideAReadThatHangs(t, wait) })
		})
	}
}

func testWaitBesideAReadThatHangs(t *testing.T, wait func(*testing.T, *pebblemq.DB) func(context.Context) error) {
	fs := storetest.NewFS(vfs.NewMem())
	db, err := storetest.OpenFS(fs, store.Options{Dir: "db"})
	require.NoError(t, err)
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return tx.Set([]byte("a"), []byte("1")) }))
	for range 2 { // the first Open flushes the WAL
		require.NoError(t, db.Close())
		db, err = storetest.OpenFS(fs, store.Options{Dir: "db"})
		require.NoError(t, err)
	}
	call := wait(t, db)
	ctx, cancel := context.WithCancel(bg)
	ended := make(chan error, 1)
	go func() { ended <- call(ctx) }()
	synctest.Wait()
	answer := hangARead(db, fs)
	defer func() {
		answer()
		require.NoError(t, db.Close())
	}()
	<-time.After(10 * time.Minute)
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	case <-time.After(5 * time.Second):
		answer()
		<-ended
		t.Error("the call has outlived its context")
	}
}
