package visibility_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/visibility"
)

// A receive that waited is as durable as one that did not.
func TestAReceiveThatWaitedIsDurableIfAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		c := &visibility.QueueConfig{VisibilityTimeout: time.Hour}
		q := d.queue("q", c)
		got := make(chan []*visibility.Received, 1)
		go func() {
			r, _ := q.Receive(pebblemq.WithDurability(ctx, pebblemq.Sync), &visibility.ReceiveOptions{Wait: time.Hour})
			got <- r
		}()
		synctest.Wait()
		send(t, q, "a")
		require.Len(t, <-got, 1)
		d.crash(0)
		counts(t, d.queue("q", c), 0, 1, 0)
	})
}
