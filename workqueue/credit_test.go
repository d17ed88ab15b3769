package workqueue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// A NoSync ack returns at once, and so must the credit that it gives, whatever
// the disk is doing for somebody else.
func TestCreditDoesNotWaitForTheDisk(t *testing.T) {
	for what, settle := range map[string]func(*workqueue.Delivery) error{
		"ack":    func(d *workqueue.Delivery) error { return d.Ack(bg) },
		"reject": func(d *workqueue.Delivery) error { return d.Reject(bg) },
	} {
		t.Run(what, func(t *testing.T) {
			fs := storetest.NewFS(vfs.NewMem())
			gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
			db, err := storetest.OpenFS(fs, store.Options{})
			require.NoError(t, err)
			defer storetest.Close(t, db)
			b := openBroker(t, db)
			declare(t, b, "q", "other")
			publish(t, b, "q", "1", "2")
			c, err := queueOf(t, b, "q").Consume(bg, &workqueue.ConsumeOptions{Prefetch: 1})
			require.NoError(t, err)
			d, err := c.Next(bg)
			require.NoError(t, err)
			fs.SetHook(gate.Hook)
			gate.Shut()
			defer gate.Open()
			confirm := b.PublishAsync(bg, "", "other", workqueue.Message{})
			require.NoError(t, settle(d))
			d, err = c.Next(bg)
			require.NoError(t, err)
			require.Equal(t, "2", string(d.Body))
			select {
			case <-confirm.Done():
				t.Error("the disk was not silent")
			default:
			}
		})
	}
}

// A refused transaction takes the credit back, and the queue goes on.
func TestARefusedSettlementGivesNoCredit(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	publish(t, b, "q", "1", "2")
	c, err := queueOf(t, b, "q").Consume(bg, &workqueue.ConsumeOptions{Prefetch: 1})
	require.NoError(t, err)
	d, err := c.Next(bg)
	require.NoError(t, err)
	for _, settle := range []func(workqueue.BrokerTx) error{
		func(x workqueue.BrokerTx) error { return x.Ack(d) },
		func(x workqueue.BrokerTx) error { return x.Nack(d, true) },
		func(x workqueue.BrokerTx) error { return x.Nack(d, false) },
	} {
		err = db.Update(bg, func(tx *pebblemq.Tx) error {
			return errors.Join(settle(b.In(tx)), b.In(tx).Publish("none", "", workqueue.Message{}))
		})
		require.ErrorIs(t, err, workqueue.ErrUnknownExchange)
		soon, cancel := context.WithTimeout(bg, time.Millisecond)
		_, err = c.Next(soon)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, "it holds the first still")
	}
	require.NoError(t, d.Ack(bg))
	d, err = c.Next(bg)
	require.NoError(t, err)
	require.Equal(t, "2", string(d.Body))
	require.NoError(t, d.Ack(bg))
	publish(t, b, "q", "3")
	_, err = c.Next(bg)
	require.NoError(t, err)
}

// A Get that is given up while the mark of a suspect is written keeps nothing.
func TestAGetThatIsGivenUpReturnsItsMessage(t *testing.T) {
	mem := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(mem, store.Options{})
	require.NoError(t, err)
	b := openBroker(t, db)
	declare(t, b, "q")
	publish(t, b, "q", "m")
	clone := mem.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, db.Close())

	fs := storetest.NewFS(clone)
	gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	b = openBroker(t, db)
	fs.SetHook(gate.Hook)
	gate.Shut()
	soon, cancel := context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	_, _, err = queueOf(t, b, "q").Get(soon)
	require.Error(t, err)
	gate.Open()
	st, err := queueOf(t, b, "q").Stats(bg)
	require.NoError(t, err)
	require.Equal(t, uint64(1), st.Ready)
	require.Zero(t, st.Unacked)
}

// A NoSync publish may return while others' fsync holds its message back. A Get
// that follows must not say that the queue is empty.
func TestAGetFindsWhatWasPublishedBefore(t *testing.T) {
	fs := storetest.NewFS(vfs.NewMem())
	gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	defer storetest.Close(t, db)
	b := openBroker(t, db)
	declare(t, b, "q", "other")
	fs.SetHook(gate.Hook)
	gate.Shut()
	confirm := b.PublishAsync(bg, "", "other", workqueue.Message{})
	require.NoError(t, b.Publish(pebblemq.WithDurability(bg, pebblemq.NoSync), "", "q", body("m")))
	soon, cancel := context.WithTimeout(bg, 10*time.Millisecond)
	defer cancel()
	_, _, err = queueOf(t, b, "q").Get(soon)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	gate.Open()
	require.NoError(t, errOf(confirm.Wait(bg)))
	d, ok, err := queueOf(t, b, "q").Get(bg)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "m", string(d.Body))
}

// Nor must it wait for ever for a queue that is deleted meanwhile.
func TestAGetEndsWithItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := storetest.NewFS(vfs.NewMem())
		gate := &storetest.Gate{Class: storetest.ClassWAL, Op: storetest.OpSync}
		db, err := storetest.OpenFS(fs, store.Options{})
		require.NoError(t, err)
		b := openBroker(t, db)
		declare(t, b, "q")
		fs.SetHook(gate.Hook)
		gate.Shut()
		confirm := b.PublishAsync(bg, "", "q", body("m"))
		got := make(chan error, 1)
		go func() {
			_, _, err := queueOf(t, b, "q").Get(bg)
			got <- err
		}()
		synctest.Wait()
		require.NoError(t, queueOf(t, b, "q").Delete(pebblemq.WithDurability(bg, pebblemq.NoSync)))
		gate.Open()
		require.NoError(t, errOf(confirm.Wait(bg)))
		require.ErrorIs(t, <-got, workqueue.ErrQueueDeleted)
		require.NoError(t, db.Close())
	})
}
