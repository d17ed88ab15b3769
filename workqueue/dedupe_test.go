package workqueue_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func message(id, text string) workqueue.Message {
	return workqueue.Message{MessageID: id, Body: []byte(text)}
}

func TestAnExchangeKnowsAMessageIDForItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		db, b := restart(t, fs, nil)
		require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Fanout, &workqueue.ExchangeConfig{DedupeWindow: time.Hour}))
		declare(t, b, "q", "r")
		bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q"}, workqueue.Binding{Exchange: "x", Queue: "r"})
		routed := func(id string) int {
			c := b.PublishAsync(bg, "x", "", message(id, "m"))
			require.NoError(t, errOf(c.Wait(bg)))
			return published(c).Routed
		}
		require.Equal(t, 2, routed("1"))
		require.NoError(t, b.Unbind(bg, workqueue.Binding{Exchange: "x", Queue: "r"}))
		require.Equal(t, 2, routed("1"), "the outcome of the first")
		require.Equal(t, 1, routed("2"))
		require.Equal(t, 1, routed(""))
		require.Equal(t, 1, routed(""), "without an id all are different")
		require.Equal(t, []int{4, 1}, []int{ready(t, b, "q"), ready(t, b, "r")})

		<-time.After(time.Hour - time.Second)
		db, b = restart(t, fs, db)
		require.Equal(t, 2, routed("1"), "over a restart")
		require.Equal(t, 4, ready(t, b, "q"))
		<-time.After(time.Second)
		require.Equal(t, 1, routed("1"), "a repetition does not prolong it")
		require.Equal(t, 5, ready(t, b, "q"))
		require.NoError(t, db.Close())
	})
}

func TestAQueueKnowsAMessageIDWhereverItComesFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, b := restart(t, vfs.NewCrashableMem(), nil)
		exchange(t, b, workqueue.Fanout, "x", "y")
		declareAs(t, b, "once", workqueue.QueueConfig{DedupeWindow: time.Minute})
		declare(t, b, "all", "more")
		for _, x := range []string{"x", "y"} {
			for _, q := range []string{"once", "all", "more"} {
				bind(t, b, workqueue.Binding{Exchange: x, Queue: q})
			}
		}
		large := string(bytes.Repeat([]byte{7}, 4<<10)) // stored once
		require.NoError(t, b.Publish(bg, "x", "", message("1", large)))
		require.NoError(t, b.Publish(bg, "y", "", message("1", large)))
		m := message("1", large)
		m.Mandatory = true
		require.NoError(t, b.Publish(bg, "", "once", m), "that it was dropped is not unroutable")
		require.Equal(t, []int{1, 2, 2}, []int{ready(t, b, "once"), ready(t, b, "all"), ready(t, b, "more")})
		n := unrouted(t, b)
		require.Zero(t, n)

		require.NoError(t, get(t, b, "once", large).Ack(bg))
		require.NoError(t, b.Publish(bg, "x", "", message("1", large)))
		require.Zero(t, ready(t, b, "once"), "that the first is gone does not count")
		<-time.After(time.Minute)
		require.NoError(t, b.Publish(bg, "x", "", message("1", large)))
		require.Equal(t, 1, ready(t, b, "once"))
		require.NoError(t, db.Close())
	})
}

func TestARefusedPublishIsNotRemembered(t *testing.T) {
	db, b := open(t)
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Direct, &workqueue.ExchangeConfig{DedupeWindow: time.Hour}))
	declareAs(t, b, "q", workqueue.QueueConfig{DedupeWindow: time.Hour})
	m := message("1", "m")
	m.Mandatory = true
	require.ErrorIs(t, b.Publish(bg, "x", "k", m), workqueue.ErrUnroutable)
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q", Key: "k"})

	other := message("2", "other")
	require.ErrorIs(t, b.PublishBatch(bg, "x", []workqueue.Publishing{
		{Key: "k", Message: m}, {Key: "k", Message: other}, {Key: "no", Message: workqueue.Message{Mandatory: true}},
	}), workqueue.ErrUnroutable)
	rollback := errors.New("no")
	require.ErrorIs(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		return errors.Join(b.In(tx).Publish("x", "k", m), rollback)
	}), rollback)
	require.Error(t, db.Update(bg, func(tx *pebblemq.Tx) error {
		return errors.Join(b.In(tx).Publish("x", "k", m), b.In(tx).Publish("no", "k", m))
	}))
	require.Zero(t, ready(t, b, "q"))

	require.NoError(t, b.PublishBatch(bg, "x", []workqueue.Publishing{{Key: "k", Message: m}, {Key: "k", Message: other}, {Key: "k", Message: m}}))
	require.NoError(t, db.Update(bg, func(tx *pebblemq.Tx) error { return b.In(tx).Publish("x", "k", other) }))
	require.Equal(t, 2, ready(t, b, "q"))
}

func TestARepeatedMandatoryMessageIsAsUnroutableAsTheFirst(t *testing.T) {
	_, b := open(t)
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Direct, &workqueue.ExchangeConfig{DedupeWindow: time.Hour}))
	require.NoError(t, b.Publish(bg, "x", "k", message("1", "m")))
	declare(t, b, "q")
	bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q", Key: "k"})
	m := message("1", "m")
	m.Mandatory = true
	require.ErrorIs(t, b.Publish(bg, "x", "k", m), workqueue.ErrUnroutable)
	require.Zero(t, ready(t, b, "q"))
}

func TestDeadLettersAlwaysGetIn(t *testing.T) {
	_, b := open(t)
	declareAs(t, b, "q", workqueue.QueueConfig{DedupeWindow: time.Hour, DeadLetter: &workqueue.DeadLetter{Key: "retry"}})
	declareAs(t, b, "retry", workqueue.QueueConfig{DedupeWindow: time.Hour, DeadLetter: &workqueue.DeadLetter{Key: "q"}})
	require.NoError(t, b.Publish(bg, "", "q", message("1", "m")))
	for range 3 {
		require.NoError(t, get(t, b, "q", "m").Reject(bg))
		require.NoError(t, get(t, b, "retry", "m").Reject(bg))
	}
	require.NoError(t, b.Publish(bg, "", "q", message("1", "m")))
	require.Equal(t, 1, ready(t, b, "q"))
}

func TestDeletingForgetsMessageIDs(t *testing.T) {
	_, b := open(t)
	for range 2 {
		require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Fanout, &workqueue.ExchangeConfig{DedupeWindow: time.Hour}))
		declareAs(t, b, "q", workqueue.QueueConfig{DedupeWindow: time.Hour})
		bind(t, b, workqueue.Binding{Exchange: "x", Queue: "q"})
		for range 2 {
			require.NoError(t, b.Publish(bg, "x", "", message("1", "m")))
		}
		require.Equal(t, 1, ready(t, b, "q"))
		require.NoError(t, queueOf(t, b, "q").Delete(bg))
		require.NoError(t, b.DeleteExchange(bg, "x"))
	}
}

func TestBadDedupeWindows(t *testing.T) {
	_, b := open(t)
	for _, d := range []time.Duration{-1, workqueue.MaxDedupeWindow + 1} {
		require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{DedupeWindow: d})), pebblemq.ErrInvalid)
		require.ErrorIs(t, b.DeclareExchange(bg, "x", workqueue.Direct, &workqueue.ExchangeConfig{DedupeWindow: d}), pebblemq.ErrInvalid)
	}
	for i, d := range []time.Duration{1, workqueue.MaxDedupeWindow} {
		declareAs(t, b, fmt.Sprint(i), workqueue.QueueConfig{DedupeWindow: d})
		require.ErrorContains(t, errOf(b.DeclareQueue(bg, fmt.Sprint(i), &workqueue.QueueConfig{})), "DedupeWindow")
	}
}

func TestRoutedIsTheNumberOfPlaces(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Fanout, "x", "y")
	declare(t, b, "q", "r", "s")
	bind(t, b,
		workqueue.Binding{Exchange: "x", Queue: "q"}, workqueue.Binding{Exchange: "x", Queue: "q", Key: "again"},
		workqueue.Binding{Exchange: "x", Queue: "r"}, workqueue.Binding{Exchange: "x", ToExchange: "y"},
		workqueue.Binding{Exchange: "y", Queue: "r"}, workqueue.Binding{Exchange: "y", Queue: "s"},
	)
	require.Equal(t, 3, published(b.PublishAsync(bg, "x", "", body("m"))).Routed)
	require.Equal(t, 1, published(b.PublishAsync(bg, "", "q", body("m"))).Routed)
	require.Zero(t, published(b.PublishAsync(bg, "", "nobody", body("m"))).Routed)
	require.Zero(t, published(b.PublishAsync(bg, "no", "", body("m"))).Routed)
}
