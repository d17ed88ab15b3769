package workqueue_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/workqueue"
)

// An exchange some of whose bindings cannot be read would route a message to some of its
// places only. It refuses it, and the other exchanges go on.
func TestAnExchangeWhoseBindingsAreDamagedRefusesAlone(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	for _, name := range []string{"a", "b", "c", "leads to b"} {
		require.NoError(t, s.b.DeclareExchange(bg, name, workqueue.Direct, nil))
		for i := range 2000 {
			to := workqueue.Binding{Exchange: name, Key: fmt.Sprint("key", i), Queue: "q"}
			require.NoError(t, s.b.Bind(store.WithDurability(bg, store.NoSync), to))
		}
	}
	require.NoError(t, s.b.Bind(bg, workqueue.Binding{Exchange: "leads to b", Key: "k", ToExchange: "b"}))
	s.Damage(store.KindWorkBinding, 0.4)

	ok := func(exchange string) { require.NoError(t, s.b.Publish(bg, exchange, "key7", body("x")), exchange) }
	refused := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, pebblemq.ErrCorrupt)
		require.ErrorContains(t, err, `bindings of exchange "b"`)
		require.ErrorContains(t, err, ".sst")
	}
	ok("a")
	ok("c")
	ok("leads to b")
	require.NoError(t, s.b.Publish(bg, "", "q", body("x")))
	ids, _ := s.drain()
	require.Len(t, ids, 4)
	refused(s.b.Publish(bg, "b", "key7", body("x")))
	refused(s.b.Publish(bg, "leads to b", "k", body("x")))
	refused(s.b.Bind(bg, workqueue.Binding{Exchange: "b", Key: "new", Queue: "q"}))
	refused(s.b.Unbind(bg, workqueue.Binding{Exchange: "b", Key: "key7", Queue: "q"}))
	_, err := s.b.Bindings(bg)
	refused(err)
	_, err = s.b.Export(bg)
	refused(err)
	info, err := s.b.Exchange(bg, "b")
	require.NoError(t, err)
	refused(info.Err)
	require.Len(t, s.Log.Lines("exchange=b "), 1)

	s.Repair()
	ok("b")
	list, err := s.b.Bindings(bg)
	require.NoError(t, err)
	require.Len(t, list, 8001, "nothing was deleted")
}

// Deleted and declared again, it has no bindings at all: those that could not be read
// do not come back.
func TestADamagedExchangeIsDeletedWithWhatCannotBeRead(t *testing.T) {
	s := newShop(t)
	declare(t, s.b, "q")
	require.NoError(t, s.b.DeclareExchange(bg, "b", workqueue.Direct, nil))
	for i := range 2000 {
		to := workqueue.Binding{Exchange: "b", Key: fmt.Sprint("key", i), Queue: "q"}
		require.NoError(t, s.b.Bind(store.WithDurability(bg, store.NoSync), to))
	}
	s.Damage(store.KindWorkBinding, 0.5)
	require.ErrorIs(t, s.b.Publish(bg, "b", "key7", body("x")), pebblemq.ErrCorrupt)
	require.NoError(t, s.b.DeleteExchange(bg, "b"))
	require.NoError(t, s.b.DeclareExchange(bg, "b", workqueue.Direct, nil))
	require.NoError(t, s.b.Bind(bg, workqueue.Binding{Exchange: "b", Key: "key7", Queue: "q"}))
	s.restart()
	list, err := s.b.Bindings(bg)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, s.b.Publish(bg, "b", "key7", body("x")))
}
