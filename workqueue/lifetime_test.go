package workqueue_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func queues(t testing.TB, b *workqueue.Broker) []string {
	t.Helper()
	list, err := b.Queues(bg)
	require.NoError(t, err)
	names := make([]string, len(list))
	for i, q := range list {
		names[i] = q.Name
	}
	return names
}

func declareAs(t testing.TB, b *workqueue.Broker, name string, c workqueue.QueueConfig) {
	t.Helper()
	declareQueue(t, b, name, &c)
}

func TestPassiveDeclare(t *testing.T) {
	_, b := open(t)
	_, err := b.Queue(bg, "q")
	require.ErrorIs(t, err, workqueue.ErrUnknownQueue)
	_, err = b.Exchange(bg, "x")
	require.ErrorIs(t, err, workqueue.ErrUnknownExchange)

	want := workqueue.QueueConfig{DeliveryLimit: 3, AckTimeout: time.Minute, DeadLetter: &workqueue.DeadLetter{Key: "dead"}, Expires: time.Hour}
	declareAs(t, b, "q", want)
	got, err := queueOf(t, b, "q").Info(bg)
	require.NoError(t, err)
	require.Equal(t, want, got.Config)
	got.Config.DeadLetter.Key = "changed"
	require.NoError(t, errOf(b.DeclareQueue(bg, "q", &want)), "what was returned is a copy")

	exchange(t, b, workqueue.Fanout, "y")
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Topic, &workqueue.ExchangeConfig{Alternate: "y", AutoDelete: true}))
	x, err := b.Exchange(bg, "x")
	require.NoError(t, err)
	require.Equal(t, workqueue.Topic, x.Kind)
	require.Equal(t, workqueue.ExchangeConfig{Alternate: "y", AutoDelete: true}, x.Config)
}

func TestDeclaringWithAnotherConfigurationNamesTheField(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	exchange(t, b, workqueue.Hash, "x")
	for field, c := range map[string]workqueue.QueueConfig{
		"AutoDelete": {AutoDelete: true}, "Expires": {Expires: time.Hour}, "Exclusive": {Exclusive: true},
		"DeliveryLimit": {DeliveryLimit: 7}, "DeadLetter": {DeadLetter: &workqueue.DeadLetter{Key: "other"}},
	} {
		_, err := b.DeclareQueue(bg, "q", &c)
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, field)
	}
	for field, c := range map[string]workqueue.ExchangeConfig{
		"Alternate": {Alternate: "a"}, "Internal": {Internal: true}, "AutoDelete": {AutoDelete: true},
		"HashHeader": {HashHeader: "h"}, "HashProperty": {HashProperty: workqueue.HashType},
	} {
		err := b.DeclareExchange(bg, "x", workqueue.Hash, &c)
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, field)
	}
	require.ErrorContains(t, b.DeclareExchange(bg, "x", workqueue.Random, nil), `Kind "hash", not "random"`)
}

func TestGeneratedNames(t *testing.T) {
	_, b := open(t)
	first, err := b.DeclareNewQueue(bg, nil)
	require.NoError(t, err)
	second, err := b.DeclareNewQueue(bg, nil)
	require.NoError(t, err)
	one, two := first.Name(), second.Name()
	require.NotEqual(t, one, two)
	require.Regexp(t, `^amq\.gen-[A-Z0-9]{20,}$`, one)
	require.NoError(t, errOf(b.DeclareQueue(bg, one, nil)), "it can be declared again")
	publish(t, b, one, "m")
	require.NoError(t, get(t, b, one, "m").Ack(bg))
	require.NoError(t, queueOf(t, b, one).Delete(bg))
	require.ErrorIs(t, errOf(b.DeclareQueue(bg, one, nil)), workqueue.ErrInUse, "but nobody makes such a name up")
	require.Equal(t, []string{two}, queues(t, b))
}

func TestTheDefaultExchangeCannotBeDeclaredBoundOrDeleted(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	require.ErrorIs(t, b.DeclareExchange(bg, "", workqueue.Direct, nil), pebblemq.ErrInvalid)
	require.ErrorIs(t, b.DeleteExchange(bg, ""), pebblemq.ErrInvalid)
	require.ErrorIs(t, b.Bind(bg, workqueue.Binding{Queue: "q", Key: "k"}), workqueue.ErrInUse)
	require.ErrorIs(t, b.DeclareExchange(bg, "amq.mine", workqueue.Direct, nil), workqueue.ErrInUse)
	publish(t, b, "q", "m")
	get(t, b, "q", "m")
}

func TestAnAutoDeleteQueueGoesWithItsLastConsumer(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	exchange(t, b, workqueue.Fanout, "x")
	declareAs(t, b, "q", workqueue.QueueConfig{AutoDelete: true})
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q"})
	publish(t, b, "q", "1", "2")
	require.NoError(t, get(t, b, "q", "1").Ack(bg))
	require.Equal(t, []string{"q"}, queues(t, b), "it never had a consumer")

	one, two := consume(t, b, "q", 1), consume(t, b, "q", 1)
	next(t, one, "2")
	require.NoError(t, one.Close())
	require.Equal(t, []string{"q"}, queues(t, b))
	require.NoError(t, two.Close())
	require.Empty(t, queues(t, b))
	require.Empty(t, bindings(t, b))

	declareAs(t, b, "q", workqueue.QueueConfig{AutoDelete: true})
	require.Zero(t, ready(t, b, "q"))
	consume(t, b, "q", 1)
	db, b = restart(t, fs, db)
	require.Equal(t, []string{"q"}, queues(t, b), "a restart is no consumer's end")
	require.NoError(t, consume(t, b, "q", 1).Close())
	require.Empty(t, queues(t, b))
	require.NoError(t, db.Close())
}

func TestAnAutoDeleteExchangeGoesWithItsLastBinding(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	auto := &workqueue.ExchangeConfig{AutoDelete: true}
	for _, name := range []string{"first", "middle", "last", "unbound"} {
		require.NoError(t, b.DeclareExchange(bg, name, workqueue.Fanout, auto))
	}
	declare(t, b, "q", "r")
	bind(t, b,
		workqueue.Binding{Exchange: "first", ToExchange: "middle"},
		workqueue.Binding{Exchange: "middle", ToExchange: "last"},
		workqueue.Binding{Exchange: "last", ToExchange: "first"},
		workqueue.Binding{Exchange: "last", Queue: "q"},
		workqueue.Binding{Exchange: "last", Queue: "r"},
	)
	require.NoError(t, b.Unbind(bg, workqueue.Binding{Exchange: "last", ToExchange: "first"}))
	require.NoError(t, queueOf(t, b, "r").Delete(bg))
	db, b = restart(t, fs, db)
	kinds, err := b.Exchanges(bg)
	require.NoError(t, err)
	require.Len(t, kinds, 4)

	require.NoError(t, queueOf(t, b, "q").Delete(bg))
	kinds, err = b.Exchanges(bg)
	require.NoError(t, err)
	require.Len(t, kinds, 1)
	require.Equal(t, "unbound", kinds[0].Name, "and they go one after the other")
	require.Empty(t, bindings(t, b))
	db, b = restart(t, fs, db)
	kinds, err = b.Exchanges(bg)
	require.NoError(t, err)
	require.Len(t, kinds, 1)
	require.NoError(t, db.Close())
}

func TestAnUnusedQueueExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, b := restart(t, fs, nil)
		declareAs(t, b, "q", workqueue.QueueConfig{Expires: time.Hour, AckTimeout: workqueue.NoAckTimeout})
		pass := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}
		exists := func(want bool, why string) {
			t.Helper()
			require.Equal(t, want, len(queues(t, b)) == 1, why)
		}
		const most = 50 * time.Minute
		pass(most)
		_, _, err := queueOf(t, b, "q").Get(bg)
		require.NoError(t, err)
		pass(most)
		exists(true, "a get uses it, even of nothing")
		declareAs(t, b, "q", workqueue.QueueConfig{Expires: time.Hour, AckTimeout: workqueue.NoAckTimeout})
		pass(most)
		exists(true, "declaring it uses it")

		c := consume(t, b, "q", 1)
		pass(5 * time.Hour)
		exists(true, "a consumer uses it")
		require.NoError(t, c.Close())
		pass(most)
		exists(true, "until it was closed")

		publish(t, b, "q", "m")
		d := get(t, b, "q", "m")
		pass(5 * time.Hour)
		exists(true, "a delivery uses it")
		require.NoError(t, d.Ack(bg))
		db, b = restart(t, fs, db)
		pass(most)
		exists(true, "opening begins anew")
		publish(t, b, "q", "more")
		pass(10 * time.Minute)
		exists(false, "neither publishing nor messages use it")
		require.NoError(t, db.Close())
	})
}

func TestAnExclusiveQueueBelongsToItsHandle(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, owner := restart(t, fs, nil)
	other := openBroker(t, db)
	exchange(t, owner, workqueue.Fanout, "x")
	mine := workqueue.QueueConfig{Exclusive: true}
	declareAs(t, owner, "q", mine)
	declareAs(t, owner, "q", mine)
	declareAs(t, other, "p", mine)
	to := workqueue.Binding{Exchange: "x", Queue: "q"}
	bind(t, owner, to)

	for _, err := range []error{
		errOf(other.Queue(bg, "q")), errOf(other.DeclareQueue(bg, "q", &mine)), errOf(other.DeclareQueue(bg, "q", nil)),
		other.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: "k"}), other.Unbind(bg, to),
	} {
		require.ErrorIs(t, err, workqueue.ErrInUse)
	}
	require.NoError(t, other.Publish(bg, "x", "", body("1")))
	publish(t, other, "q", "2")
	c := consume(t, owner, "q", 1)
	require.NoError(t, next(t, c, "1").Ack(bg))

	require.NoError(t, owner.DeleteExclusive(bg))
	require.Equal(t, []string{"p"}, queues(t, owner))
	_, err := c.Next(bg)
	require.ErrorIs(t, err, workqueue.ErrQueueDeleted)
	declareAs(t, other, "q", mine)

	db, b := restart(t, fs, db)
	require.Empty(t, queues(t, b), "their owner has gone")
	require.Empty(t, bindings(t, b))
	require.NoError(t, db.Close())
}

func TestDeleteIfUnusedAndIfEmpty(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	c := consume(t, b, "q", 1)
	unused, empty := workqueue.DeleteIf{Unused: true}, workqueue.DeleteIf{Empty: true}
	require.ErrorIs(t, queueOf(t, b, "q").DeleteIf(bg, unused), workqueue.ErrInUse)
	require.NoError(t, c.Close())

	publish(t, b, "q", "m")
	require.ErrorIs(t, queueOf(t, b, "q").DeleteIf(bg, empty), workqueue.ErrNotEmpty)
	d := get(t, b, "q", "m")
	require.ErrorIs(t, queueOf(t, b, "q").DeleteIf(bg, empty), workqueue.ErrNotEmpty, "it is unacknowledged")
	require.NoError(t, d.Ack(bg))
	require.NoError(t, b.Publish(bg, "", "q", workqueue.Message{Delay: time.Hour}))
	require.ErrorIs(t, queueOf(t, b, "q").DeleteIf(bg, empty), workqueue.ErrNotEmpty, "it is delayed")
	q := queueOf(t, b, "q")
	require.NoError(t, q.DeleteIf(bg, unused))
	require.ErrorIs(t, q.DeleteIf(bg, empty), workqueue.ErrQueueDeleted)
	declare(t, b, "q")
	require.NoError(t, queueOf(t, b, "q").DeleteIf(bg, workqueue.DeleteIf{Unused: true, Empty: true}))
	require.Empty(t, queues(t, b))

	exchange(t, b, workqueue.Fanout, "x", "y")
	bind(t, b, workqueue.Binding{Exchange: "x", ToExchange: "y"})
	require.ErrorIs(t, b.DeleteUnusedExchange(bg, "x"), workqueue.ErrInUse)
	require.NoError(t, b.DeleteUnusedExchange(bg, "y"), "nothing leads from it")
	require.NoError(t, b.DeleteUnusedExchange(bg, "x"))
	require.ErrorIs(t, b.DeleteUnusedExchange(bg, "x"), workqueue.ErrUnknownExchange)
}

func TestBadLifetimes(t *testing.T) {
	_, b := open(t)
	for _, d := range []time.Duration{-1, workqueue.MaxExpires + 1} {
		_, err := b.DeclareQueue(bg, "q", &workqueue.QueueConfig{Expires: d})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
		_, err = b.DeclareNewQueue(bg, &workqueue.QueueConfig{Expires: d})
		require.ErrorIs(t, err, pebblemq.ErrInvalid)
	}
	declareQueue(t, b, "q", &workqueue.QueueConfig{Expires: workqueue.MaxExpires})
	for _, err := range []error{errOf(b.Queue(bg, "")), b.DeleteUnusedExchange(bg, ""), errOf(b.Queue(bg, string(make([]byte, 256))))} {
		require.True(t, errors.Is(err, pebblemq.ErrInvalid) || errors.Is(err, pebblemq.ErrTooLarge), "%v", err)
	}
}
