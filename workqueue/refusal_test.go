package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func ownBroker(t *testing.T, queues ...string) (*pebblemq.DB, *workqueue.Broker) {
	db, err := pebblemq.OpenMemory(nil)
	require.NoError(t, err)
	b, err := workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	for _, q := range queues {
		declareQueue(t, b, q, nil)
	}
	return db, b
}

func publishAll(t *testing.T, b *workqueue.Broker, q string, bodies ...string) {
	for _, x := range bodies {
		require.NoError(t, b.Publish(bg, "", q, workqueue.Message{Body: []byte(x), Headers: map[string]string{"h": "v"}}))
	}
}

// A cancelled Run must not go on through the whole queue.
func TestRunStopsWhenItsContextEnds(t *testing.T) {
	db, b := ownBroker(t, "q")
	defer db.Close()
	for i := range 1000 {
		publishAll(t, b, "q", fmt.Sprint(i))
	}
	ctx, cancel := context.WithCancel(bg)
	handled := 0
	require.NoError(t, queueOf(t, b, "q").Run(ctx, func(context.Context, *workqueue.Delivery) error { handled++; cancel(); return nil }, nil))
	require.LessOrEqual(t, handled, 2, "handlers begun after the context ended")
}

func TestNextHonoursAnEndedContext(t *testing.T) {
	db, b := ownBroker(t, "q")
	defer db.Close()
	publishAll(t, b, "q", "m")
	c, err := queueOf(t, b, "q").Consume(bg, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err = c.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// Changes that a handler makes to its copy must not reach the dead letters.
func TestADeadLetterIsWhatWasPublished(t *testing.T) {
	db, b := ownBroker(t, "dead")
	defer db.Close()
	declareQueue(t, b, "q", &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "dead"}})
	publishAll(t, b, "q", "m")
	d, _, err := queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	d.Message = workqueue.Message{Body: []byte("other")}
	require.NoError(t, d.Reject(bg))
	dead, _, err := queueOf(t, b, "dead").Get(bg)
	require.NoError(t, err)
	require.Equal(t, "m", string(dead.Body))
}

func TestARedeliveryIsWhatWasPublished(t *testing.T) {
	db, b := ownBroker(t, "q")
	defer db.Close()
	publishAll(t, b, "q", "m")
	d, _, err := queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	d.Body[0] = 'X'
	require.NoError(t, d.Nack(bg, true))
	d, _, err = queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	require.Equal(t, "m", string(d.Body))
}

// The store must survive a nil or empty delivery.
func TestADeliveryThatNoQueueMadeIsRefused(t *testing.T) {
	for _, d := range []*workqueue.Delivery{nil, {}} {
		db, b := ownBroker(t, "q")
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("panic: %v", r)
				}
			}()
			require.ErrorIs(t, d.Ack(bg), pebblemq.ErrInvalid)
			require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Ack(d) }), pebblemq.ErrInvalid)
		}()
		alive := make(chan error, 1)
		go func() { alive <- b.Publish(bg, "", "q", workqueue.Message{}) }()
		select {
		case err := <-alive:
			require.NoError(t, err)
			require.NoError(t, db.Close())
		case <-time.After(time.Minute):
			t.Error("the store hangs: the baton was never let go")
		}
	}
}

// A delivery of another store must not delete this store's message.
func TestADeliveryOfAnotherStoreDeletesNothingHere(t *testing.T) {
	fs := vfs.NewMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	b, err := workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	declareQueue(t, b, "q", nil)
	other, ob := ownBroker(t, "q")
	defer other.Close()
	publishAll(t, b, "q", "ours")
	publishAll(t, ob, "q", "theirs")
	d, _, err := queueOf(t, ob, "q").Get(bg)
	require.NoError(t, err)
	err = db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Ack(d) })
	require.ErrorIs(t, err, pebblemq.ErrInvalid)
	require.NoError(t, db.Close())
	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	defer db.Close()
	b, err = workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	limited, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	_, ok, err := queueOf(t, b, "q").Get(limited)
	require.NoError(t, err)
	require.True(t, ok, "our message was deleted by the ack of theirs")
}

// Purging and deleting are how an operator makes room.
func TestAFullDiskCanBeEmptied(t *testing.T) {
	fs := storetest.NewFS(vfs.NewMem())
	var full bool
	fs.Usage = func() (vfs.DiskUsage, error) {
		u := vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 41}
		if full {
			u.AvailBytes = 20 << 20
		}
		return u, nil
	}
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	defer db.Close()
	b, err := workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	declareQueue(t, b, "q", nil)
	publishAll(t, b, "q", "a", "b")
	d, _, err := queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	full = true
	for range 200 {
		if err = b.Publish(bg, "", "q", workqueue.Message{Body: make([]byte, 100<<10)}); errors.Is(err, pebblemq.ErrDiskFull) {
			break
		}
	}
	require.ErrorIs(t, err, pebblemq.ErrDiskFull)
	check := func(what string, err error) {
		if errors.Is(err, pebblemq.ErrDiskFull) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, _, err = queueOf(t, b, "q").Get(bg)
	check("get", err)
	check("reject", d.Reject(bg))
	_, err = queueOf(t, b, "q").Purge(bg)
	check("purge", err)
	check("delete", queueOf(t, b, "q").Delete(bg))
}

func TestOpenOnAClosedStore(t *testing.T) {
	db, _ := ownBroker(t)
	require.NoError(t, db.Close())
	_, err := workqueue.OpenBroker(bg, db, "main")
	require.ErrorIs(t, err, pebblemq.ErrClosed)
}

// A batch far beyond MaxTx is accepted; a larger one would meet the engine's
// limit of 4 GiB, which is a panic.
func TestAFanOutIsBounded(t *testing.T) {
	db, b := ownBroker(t)
	defer db.Close()
	fanOut(t, b, 80)
	headers := map[string]string{"h": strings.Repeat("v", workqueue.MaxHeaderBytes-1)} // each queue has its own
	batch := make([]workqueue.Publishing, 30)
	for i := range batch {
		batch[i].Message.Headers = headers
	}
	require.ErrorIs(t, b.PublishBatch(bg, "all", batch), pebblemq.ErrTooLarge, "75 MiB in one batch")
	require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: make([]byte, 1<<20)}), "80 MiB, but for the sharing")
}

// A transaction that is carried out again, because its first outcome was not known, must not
// have its effects twice.
func TestInATransactionASettledDeliveryIsRefusedHoweverItIsSettled(t *testing.T) {
	db, b := ownBroker(t, "from", "to")
	defer db.Close()
	for name, settle := range map[string]func(workqueue.BrokerTx, *workqueue.Delivery) error{
		"ack":     workqueue.BrokerTx.Ack,
		"nack":    func(x workqueue.BrokerTx, d *workqueue.Delivery) error { return x.Nack(d, true) },
		"reject":  func(x workqueue.BrokerTx, d *workqueue.Delivery) error { return x.Nack(d, false) },
		"release": func(x workqueue.BrokerTx, d *workqueue.Delivery) error { return x.Release(d, 0) },
		"requeue": func(x workqueue.BrokerTx, d *workqueue.Delivery) error { return x.Requeue(d, workqueue.Requeue{}) },
		"up to":   workqueue.BrokerTx.AckUpTo,
	} {
		_, err := queueOf(t, b, "from").Purge(bg)
		require.NoError(t, err)
		publishAll(t, b, "from", name)
		d, ok, err := queueOf(t, b, "from").Get(bg)
		require.NoError(t, err, name)
		require.True(t, ok)
		forward := func(times int) error {
			return db.Update(bg, func(tx *pebblemq.Tx) error {
				if err := b.In(tx).Publish("", "to", workqueue.Message{}); err != nil {
					return err
				}
				for range times {
					_ = settle(b.In(tx), d)
				}
				return nil
			})
		}
		require.ErrorIs(t, forward(2), workqueue.ErrSettled, "%s, twice in the transaction", name)
		require.NoError(t, forward(1), name)
		require.ErrorIs(t, forward(1), workqueue.ErrSettled, name)
		n, err := queueOf(t, b, "to").Purge(bg)
		require.NoError(t, err)
		require.Equal(t, 1, n, name)
	}
}
