package workqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq/workqueue"
)

// Nobody asks for the next message: the dead letter is there all the same, and Ready does not count
// what nobody can get.
func TestTheLastDeliveryThatComesBackIsADeadLetterAtOnce(t *testing.T) {
	for name, giveBack := range map[string]func(*workqueue.Delivery) error{
		"nack":    func(d *workqueue.Delivery) error { return d.Nack(bg, true) },
		"to head": func(d *workqueue.Delivery) error { return d.Requeue(bg, workqueue.Requeue{Head: true}) },
		"to tail": func(d *workqueue.Delivery) error { return d.Requeue(bg, workqueue.Requeue{}) },
		"timeout": func(*workqueue.Delivery) error { time.Sleep(2 * time.Second); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				q := declareQueue(t, s.b, "q", &workqueue.QueueConfig{DeliveryLimit: 1, AckTimeout: time.Second})
				s.fill(3, nil)
				d, ok, err := q.Get(bg)
				require.NoError(t, err)
				require.True(t, ok)
				require.NoError(t, giveBack(d))
				synctest.Wait()
				require.EqualValues(t, 2, s.stats().Ready)
				require.Equal(t, 1, ready(t, s.b, "q.dead"))
			})
		})
	}
}

func TestTheLastDeliveryOfAConsumerThatIsClosedIsADeadLetterAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		q := declareQueue(t, s.b, "q", &workqueue.QueueConfig{DeliveryLimit: 1})
		s.fill(3, nil)
		c, err := q.Consume(bg, nil)
		require.NoError(t, err)
		_, err = c.Next(bg)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		synctest.Wait()
		require.EqualValues(t, 2, s.stats().Ready)
		require.Equal(t, 1, ready(t, s.b, "q.dead"))
	})
}
