package workqueue_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

// fanOut declares the exchange "all" and n queues behind it, named by number.
func fanOut(t testing.TB, b *workqueue.Broker, n int) {
	t.Helper()
	require.NoError(t, b.DeclareExchange(bg, "all", workqueue.Fanout, nil))
	for i := range n {
		declareQueue(t, b, fmt.Sprint(i), &workqueue.QueueConfig{DeadLetter: &workqueue.DeadLetter{Key: "dead"}})
		require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "all", Queue: fmt.Sprint(i)}))
	}
	declareQueue(t, b, "dead", nil)
}

// payloads counts the bodies that are stored for sharing.
func payloads(t testing.TB, db *pebblemq.DB) (n int) {
	t.Helper()
	it, err := bridge.Store(db).Iter(bg, []byte{byte(store.KindPayload)}, []byte{byte(store.KindPayload) + 1})
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}

func big(fill byte) []byte { return bytes.Repeat([]byte{fill}, 10<<10) }

// take gets one message and checks its body.
func take(t testing.TB, b *workqueue.Broker, queue string, want []byte) *workqueue.Delivery {
	t.Helper()
	d, ok, err := queueOf(t, b, queue).Get(bg)
	require.NoError(t, err)
	require.True(t, ok, queue)
	require.Equal(t, want, d.Body)
	return d
}

func TestAFanOutStoresItsPayloadOnce(t *testing.T) {
	for _, c := range []struct {
		bytes, queues, stored int
	}{
		{10 << 10, 100, 1},
		{1 << 10, 2, 1},
		{1<<10 - 1, 100, 0}, // smaller than it is worth
		{10 << 10, 1, 0},    // in its queue
	} {
		t.Run(fmt.Sprintf("%d bytes to %d queues", c.bytes, c.queues), func(t *testing.T) {
			db, b := open(t)
			fanOut(t, b, c.queues)
			body := make([]byte, c.bytes)
			require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: body, MessageID: "m"}))
			require.Equal(t, c.stored, payloads(t, db))
			for i := range c.queues {
				st, err := queueOf(t, b, fmt.Sprint(i)).Stats(bg)
				require.NoError(t, err)
				require.Greater(t, st.Bytes, uint64(c.bytes), "the body counts in each queue")
				d := take(t, b, fmt.Sprint(i), body)
				require.Equal(t, "m", d.MessageID)
				d.Body[0] = 'x' // is nobody else's
				require.NoError(t, d.Ack(bg))
			}
		})
	}
}

func TestASharedPayloadOutlivesTheProcess(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	b := openBroker(t, db)
	fanOut(t, b, 3)
	for i := range 5 {
		require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: big(byte(i))}))
	}
	require.NoError(t, take(t, b, "0", big(0)).Ack(bg))
	require.NoError(t, db.Close())

	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	b = openBroker(t, db)
	for q := range 3 {
		for i := range 5 {
			if q > 0 || i > 0 {
				require.NoError(t, take(t, b, fmt.Sprint(q), big(byte(i))).Ack(bg))
			}
		}
	}
	require.NoError(t, db.Close())
	db, err = storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	require.Zero(t, payloads(t, db), "and goes when all are through")
	require.NoError(t, db.Close())
}

func TestASharedPayloadStaysForTheOtherQueues(t *testing.T) {
	for what, take1 := range map[string]func(t *testing.T, b *workqueue.Broker) error{
		"purge": func(t *testing.T, b *workqueue.Broker) error {
			n, err := queueOf(t, b, "1").Purge(bg)
			require.Equal(t, 600, n)
			return err
		},
		"delete": func(t *testing.T, b *workqueue.Broker) error { return queueOf(t, b, "1").Delete(bg) },
	} {
		t.Run(what, func(t *testing.T) {
			db, b := open(t)
			fanOut(t, b, 2)
			for range 600 { // more than a generation
				require.NoError(t, b.Publish(pebblemq.WithDurability(bg, pebblemq.NoSync), "all", "", workqueue.Message{Body: big(7)}))
			}
			require.NoError(t, take1(t, b))
			require.Equal(t, 600, payloads(t, db))
			for range 600 {
				require.NoError(t, take(t, b, "0", big(7)).Ack(bg))
			}
			require.Less(t, payloads(t, db), 410, "a generation went with its last copy")
		})
	}
}

func TestADeadLetterSharesThePayload(t *testing.T) {
	db, b := open(t)
	fanOut(t, b, 3)
	require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: big(1), Headers: map[string]string{"a": "1"}}))
	for i := range 3 {
		require.NoError(t, take(t, b, fmt.Sprint(i), big(1)).Reject(bg))
	}
	require.Equal(t, 1, payloads(t, db))
	for range 3 {
		d := take(t, b, "dead", big(1))
		require.Equal(t, "1", d.Headers["a"])
		require.Equal(t, workqueue.ReasonRejected, d.Deaths[0].Reason)
	}
}

func TestADelayedFanOutSharesThePayload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := open(t)
		fanOut(t, b, 3)
		require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{Body: big(1), Delay: time.Hour}))
		require.Equal(t, 1, payloads(t, db))
		<-time.After(2 * time.Hour)
		synctest.Wait()
		for i := range 3 {
			require.NoError(t, take(t, b, fmt.Sprint(i), big(1)).Ack(bg))
		}
	})
}

func TestARefusedFanOutLeavesNothing(t *testing.T) {
	db, b := open(t)
	fanOut(t, b, 3)
	err := b.PublishBatch(bg, "all", []workqueue.Publishing{
		{Message: workqueue.Message{Body: big(1)}}, {Message: workqueue.Message{Body: big(2)}},
	})
	require.NoError(t, err)
	err = db.Update(bg, func(tx *pebblemq.Tx) error {
		if err := b.In(tx).Publish("all", "", workqueue.Message{Body: big(3)}); err != nil {
			return err
		}
		return b.In(tx).Publish("none", "", workqueue.Message{})
	})
	require.ErrorIs(t, err, workqueue.ErrUnknownExchange)
	require.Equal(t, 2, payloads(t, db))
}

// Deliveries that are lost while they are handed over must not be mistaken for
// damage, though somebody else may have settled them, and their body be gone.
func TestAConsumerThatClosesWhileOthersSettle(t *testing.T) {
	_, b := open(t)
	fanOut(t, b, 2)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	drain := func(queue string, each int) {
		for {
			c, err := queueOf(t, b, queue).Consume(bg, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for range each {
				select {
				case <-stop:
					_ = c.Close()
					return
				default:
				}
				d, err := c.Next(bg)
				if err != nil {
					t.Error(err)
					return
				}
				_ = d.Ack(bg)
			}
			_ = c.Close()
		}
	}
	for _, q := range []string{"0", "0", "1"} {
		wg.Go(func() { drain(q, 3) })
	}
	for range 1000 {
		require.NoError(t, b.Publish(pebblemq.WithDurability(bg, pebblemq.NoSync), "all", "", workqueue.Message{Body: big(1)}))
	}
	close(stop)
	for range 10 { // wakes who waits
		require.NoError(t, b.Publish(bg, "all", "", workqueue.Message{}))
	}
	wg.Wait()
}
