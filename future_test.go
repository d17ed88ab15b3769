package pebblemq_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// asyncVerbs makes a call of each layer that does not wait for the disk.
func asyncVerbs(t *testing.T, db *pebblemq.DB) map[string]func(context.Context) (done <-chan struct{}, wait func(context.Context) error) {
	topic, err := log.OpenTopic(bg, db, "events", nil)
	require.NoError(t, err)
	broker, err := workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	_, err = broker.DeclareQueue(bg, "jobs", nil)
	require.NoError(t, err)
	mails, err := visibility.OpenQueue(bg, db, "mails", nil)
	require.NoError(t, err)
	body := []byte("m")
	return map[string]func(context.Context) (<-chan struct{}, func(context.Context) error){
		"log": func(ctx context.Context) (<-chan struct{}, func(context.Context) error) {
			return pending(topic.AppendAsync(ctx, log.Record{Value: body}))
		},
		"workqueue": func(ctx context.Context) (<-chan struct{}, func(context.Context) error) {
			return pending(broker.PublishAsync(ctx, "", "jobs", workqueue.Message{Body: body}))
		},
		"visibility": func(ctx context.Context) (<-chan struct{}, func(context.Context) error) {
			return pending(mails.SendAsync(ctx, visibility.Message{Body: body}))
		},
	}
}

func pending[T any](f *pebblemq.Future[T]) (done <-chan struct{}, wait func(context.Context) error) {
	return f.Done(), func(ctx context.Context) error {
		_, err := f.Wait(ctx)
		return err
	}
}

func isDone(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func TestAFutureIsSettledWhenTheChangeIsOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		fs := storetest.NewFS(vfs.NewCrashableMem())
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		verbs := asyncVerbs(t, db)
		fs.SetHook(gate.Hook)
		ended, end := context.WithCancel(bg)
		end()
		for name, verb := range verbs {
			gate.Shut()
			done, wait := verb(bg)
			if synctest.Wait(); isDone(done) {
				t.Errorf("%s: the disk was silent", name)
			}
			if err := wait(ended); err != context.Canceled {
				t.Errorf("%s: %v instead of the error of the context", name, err)
			}
			gate.Open()
			<-done
			require.NoError(t, wait(ended), "what is known is told in any case: %s", name)
			require.ErrorIs(t, wait(nil), pebblemq.ErrInvalid, name) //nolint:staticcheck // it is what is tested
		}
		require.NoError(t, db.Close())
	})
}

func TestAFutureOfARefusedCallHasItsError(t *testing.T) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	verbs := asyncVerbs(t, db)
	ended, end := context.WithCancel(bg)
	end()
	for name, verb := range verbs {
		done, wait := verb(ended)
		require.True(t, isDone(done), name)
		require.ErrorIs(t, wait(bg), context.Canceled, name)
		_, wait = verb(nil) //nolint:staticcheck // it is what is tested
		require.ErrorIs(t, wait(bg), pebblemq.ErrInvalid, name)
	}
	require.NoError(t, db.Close())
	for name, verb := range verbs {
		_, wait := verb(bg)
		require.ErrorIs(t, wait(bg), pebblemq.ErrClosed, name)
	}
}
