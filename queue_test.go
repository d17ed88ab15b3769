package pebblemq_test

import (
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/workqueue"
)

func declareQueue(t require.TestingT, b *workqueue.Broker, name string, c *workqueue.QueueConfig) {
	_, err := b.DeclareQueue(bg, name, c)
	require.NoError(t, err)
}

func queueOf(t require.TestingT, b *workqueue.Broker, name string) *workqueue.Queue {
	q, err := b.Queue(bg, name)
	require.NoError(t, err)
	return q
}
