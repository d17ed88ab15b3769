package workqueue_test

import (
	"errors"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

// declareQueue declares a queue. A place for dead letters that it names is deleted again if it
// did not exist.
func declareQueue(t require.TestingT, b *workqueue.Broker, name string, c *workqueue.QueueConfig) *workqueue.Queue {
	q, err := b.DeclareQueue(bg, name, c)
	if errors.Is(err, pebblemq.ErrNotFound) {
		drop := makePlace(t, b, c.DeadLetter)
		defer drop()
		q, err = b.DeclareQueue(bg, name, c)
	}
	require.NoError(t, err)
	return q
}

// makePlace makes a place for dead letters, until drop is called.
func makePlace(t require.TestingT, b *workqueue.Broker, d *workqueue.DeadLetter) (drop func()) {
	if d.Exchange != "" {
		require.NoError(t, b.DeclareExchange(bg, d.Exchange, workqueue.Fanout, nil))
		return func() { require.NoError(t, b.DeleteExchange(bg, d.Exchange)) }
	}
	place, err := b.DeclareQueue(bg, d.Key, nil)
	require.NoError(t, err)
	return func() { require.NoError(t, place.Delete(bg)) }
}

func queueOf(t require.TestingT, b *workqueue.Broker, name string) *workqueue.Queue {
	q, err := b.Queue(bg, name)
	require.NoError(t, err)
	return q
}

func errOf[T any](_ T, err error) error { return err }

// published waits for what became of a message; nothing, if it was refused.
func published(f *pebblemq.Future[workqueue.Published]) workqueue.Published {
	is, _ := f.Wait(bg)
	return is
}

func unrouted(t require.TestingT, b *workqueue.Broker) uint64 {
	info, err := b.Info(bg)
	require.NoError(t, err)
	return info.Unrouted
}
