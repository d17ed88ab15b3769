package workqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func TestAQueueIsAlteredInPlace(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	declare(t, b, "q", "dead")
	publish(t, b, "q", "1", "2")
	altered := workqueue.QueueConfig{DeliveryLimit: 1, DeadLetter: &workqueue.DeadLetter{Key: "dead"}, AutoDelete: true}
	require.NoError(t, queueOf(t, b, "q").Alter(bg, &altered))
	db, b = restart(t, fs, db)
	declareAs(t, b, "q", altered)
	require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{})), pebblemq.ErrConfigMismatch)
	declareQueue(t, b, "q", nil) // is as stored
	require.NoError(t, get(t, b, "q", "1").Reject(bg))
	get(t, b, "dead", "1")
	c := consume(t, b, "q", 1)
	next(t, c, "2")
	require.NoError(t, c.Close())
	require.Equal(t, []string{"dead"}, queues(t, b), "it auto-deletes now")
	require.NoError(t, db.Close())
}

func TestAlteredExpiryCountsFromNowOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := restart(t, vfs.NewCrashableMem(), nil)
		declareAs(t, b, "sooner", workqueue.QueueConfig{Expires: time.Hour})
		declareAs(t, b, "never", workqueue.QueueConfig{Expires: time.Hour})
		declare(t, b, "now too")
		<-time.After(59 * time.Minute)
		for queue, expires := range map[string]time.Duration{"sooner": time.Minute, "never": 0, "now too": 2 * time.Minute} {
			require.NoError(t, queueOf(t, b, queue).Alter(bg, &workqueue.QueueConfig{Expires: expires}))
		}
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		pass(59 * time.Second)
		require.Len(t, queues(t, b), 3)
		pass(time.Second)
		require.Equal(t, []string{"never", "now too"}, queues(t, b))
		pass(time.Hour)
		require.Equal(t, []string{"never"}, queues(t, b))
		require.NoError(t, db.Close())
	})
}

func TestAnExchangeIsAlteredInPlace(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	exchange(t, b, workqueue.Direct, "x")
	exchange(t, b, workqueue.Fanout, "spare")
	declare(t, b, "q", "lost")
	bind(t, b, workqueue.Binding{Exchange: "x", Key: "k", Queue: "q"}, workqueue.Binding{Exchange: "spare", Queue: "lost"})
	require.NoError(t, b.AlterExchange(bg, "x", &workqueue.ExchangeConfig{Alternate: "spare", AutoDelete: true}))
	require.NoError(t, b.AlterExchange(bg, "spare", &workqueue.ExchangeConfig{Internal: true}))
	db, b = restart(t, fs, db)
	for _, key := range []string{"k", "other"} {
		require.NoError(t, b.Publish(bg, "x", key, body(key)))
	}
	get(t, b, "q", "k")
	get(t, b, "lost", "other")
	require.ErrorIs(t, b.Publish(bg, "spare", "", body("m")), workqueue.ErrInUse)
	require.NoError(t, queueOf(t, b, "q").Delete(bg))
	kinds, err := b.Exchanges(bg)
	require.NoError(t, err)
	require.Len(t, kinds, 1)
	require.NoError(t, db.Close())
}

func TestWhatCannotBeAltered(t *testing.T) {
	db, b := open(t)
	declare(t, b, "q")
	exchange(t, b, workqueue.Hash, "x")
	before := export(t, b)
	for want, err := range map[string]error{
		"Exclusive":        queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{Exclusive: true}),
		"DedupeWindow":     queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{DedupeWindow: 1}),
		"HashHeader":       b.AlterExchange(bg, "x", &workqueue.ExchangeConfig{HashHeader: "h"}),
		"DedupeWindow 0":   b.AlterExchange(bg, "x", &workqueue.ExchangeConfig{DedupeWindow: 1}),
		"HashProperty":     b.AlterExchange(bg, "x", &workqueue.ExchangeConfig{HashProperty: workqueue.HashType}),
		"Expires":          queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{Expires: -1}),
		"unknown exchange": b.AlterExchange(bg, "none", nil),
		"name":             b.AlterExchange(bg, "", nil),
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, before, export(t, b))
	declareAs(t, b, "mine", workqueue.QueueConfig{Exclusive: true})
	require.ErrorIs(t, errOf(openBroker(t, db).Queue(bg, "mine")), workqueue.ErrInUse)
}
