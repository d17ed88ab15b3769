package workqueue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

var bg = context.Background()

func open(t testing.TB) (*pebblemq.DB, *workqueue.Broker) {
	t.Helper()
	db := storetest.Open(t, nil)
	return db, openBroker(t, db)
}

func openBroker(t testing.TB, db *pebblemq.DB) *workqueue.Broker {
	t.Helper()
	b, err := workqueue.OpenBroker(bg, db, "main")
	require.NoError(t, err)
	return b
}

func declare(t testing.TB, b *workqueue.Broker, queues ...string) {
	t.Helper()
	for _, q := range queues {
		declareQueue(t, b, q, nil)
	}
}

func body(s string) workqueue.Message { return workqueue.Message{Body: []byte(s)} }

func ready(t testing.TB, b *workqueue.Broker, queue string) int {
	t.Helper()
	st, err := queueOf(t, b, queue).Stats(bg)
	require.NoError(t, err)
	return int(st.Ready)
}

func TestRouting(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat("*.", 26), ".")
	letters := "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z"
	for _, c := range []struct {
		kind     workqueue.ExchangeKind
		bindings []string
		key      string
		matches  []int // of bindings
	}{
		{workqueue.Direct, []string{"a", "b", ""}, "a", []int{0}},
		{workqueue.Direct, []string{"a", "b", ""}, "", []int{2}},
		{workqueue.Direct, []string{"#", "*"}, "a", nil},
		{workqueue.Fanout, []string{"a", "b"}, "whatever", []int{0, 1}},

		{workqueue.Topic, []string{"#.c", "#.b.c", "a.#.d", "#.*.#"}, "a.b.c", []int{0, 1, 3}},
		{workqueue.Topic, []string{"a.#.d"}, "a.d", []int{0}},
		{workqueue.Topic, []string{"a.#.d"}, "a.b.c.d", []int{0}},
		{workqueue.Topic, []string{"", "#", "#.#", "*", "#.*.#"}, "", []int{0, 1, 2}},
		{workqueue.Topic, []string{".#", ".*.a.b.c", ".*"}, ".0.a.b.c", []int{0, 1}},
		{workqueue.Topic, []string{"*", "*.*"}, ".", []int{1}},
		{workqueue.Topic, []string{"*", "#"}, "#", []int{0, 1}},
		{workqueue.Topic, []string{"#.a.#.a.#"}, "a.b.a", []int{0}},
		{workqueue.Topic, []string{"#.a.#.a.#"}, "a.b.c", nil},
		{workqueue.Topic, []string{long + ".#"}, letters, []int{0}},
		{workqueue.Topic, []string{strings.Repeat("#.", 100) + "z"}, letters, []int{0}},
		{workqueue.Topic, []string{strings.Repeat("#.", 100) + "nope"}, letters, nil},
	} {
		t.Run(fmt.Sprintf("%s %.30v on %.30q", c.kind, c.bindings, c.key), func(t *testing.T) {
			_, b := open(t)
			require.NoError(t, b.DeclareExchange(bg, "x", c.kind, nil))
			for i, key := range c.bindings {
				declare(t, b, fmt.Sprint("q", i))
				require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: fmt.Sprint("q", i), Key: key}))
			}
			require.NoError(t, b.Publish(bg, "x", c.key, body("m")))
			var got []int
			for i := range c.bindings {
				if ready(t, b, fmt.Sprint("q", i)) > 0 {
					got = append(got, i)
				}
			}
			require.Equal(t, c.matches, got)
		})
	}
}

func TestOneCopyHoweverManyBindingsMatch(t *testing.T) {
	_, b := open(t)
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Topic, nil))
	declare(t, b, "q")
	for _, key := range []string{"#", "a.*", "a.b", "a.b"} {
		require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: key}))
	}
	require.NoError(t, b.Publish(bg, "x", "a.b", body("m")))
	require.Equal(t, 1, ready(t, b, "q"))

	require.ErrorIs(t, b.Unbind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: "never bound"}), workqueue.ErrUnknownBinding)
	for _, key := range []string{"#", "a.*", "a.b"} {
		require.NoError(t, b.Unbind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: key}))
	}
	require.NoError(t, b.Publish(bg, "x", "a.b", body("m")))
	require.Equal(t, 1, ready(t, b, "q"))
}

func TestTheDefaultExchangeRoutesByQueueName(t *testing.T) {
	_, b := open(t)
	declare(t, b, "q")
	require.NoError(t, b.Publish(bg, "", "q", body("m")))
	require.Equal(t, 1, ready(t, b, "q"))
	require.ErrorIs(t, b.Bind(bg, workqueue.Binding{Exchange: "", Queue: "q", Key: "q"}), workqueue.ErrInUse)
}

func TestAnUnroutableMessage(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Direct, "x")
	require.NoError(t, b.Publish(bg, "x", "nowhere", body("m")))
	n := unrouted(t, b)
	require.EqualValues(t, 1, n)
	m := body("m")
	m.Mandatory = true
	require.ErrorIs(t, b.Publish(bg, "x", "nowhere", m), workqueue.ErrUnroutable)
}

func TestTheTopologyIsDurable(t *testing.T) {
	dir := t.TempDir()
	db, err := pebblemq.Open(dir, nil)
	require.NoError(t, err)
	b := openBroker(t, db)
	config := &workqueue.QueueConfig{DeliveryLimit: 3, DeadLetter: &workqueue.DeadLetter{Key: "dead"}}
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Topic, nil))
	declareQueue(t, b, "q", config)
	require.NoError(t, b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Key: "a.#"}))
	require.NoError(t, b.Publish(bg, "x", "a.b", body("m")))
	require.NoError(t, db.Close())

	db, err = pebblemq.Open(dir, nil)
	require.NoError(t, err)
	defer storetest.Close(t, db)
	b = openBroker(t, db)
	declareQueue(t, b, "q", config)
	require.ErrorIs(t, errOf(b.DeclareQueue(bg, "q", &workqueue.QueueConfig{})), pebblemq.ErrConfigMismatch)
	require.ErrorIs(t, b.DeclareExchange(bg, "x", workqueue.Direct, nil), pebblemq.ErrConfigMismatch)
	require.NoError(t, b.Publish(bg, "x", "a.c", body("m")))
	require.Equal(t, 2, ready(t, b, "q"))
	exchanges, err := b.Exchanges(bg)
	require.NoError(t, err)
	require.Len(t, exchanges, 1)
	require.Equal(t, "x", exchanges[0].Name)
	require.Equal(t, workqueue.Topic, exchanges[0].Kind)

	require.NoError(t, b.DeleteExchange(bg, "x"))
	require.ErrorIs(t, b.Publish(bg, "x", "a.b", body("m")), workqueue.ErrUnknownExchange)
	q := queueOf(t, b, "q")
	require.NoError(t, q.Delete(bg))
	require.ErrorIs(t, q.Delete(bg), workqueue.ErrQueueDeleted)
	require.ErrorIs(t, errOf(b.Queue(bg, "q")), workqueue.ErrUnknownQueue)
	names, err := b.Queues(bg)
	require.NoError(t, err)
	require.Empty(t, names)
	declare(t, b, "q")
	require.ErrorIs(t, errOf(q.Stats(bg)), workqueue.ErrQueueDeleted, "it is another one")
	require.Zero(t, ready(t, b, "q"), "a new queue of an old name is empty")
}
