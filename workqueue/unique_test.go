package workqueue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
)

// uniqueRecords counts the keys that are held in a store, on disk.
func uniqueRecords(t require.TestingT, db *pebblemq.DB) (n int) {
	it, err := bridge.Store(db).Iter(bg, []byte{byte(store.KindWorkUnique)}, []byte{byte(store.KindWorkUnique) + 1})
	require.NoError(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, it.Close())
	return n
}

func unique(key, id string) workqueue.Message {
	return workqueue.Message{UniqueKey: key, MessageID: id, Body: []byte(id)}
}

// publishUnique publishes to a queue and returns the id of the message that is there
// already, if there is one.
func publishUnique(t testing.TB, b *workqueue.Broker, queue string, m workqueue.Message) (instead string) {
	t.Helper()
	c := b.PublishAsync(bg, "", queue, m)
	require.NoError(t, errOf(c.Wait(bg)))
	require.Equal(t, 1, published(c).Routed)
	for _, d := range published(c).Duplicates {
		require.Equal(t, queue, d.Queue)
		instead = d.MessageID
	}
	return instead
}

func TestAUniqueKeyIsHeldUntilTheMessageIsGone(t *testing.T) {
	ends := map[string]func(t *testing.T, b *workqueue.Broker){
		"ack":    func(t *testing.T, b *workqueue.Broker) { require.NoError(t, get(t, b, "q", "1").Ack(bg)) },
		"reject": func(t *testing.T, b *workqueue.Broker) { require.NoError(t, get(t, b, "q", "1").Reject(bg)) },
		"delivery limit": func(t *testing.T, b *workqueue.Broker) {
			for range 2 {
				require.NoError(t, get(t, b, "q", "1").Nack(bg, true))
			}
			get(t, b, "q", "3") // before which the other is buried
		},
		"expiry": func(*testing.T, *workqueue.Broker) { pass(time.Hour) },
		"length limit": func(t *testing.T, b *workqueue.Broker) {
			for range 10 {
				publish(t, b, "q", "filler")
			}
		},
		"purge": func(t *testing.T, b *workqueue.Broker) {
			_, err := queueOf(t, b, "q").Purge(bg)
			require.NoError(t, err)
		},
		"delete of the queue": func(t *testing.T, b *workqueue.Broker) {
			require.NoError(t, queueOf(t, b, "q").Delete(bg))
			declare(t, b, "q")
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := storetest.Open(t, nil)
				b := openBroker(t, db)
				declare(t, b, "dead")
				declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead, MessageTTL: time.Hour, DeliveryLimit: 2, MaxLength: 10})
				require.Empty(t, publishUnique(t, b, "q", unique("k", "1")))
				require.Equal(t, "1", publishUnique(t, b, "q", unique("k", "2")))
				require.Empty(t, publishUnique(t, b, "q", unique("other", "3")))
				d := get(t, b, "q", "1")
				require.Equal(t, "k", d.UniqueKey)
				require.Equal(t, "1", publishUnique(t, b, "q", unique("k", "2")), "while it runs")
				require.NoError(t, d.Release(bg, 0))
				require.Equal(t, "1", publishUnique(t, b, "q", unique("k", "2")), "while it waits again")
				end(t, b)
				synctest.Wait()
				require.Empty(t, publishUnique(t, b, "q", unique("k", "4")))
				require.Equal(t, "4", publishUnique(t, b, "q", unique("k", "5")))
			})
		})
	}
}

func TestTheDuplicateSaysWhichMessageIsThere(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	first := unique("k", "1")
	first.Timestamp = time.UnixMicro(1234567)
	require.Empty(t, publishUnique(t, b, "q", first))
	c := b.PublishAsync(bg, "", "q", unique("k", "2"))
	require.NoError(t, errOf(c.Wait(bg)))
	require.Equal(t, []workqueue.Duplicate{{Queue: "q", MessageID: "1", Timestamp: time.UnixMicro(1234567)}}, published(c).Duplicates)
	require.NoError(t, b.Publish(bg, "", "q", unique("k", "3")), "it is no error")
	require.Equal(t, 1, ready(t, b, "q"))
}

func TestADelayedMessageHoldsItsUniqueKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, nil)
		b := openBroker(t, db)
		declareWith(t, b, workqueue.QueueConfig{MaxPriority: 5})
		later := unique("k", "later")
		later.Delay, later.Priority = time.Minute, 3
		require.Empty(t, publishUnique(t, b, "q", later))
		require.Equal(t, "later", publishUnique(t, b, "q", unique("k", "now")), "whatever its priority")
		_, err := queueOf(t, b, "q").Purge(bg)
		require.NoError(t, err)
		require.Equal(t, "later", publishUnique(t, b, "q", unique("k", "now")), "a purge spares it")
		pass(time.Minute)
		require.Equal(t, "later", publishUnique(t, b, "q", unique("k", "now")), "when it is due")
		require.Equal(t, 1, uniqueRecords(t, db))
		require.NoError(t, get(t, b, "q", "later").Ack(bg))
		require.Zero(t, uniqueRecords(t, db))
	})
}

// TestAUniqueKeyIsFreedInTheCommitOfTheEnd: the job that is done may be published again in
// the transaction that acknowledges it, and a transaction that is refused frees nothing.
func TestAUniqueKeyIsFreedInTheCommitOfTheEnd(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	require.Empty(t, publishUnique(t, b, "q", unique("k", "1")))
	d := get(t, b, "q", "1")
	errNo := errors.New("no")
	again := func(result error) error {
		return db.Update(bg, func(tx *pebblemq.Tx) error {
			require.NoError(t, b.In(tx).Ack(d))
			require.NoError(t, b.In(tx).Publish("", "q", unique("k", "2")))
			return result
		})
	}
	require.ErrorIs(t, again(errNo), errNo)
	require.Equal(t, "1", publishUnique(t, b, "q", unique("k", "3")))
	require.NoError(t, again(nil))
	require.Equal(t, "2", publishUnique(t, b, "q", unique("k", "3")))
	require.NoError(t, get(t, b, "q", "2").Ack(bg))
	require.Zero(t, uniqueRecords(t, db))
}

func TestADuplicateLeavesOutOnlyItself(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	require.NoError(t, b.PublishBatch(bg, "", []workqueue.Publishing{
		{Key: "q", Message: unique("k", "1")}, {Key: "q", Message: unique("k", "2")}, {Key: "q", Message: unique("", "3")},
	}))
	require.Equal(t, 2, ready(t, b, "q"))
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		require.NoError(t, b.In(tx).Publish("", "q", unique("k", "4")))
		return tx.Set([]byte("state"), []byte("changed"))
	}))
	require.Equal(t, 2, ready(t, b, "q"))
	require.NoError(t, db.View(bg, func(tx *pebblemq.Tx) error {
		v, err := tx.Get([]byte("state"))
		require.Equal(t, "changed", string(v))
		return err
	}))
}

func TestEachQueueHasItsUniqueKeys(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Fanout, "x")
	declare(t, b, "q", "r")
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q"}, workqueue.Binding{Exchange: "x", Queue: "r"})
	large := unique("k", "1")
	large.Body = big(1) // stored once
	require.NoError(t, b.Publish(bg, "x", "", large))
	require.NoError(t, take(t, b, "r", large.Body).Ack(bg))
	c := b.PublishAsync(bg, "x", "", unique("k", "2"))
	require.NoError(t, errOf(c.Wait(bg)))
	require.Equal(t, 2, published(c).Routed)
	require.Len(t, published(c).Duplicates, 1)
	require.Equal(t, "1", published(c).Duplicates[0].MessageID)
	require.Equal(t, []int{1, 1}, []int{ready(t, b, "q"), ready(t, b, "r")})
}

// TestADeadLetterHoldsNoUniqueKey: it always gets where it is to go, and publishing it
// again asks for the key again.
func TestADeadLetterHoldsNoUniqueKey(t *testing.T) {
	db, b := open(t)
	declare(t, b, "dead")
	declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
	for _, id := range []string{"1", "2"} {
		require.Empty(t, publishUnique(t, b, "q", unique("k", id)))
		require.NoError(t, get(t, b, "q", id).Reject(bg))
	}
	require.Equal(t, 2, ready(t, b, "dead"))
	require.Zero(t, uniqueRecords(t, db))
	d := get(t, b, "dead", "1")
	require.Equal(t, "k", d.UniqueKey)
	require.Empty(t, publishUnique(t, b, "q", unique("k", "3")))
	require.Equal(t, "3", publishUnique(t, b, "q", d.Message))
	require.Empty(t, publishUnique(t, b, "dead", unique("k", "4")), "the place of the dead has keys of its own")
	require.NoError(t, d.Ack(bg))
	require.Equal(t, "4", publishUnique(t, b, "dead", unique("k", "5")))
}

func TestAPurgeKeepsTheUniqueKeysOfWhatItKeeps(t *testing.T) {
	db, b := open(t)
	declareWith(t, b, workqueue.QueueConfig{MaxPriority: 1})
	for i := range 4 {
		m := unique(fmt.Sprint(i), fmt.Sprint(i))
		m.Priority = uint8(i % 2)
		require.Empty(t, publishUnique(t, b, "q", m))
	}
	d := get(t, b, "q", "1")
	n, err := queueOf(t, b, "q").Purge(bg)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, 1, uniqueRecords(t, db))
	require.Equal(t, "1", publishUnique(t, b, "q", unique("1", "again")))
	require.Empty(t, publishUnique(t, b, "q", unique("2", "again")))
	require.NoError(t, d.Ack(bg))
	require.Empty(t, publishUnique(t, b, "q", unique("1", "again")))
}

// TestAPurgeSparesTheUniqueKeyOfWhatIsOnItsWay: a message that is not visible yet is not purged.
func TestAPurgeSparesTheUniqueKeyOfWhatIsOnItsWay(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	for i := range 50 {
		first := b.PublishAsync(bg, "", "q", unique("k", fmt.Sprint(i)))
		n, err := queueOf(t, b, "q").Purge(pebblemq.WithDurability(bg, pebblemq.NoSync))
		require.NoError(t, err)
		require.NoError(t, errOf(first.Wait(bg)))
		require.Equal(t, 1-n, uniqueRecords(t, db))
		_, err = queueOf(t, b, "q").Purge(bg)
		require.NoError(t, err)
	}
}

func TestAPeriodicJobMayBeUnique(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBroker(t, storetest.Open(t, nil))
		declare(t, b, "in", "copy")
		job := hourly
		job.Message.UniqueKey = "report"
		require.NoError(t, b.PutJob(bg, job))
		pass(5 * time.Hour)
		require.Equal(t, 1, readyIn(t, b, "in"), "nobody has done the first")
		require.NoError(t, get(t, b, "in", "report").Ack(bg))
		pass(time.Hour)
		require.Equal(t, 1, readyIn(t, b, "in"))
	})
}

// TestWhatAPublisherIsToldOfAUniqueKeyOutlivesACrash: the message that is there was
// published NoSync, but the answer that rests on it is not.
func TestWhatAPublisherIsToldOfAUniqueKeyOutlivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, b := restart(t, fs, nil)
		declare(t, b, "q")
		require.NoError(t, b.Publish(pebblemq.WithDurability(bg, pebblemq.NoSync), "", "q", unique("k", "1")))
		require.Equal(t, "1", publishUnique(t, b, "q", unique("k", "2")))
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, db.Close())
		db, b = restart(t, clone, nil)
		require.Equal(t, "1", publishUnique(t, b, "q", unique("k", "3")))
		require.NoError(t, get(t, b, "q", "1").Ack(pebblemq.WithDurability(bg, pebblemq.Sync)))
		clone = clone.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, db.Close())
		db, b = restart(t, clone, nil)
		require.Empty(t, publishUnique(t, b, "q", unique("k", "4")))
		require.NoError(t, db.Close())
	})
}

func TestAUniqueKeyHasALimit(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	require.NoError(t, b.Publish(bg, "", "q", unique(strings.Repeat("k", workqueue.MaxPropertyBytes), "1")))
	require.ErrorIs(t, b.Publish(bg, "", "q", unique(strings.Repeat("k", workqueue.MaxPropertyBytes+1), "1")), pebblemq.ErrTooLarge)
	require.ErrorIs(t, b.Publish(bg, "", "q", unique("\xff", "1")), pebblemq.ErrInvalid)
}

// TestOnlyOneOfManyPublishersOfAUniqueKeySucceeds runs them against consumers.
func TestOnlyOneOfManyPublishersOfAUniqueKeySucceeds(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	ctx, stop := context.WithCancel(bg)
	running, overlaps, done := make(chan struct{}, 1), make(chan struct{}, 1000), make(chan error, 1)
	go func() {
		done <- queueOf(t, b, "q").Run(ctx, func(context.Context, *workqueue.Delivery) error {
			select {
			case running <- struct{}{}:
				<-running
			default:
				overlaps <- struct{}{}
			}
			return nil
		}, &workqueue.RunOptions{Concurrency: 4})
	}()
	for range 200 {
		require.NoError(t, b.Publish(bg, "", "q", unique("k", "m")))
	}
	stop()
	require.NoError(t, <-done)
	require.Empty(t, overlaps)
}

func TestACancelledMessageFreesItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.Open(t, nil)
		b, err := workqueue.OpenBroker(bg, db, "main")
		require.NoError(t, err)
		declareQueue(t, b, "q", nil)
		m := unique("k", "1")
		m.Delay = time.Hour
		require.Empty(t, publishUnique(t, b, "q", m))
		require.Equal(t, "1", publishUnique(t, b, "q", unique("k", "2")))
		require.NoError(t, queueOf(t, b, "q").Cancel(bg, "1"))
		require.Zero(t, uniqueRecords(t, db))
		require.Empty(t, publishUnique(t, b, "q", unique("k", "3")))
	})
}

// TestWhatIsRedrivenHoldsNoUniqueKey: it gets in whether or not the key is held, and
// leaves it to who holds it.
func TestWhatIsRedrivenHoldsNoUniqueKey(t *testing.T) {
	db, b := open(t)
	declare(t, b, "dead")
	declareWith(t, b, workqueue.QueueConfig{DeadLetter: toDead})
	require.Empty(t, publishUnique(t, b, "q", unique("k", "1")))
	require.NoError(t, get(t, b, "q", "1").Reject(bg))
	require.Empty(t, publishUnique(t, b, "q", unique("k", "2")))
	_, err := waited(queueOf(t, b, "dead").Redrive(bg, nil))
	require.NoError(t, err)
	require.Equal(t, 2, ready(t, b, "q"))
	require.Equal(t, 1, uniqueRecords(t, db))
	require.NoError(t, get(t, b, "q", "2").Ack(bg))
	require.NoError(t, get(t, b, "q", "1").Ack(bg))
	require.Empty(t, publishUnique(t, b, "q", unique("k", "3")))
}
