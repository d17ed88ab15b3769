package workqueue_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The topology changes while messages are published: each message goes where the
// bindings led at one moment, and the confirms add up to what the queues hold.
func TestTheTopologyChangesUnderLoad(t *testing.T) {
	_, b := open(t)
	relaxed := pebblemq.WithDurability(bg, pebblemq.NoSync)
	queues := []string{"a", "b", "c", "d"}
	declare(t, b, queues...)
	exchange(t, b, workqueue.Topic, "x")
	exchange(t, b, workqueue.Hash, "shards")
	bind(t, b, workqueue.Binding{Exchange: "shards", Queue: "d", Key: "1"})

	var publishers, changers sync.WaitGroup
	var routed atomic.Int64
	stop := make(chan struct{})
	for p := range 4 {
		publishers.Go(func() {
			for i := 0; routed.Load() < 1000; i++ { // until enough have met a binding
				c := b.PublishAsync(relaxed, "x", fmt.Sprintf("%d.%d", p, i%3), workqueue.Message{CC: []string{"cc"}})
				if err := errOf(c.Wait(bg)); err != nil {
					assert.ErrorIs(t, err, workqueue.ErrUnknownExchange)
				}
				routed.Add(int64(published(c).Routed))
			}
		})
	}
	for n, queue := range queues {
		changers.Go(func() {
			to := workqueue.Binding{Exchange: "x", Queue: queue, Key: fmt.Sprintf("#.%d", n)}
			on := workqueue.Binding{Exchange: "x", ToExchange: "shards", Key: "cc"}
			for {
				err := errors.Join(b.Bind(relaxed, to), b.Bind(relaxed, on), b.Unbind(relaxed, to), b.Unbind(relaxed, on))
				if err != nil { // somebody else has deleted the exchange, with its bindings
					assert.ErrorIs(t, err, pebblemq.ErrNotFound)
				}
				if n == 0 {
					assert.NoError(t, errors.Join(b.DeleteExchange(relaxed, "x"), b.DeclareExchange(relaxed, "x", workqueue.Topic, nil)))
				}
				_, err = b.Export(relaxed)
				assert.NoError(t, err)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	publishers.Wait()
	close(stop)
	changers.Wait()
	held := 0
	for _, queue := range queues {
		held += ready(t, b, queue)
	}
	require.EqualValues(t, routed.Load(), held)
}
