package workqueue_test

import (
	"errors"
	"testing"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/workqueue"
	"github.com/stretchr/testify/require"
)

func alternating(t testing.TB, b *workqueue.Broker, kind workqueue.ExchangeKind, name, alternate string) {
	t.Helper()
	err := b.DeclareExchange(bg, name, kind, &workqueue.ExchangeConfig{Alternate: alternate})
	if errors.Is(err, workqueue.ErrUnknownExchange) { // it need be there now only
		exchange(t, b, workqueue.Fanout, alternate)
		err = b.DeclareExchange(bg, name, kind, &workqueue.ExchangeConfig{Alternate: alternate})
		require.NoError(t, b.DeleteExchange(bg, alternate))
	}
	require.NoError(t, err)
}

func TestAnAlternateExchangeGetsWhatNothingMatches(t *testing.T) {
	_, b := open(t)
	alternating(t, b, workqueue.Direct, "x", "spare")
	exchange(t, b, workqueue.Fanout, "spare")
	declare(t, b, "q", "lost")
	bind(t, b,
		workqueue.Binding{Exchange: "x", Key: "k", Queue: "q"},
		workqueue.Binding{Exchange: "spare", Queue: "lost"},
	)
	m := body("m")
	m.Mandatory = true
	require.NoError(t, b.Publish(bg, "x", "k", m))
	require.Equal(t, []int{1, 0}, []int{ready(t, b, "q"), ready(t, b, "lost")})
	require.NoError(t, b.Publish(bg, "x", "other", m), "counts as routed")
	require.Equal(t, []int{1, 1}, []int{ready(t, b, "q"), ready(t, b, "lost")})

	require.NoError(t, b.DeleteExchange(bg, "spare"))
	require.ErrorIs(t, b.Publish(bg, "x", "other", m), workqueue.ErrUnroutable)
}

func TestAlternateExchangesChain(t *testing.T) {
	_, b := open(t)
	alternating(t, b, workqueue.Direct, "1", "2")
	alternating(t, b, workqueue.Direct, "2", "3")
	alternating(t, b, workqueue.Direct, "3", "1")
	declare(t, b, "q")
	m := body("m")
	m.Mandatory = true
	require.ErrorIs(t, b.Publish(bg, "1", "k", m), workqueue.ErrUnroutable, "the chain ends where it began")
	bind(t, b, workqueue.Binding{Exchange: "3", Key: "k", Queue: "q"})
	require.NoError(t, b.Publish(bg, "1", "k", m))
	require.NoError(t, b.Publish(bg, "2", "k", m))
	require.Equal(t, 2, ready(t, b, "q"))
}

// An exchange that leads to another has matched, whatever that makes of it.
func TestTheMatchOfAnExchangeIsItsOwn(t *testing.T) {
	_, b := open(t)
	alternating(t, b, workqueue.Fanout, "x", "spare")
	alternating(t, b, workqueue.Direct, "inner", "inner spare")
	exchange(t, b, workqueue.Fanout, "spare", "inner spare")
	declare(t, b, "lost", "inner lost")
	bind(t, b,
		workqueue.Binding{Exchange: "x", ToExchange: "inner"},
		workqueue.Binding{Exchange: "spare", Queue: "lost"},
		workqueue.Binding{Exchange: "inner spare", Queue: "inner lost"},
	)
	require.NoError(t, b.Publish(bg, "x", "", body("m")))
	require.Equal(t, []int{0, 1}, []int{ready(t, b, "lost"), ready(t, b, "inner lost")})
}

func TestAnExchangeOfAnotherConfiguration(t *testing.T) {
	_, b := open(t)
	exchange(t, b, workqueue.Fanout, "a")
	config := &workqueue.ExchangeConfig{Alternate: "a"}
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Direct, config))
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Direct, config))
	require.NoError(t, b.DeclareExchange(bg, "x", workqueue.Direct, nil), "is as stored")
	for says, c := range map[string]*workqueue.ExchangeConfig{
		`Alternate "a", not ""`:    {},
		`Alternate "a", not "b"`:   {Alternate: "b"},
		`Internal false, not true`: {Alternate: "a", Internal: true},
	} {
		err := b.DeclareExchange(bg, "x", workqueue.Direct, c)
		require.ErrorIs(t, err, pebblemq.ErrConfigMismatch)
		require.ErrorContains(t, err, says)
	}
	require.ErrorIs(t, b.DeclareExchange(bg, "y", workqueue.Direct, &workqueue.ExchangeConfig{Alternate: "\x00"}), pebblemq.ErrInvalid)
}

func TestAnInternalExchangeIsNotPublishedTo(t *testing.T) {
	_, b := open(t)
	require.NoError(t, b.DeclareExchange(bg, "inside", workqueue.Fanout, &workqueue.ExchangeConfig{Internal: true}))
	exchange(t, b, workqueue.Fanout, "x")
	declare(t, b, "q")
	bind(t, b, workqueue.Binding{Exchange: "x", ToExchange: "inside"}, workqueue.Binding{Exchange: "inside", Queue: "q"})
	require.ErrorIs(t, b.Publish(bg, "inside", "", body("m")), workqueue.ErrInUse)
	require.NoError(t, b.Publish(bg, "x", "", body("m")))
	require.Equal(t, 1, ready(t, b, "q"))
}
