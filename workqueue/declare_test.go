package workqueue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
)

func TestEnsureCreatesAltersOrDoesNothing(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	config := workqueue.QueueConfig{DeliveryLimit: 3, MaxPriority: 2, DedupeWindow: time.Hour}
	ensure := func(want pebblemq.Ensured) {
		t.Helper()
		q, did, err := b.EnsureQueue(bg, "q", &config)
		require.NoError(t, err)
		require.Equal(t, want, did)
		require.Equal(t, "q", q.Name())
	}
	ensure(pebblemq.Ensured{Created: true})
	ensure(pebblemq.Ensured{})
	publish(t, b, "q", "kept")
	config.DeliveryLimit, config.MaxPriority = 5, 4
	ensure(pebblemq.Ensured{Altered: []string{"DeliveryLimit", "MaxPriority"}})
	db, b = restart(t, fs, db)
	ensure(pebblemq.Ensured{})
	_, did, err := b.EnsureQueue(bg, "q", nil)
	require.NoError(t, err)
	require.True(t, did.Unchanged(), "nil is as stored")

	stored := config
	config.DedupeWindow, config.MaxPriority, config.DeliveryLimit = 0, 3, 7
	_, did, err = b.EnsureQueue(bg, "q", &config)
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, `queue "q" has DedupeWindow 1h0m0s, not 0s; MaxPriority 4, not 3, which cannot be altered so`)
	require.Zero(t, did)
	config = stored
	ensure(pebblemq.Ensured{})
	get(t, b, "q", "kept")
	require.NoError(t, db.Close())
}

func TestEnsureOfAnExchange(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Fanout, "x")
	for _, c := range []struct {
		kind   workqueue.ExchangeKind
		config *workqueue.ExchangeConfig
		did    pebblemq.Ensured
		says   string // the error
	}{
		{workqueue.Topic, nil, pebblemq.Ensured{Created: true}, ""},
		{workqueue.Topic, &workqueue.ExchangeConfig{}, pebblemq.Ensured{}, ""},
		{workqueue.Topic, &workqueue.ExchangeConfig{Alternate: "x", AutoDelete: true}, pebblemq.Ensured{Altered: []string{"Alternate", "AutoDelete"}}, ""},
		{workqueue.Topic, nil, pebblemq.Ensured{}, ""},
		{workqueue.Fanout, nil, pebblemq.Ensured{}, `Kind "topic", not "fanout", which cannot`},
		{workqueue.Topic, &workqueue.ExchangeConfig{DedupeWindow: time.Hour}, pebblemq.Ensured{}, `DedupeWindow 0s, not 1h0m0s, which cannot`},
	} {
		did, err := b.EnsureExchange(bg, "e", c.kind, c.config)
		require.Equal(t, c.did, did)
		if c.says == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, c.says)
	}
	e, err := b.Exchange(bg, "e")
	require.NoError(t, err)
	require.Equal(t, workqueue.ExchangeConfig{Alternate: "x", AutoDelete: true}, e.Config)
}

func TestAMismatchNamesAllFieldsAndTheWayOut(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	_, err := b.DeclareQueue(bg, "q", &workqueue.QueueConfig{DeliveryLimit: 3, DeadLetter: &workqueue.DeadLetter{Key: "dead"}})
	require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
	require.ErrorContains(t, err, `queue "q" has DeliveryLimit 20, not 3; DeadLetter none, not {Exchange: Key:dead DropIfMissing:false}; EnsureQueue alters it`)
}

func TestInfoTellsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, b := restart(t, fs, nil)
		began := time.Now()
		exchange(t, b, workqueue.Fanout, "x")
		declare(t, b, "q", "p")
		bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q"}, workqueue.Binding{Exchange: "x", Queue: "p"})
		publish(t, b, "q", "1", "2")
		require.NoError(t, b.Publish(bg, "x", "", body("3")))
		require.NoError(t, get(t, b, "q", "1").Ack(bg))
		pass(time.Hour)
		require.NoError(t, queueOf(t, b, "q").Alter(bg, &workqueue.QueueConfig{DeliveryLimit: 3}))
		require.NoError(t, b.AlterExchange(bg, "x", &workqueue.ExchangeConfig{Internal: true}))

		info, err := queueOf(t, b, "q").Info(bg)
		require.NoError(t, err)
		require.Equal(t, "q", info.Name)
		require.Equal(t, 3, info.Config.DeliveryLimit)
		require.Equal(t, workqueue.DefaultAckTimeout, info.Config.AckTimeout, "with the defaults filled in")
		require.Equal(t, []time.Time{began, began.Add(time.Hour)}, []time.Time{info.Created, info.Altered})
		require.EqualValues(t, 2, info.Stats.Ready)
		require.Equal(t, workqueue.QueueTotals{Published: 3, Delivered: 1, Acked: 1}, info.Totals)
		x, err := b.Exchange(bg, "x")
		require.NoError(t, err)
		require.Equal(t, workqueue.ExchangeInfo{
			Name: "x", ID: x.ID, Kind: workqueue.Fanout, Config: workqueue.ExchangeConfig{Internal: true},
			Created: began, Altered: began.Add(time.Hour), Bindings: 2,
		}, x)
		all, err := b.Exchanges(bg)
		require.NoError(t, err)
		require.Equal(t, []workqueue.ExchangeInfo{x}, all)
		list, err := b.Queues(bg)
		require.NoError(t, err)
		require.Len(t, list, 2)
		require.Equal(t, info, list[1])

		db, b = restart(t, fs, db)
		again, err := queueOf(t, b, "q").Info(bg)
		require.NoError(t, err)
		info.Totals = workqueue.QueueTotals{} // since the store was opened
		info.Stats.Ready, again.Stats.Ready = 0, 0
		require.Equal(t, info, again)
		require.NoError(t, db.Close())
	})
}

func TestBrokersAreListedAndLookedUp(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	_, err := workqueue.LookupBroker(bg, db, "other")
	require.ErrorIs(t, err, workqueue.ErrUnknownBroker)
	require.ErrorIs(t, err, pebblemq.ErrNotFound)
	other, err := workqueue.OpenBroker(bg, db, "other")
	require.NoError(t, err)
	declare(t, other, "q")
	exchange(t, b, workqueue.Fanout, "x")
	declare(t, b, "q", "p")
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q"})
	db, _ = restart(t, fs, db)
	list, err := workqueue.Brokers(bg, db)
	require.NoError(t, err)
	require.Len(t, list, 2)
	for i, want := range []workqueue.BrokerInfo{
		{Name: "main", Exchanges: 1, Queues: 2, Open: true, Bindings: 1},
		{Name: "other", Queues: 1},
	} {
		require.False(t, list[i].Created.IsZero())
		want.ID, want.Created = list[i].ID, list[i].Created
		require.Equal(t, want, list[i])
	}
	found, err := workqueue.LookupBroker(bg, db, "other")
	require.NoError(t, err)
	info, err := found.Info(bg)
	require.NoError(t, err)
	list[1].Open = true
	require.Equal(t, list[1], info)
	require.NoError(t, db.Close())
}
