package workqueue_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/storetest"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func exchange(t testing.TB, b *workqueue.Broker, kind workqueue.ExchangeKind, names ...string) {
	t.Helper()
	for _, name := range names {
		require.NoError(t, b.DeclareExchange(bg, name, kind, nil))
	}
}

func bind(t testing.TB, b *workqueue.Broker, bindings ...workqueue.Binding) {
	t.Helper()
	for _, to := range bindings {
		require.NoError(t, b.Bind(bg, to))
	}
}

func bindings(t require.TestingT, b *workqueue.Broker) []workqueue.Binding {
	list, err := b.Bindings(bg)
	require.NoError(t, err)
	return list
}

// restart closes a store and opens it again.
func restart(t *testing.T, fs *vfs.MemFS, db *pebblemq.DB) (*pebblemq.DB, *workqueue.Broker) {
	t.Helper()
	if db != nil {
		require.NoError(t, db.Close())
	}
	db, err := storetest.OpenFS(fs, store.Options{})
	require.NoError(t, err)
	return db, openBroker(t, db)
}

func TestABindingIsItsExchangeDestinationKeyAndArguments(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	exchange(t, b, workqueue.Direct, "x", "y")
	declare(t, b, "q", "r")
	all := []workqueue.Binding{
		{Exchange: "x", Queue: "q", Key: "k"},
		{Exchange: "x", Queue: "q", Key: "k", Arguments: workqueue.Arguments{"a": "1"}},
		{Exchange: "x", Queue: "q", Key: "k", Arguments: workqueue.Arguments{"a": "1", "b": nil}},
		{Exchange: "x", Queue: "q", Key: "k", Arguments: workqueue.Arguments{"a": "2"}},
		{Exchange: "x", Queue: "q", Key: "l"},
		{Exchange: "x", Queue: "r", Key: "k"},
		{Exchange: "y", ToExchange: "x", Key: "k"},
		{Exchange: "y", Queue: "q", Key: "k"},
	}
	bind(t, b, all...)
	bind(t, b, all...) // repeated is a no-op
	require.ElementsMatch(t, all, bindings(t, b))
	db, b = restart(t, fs, db)
	require.ElementsMatch(t, all, bindings(t, b))
	for i, gone := range all {
		require.NoError(t, b.Unbind(bg, gone))
		require.ErrorIs(t, b.Unbind(bg, gone), workqueue.ErrUnknownBinding)
		require.ElementsMatch(t, all[i+1:], bindings(t, b))
	}
	db, b = restart(t, fs, db)
	require.Empty(t, bindings(t, b))
	require.NoError(t, db.Close())
}

func TestArgumentsOfABindingAreTextsOrNil(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Headers, "x")
	declare(t, b, "q")
	try := func(a workqueue.Arguments) error {
		return b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "q", Arguments: a})
	}
	for _, value := range []any{1, int64(1), 1.5, true, []byte("v"), map[string]any{}, struct{}{}} {
		require.ErrorIs(t, try(workqueue.Arguments{"a": value}), pebblemq.ErrInvalid, "%T", value)
	}
	require.ErrorContains(t, try(workqueue.Arguments{"a": 1}), `argument "a" is a int`)
	require.ErrorIs(t, try(workqueue.Arguments{"": "v"}), pebblemq.ErrInvalid)
	require.ErrorIs(t, try(workqueue.Arguments{"\xff": "v"}), pebblemq.ErrInvalid)

	many := workqueue.Arguments{}
	for i := range workqueue.MaxArguments {
		many[fmt.Sprint(i)] = nil
	}
	require.NoError(t, try(many))
	many["one more"] = nil
	require.ErrorIs(t, try(many), pebblemq.ErrTooLarge)
	long := strings.Repeat("v", workqueue.MaxArgumentBytes-1)
	require.NoError(t, try(workqueue.Arguments{"a": long}))
	require.ErrorIs(t, try(workqueue.Arguments{"ab": long}), pebblemq.ErrTooLarge)
}

func TestExchangesLeadToExchanges(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Topic, "in", "orders", "users")
	declare(t, b, "q", "r", "all")
	bind(t, b,
		workqueue.Binding{Exchange: "in", Key: "order.#", ToExchange: "orders"},
		workqueue.Binding{Exchange: "in", Key: "#.eu", ToExchange: "orders"}, // both match: still once
		workqueue.Binding{Exchange: "in", Key: "user.#", ToExchange: "users"},
		workqueue.Binding{Exchange: "in", Key: "#", Queue: "all"},
		workqueue.Binding{Exchange: "orders", Key: "#.paid.#", Queue: "q"},
		workqueue.Binding{Exchange: "orders", Key: "order.*.eu", Queue: "q"},
		workqueue.Binding{Exchange: "orders", Key: "#", Queue: "all"}, // by both ways: one copy
		workqueue.Binding{Exchange: "users", Key: "#", Queue: "r"},
	)
	require.NoError(t, b.Publish(bg, "in", "order.paid.eu", body("m")))
	require.Equal(t, []int{1, 0, 1}, []int{ready(t, b, "q"), ready(t, b, "r"), ready(t, b, "all")})
	require.NoError(t, b.Publish(bg, "in", "user.new", body("m")))
	require.Equal(t, []int{1, 1, 2}, []int{ready(t, b, "q"), ready(t, b, "r"), ready(t, b, "all")})

	m := body("m")
	m.Mandatory = true
	require.NoError(t, b.Unbind(bg, workqueue.Binding{Exchange: "in", Key: "#", Queue: "all"}))
	require.NoError(t, b.DeleteExchange(bg, "users"))
	require.ErrorIs(t, b.Publish(bg, "in", "user.new", m), workqueue.ErrUnroutable)
}

func TestCyclesOfExchangesAreCut(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Fanout, "a", "b", "c")
	declare(t, b, "q")
	bind(t, b,
		workqueue.Binding{Exchange: "a", ToExchange: "a"},
		workqueue.Binding{Exchange: "a", ToExchange: "b"},
		workqueue.Binding{Exchange: "b", ToExchange: "c"},
		workqueue.Binding{Exchange: "c", ToExchange: "a"},
		workqueue.Binding{Exchange: "c", Queue: "q"},
	)
	for i, name := range []string{"a", "b", "c"} {
		require.NoError(t, b.Publish(bg, name, "", body("m")))
		require.Equal(t, i+1, ready(t, b, "q"))
	}
}

func TestAMissingEndOfABindingIsAnError(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Direct, "x")
	declare(t, b, "q")
	require.ErrorIs(t, b.Bind(bg, workqueue.Binding{Exchange: "x", ToExchange: "none"}), workqueue.ErrUnknownExchange)
	require.ErrorIs(t, b.Bind(bg, workqueue.Binding{Exchange: "none", ToExchange: "x"}), workqueue.ErrUnknownExchange)
	require.ErrorIs(t, b.Bind(bg, workqueue.Binding{Exchange: "x", Queue: "none"}), workqueue.ErrUnknownQueue)
	require.ErrorIs(t, b.Bind(bg, workqueue.Binding{Exchange: "x", Topic: "none"}), workqueue.ErrUnknownDestination)
	require.Empty(t, bindings(t, b))
	require.ErrorIs(t, b.Unbind(bg, workqueue.Binding{Exchange: "none", Queue: "none"}), workqueue.ErrUnknownExchange)
}

func TestBindingsGoWithEitherEnd(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db, b := restart(t, fs, nil)
	exchange(t, b, workqueue.Fanout, "a", "b", "c")
	declare(t, b, "q")
	bind(t, b,
		workqueue.Binding{Exchange: "a", ToExchange: "b"},
		workqueue.Binding{Exchange: "b", ToExchange: "b"},
		workqueue.Binding{Exchange: "b", ToExchange: "c"},
		workqueue.Binding{Exchange: "b", Queue: "q"},
		workqueue.Binding{Exchange: "c", Queue: "q"},
	)
	require.NoError(t, b.DeleteExchange(bg, "b"))
	left := []workqueue.Binding{{Exchange: "c", Queue: "q"}}
	require.Equal(t, left, bindings(t, b))
	exchange(t, b, workqueue.Fanout, "b")
	require.Equal(t, left, bindings(t, b), "a new exchange of an old name has none")
	db, b = restart(t, fs, db)
	require.Equal(t, left, bindings(t, b))
	require.NoError(t, queueOf(t, b, "q").Delete(bg))
	require.Empty(t, bindings(t, b))
	require.NoError(t, db.Close())
}
