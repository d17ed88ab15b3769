package workqueue_test

import (
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/workqueue"
)

func declareQueue(t require.TestingT, b *workqueue.Broker, name string, c *workqueue.QueueConfig) *workqueue.Queue {
	q, err := b.DeclareQueue(bg, name, c)
	require.NoError(t, err)
	return q
}

func queueOf(t require.TestingT, b *workqueue.Broker, name string) *workqueue.Queue {
	q, err := b.Queue(bg, name)
	require.NoError(t, err)
	return q
}

func errOf[T any](_ T, err error) error { return err }

func unrouted(t require.TestingT, b *workqueue.Broker) uint64 {
	info, err := b.Info(bg)
	require.NoError(t, err)
	return info.Unrouted
}
