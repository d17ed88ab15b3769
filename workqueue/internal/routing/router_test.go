package routing

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// broker is a router whose exchanges and places have names.
type broker struct {
	Router
	exchanges map[string]*Exchange
	places    map[string]*Place
	numbered  uint64
}

func newBroker() *broker {
	return &broker{exchanges: make(map[string]*Exchange), places: make(map[string]*Place)}
}

func (b *broker) declare(name, kind, alternate string) {
	e := NewExchange(kind, Config{})
	e.Alternate = alternate
	b.exchanges[name] = e
}

func (b *broker) find(name string) *Exchange { return b.exchanges[name] }

// place returns a place by its name: an exchange, or else something of the caller's.
func (b *broker) place(name string) *Place {
	if b.places[name] == nil {
		b.places[name] = &Place{Name: name, Exchange: b.exchanges[name]}
	}
	return b.places[name]
}

func (b *broker) bind(exchange, key, to string, arguments ...Argument) {
	b.numbered++
	b.exchanges[exchange].Add(Binding{key, arguments}, b.place(to), b.numbered)
}

// route returns the names of the places that a message is routed to.
func (b *broker) route(t require.TestingT, exchange string, m Message) (names []string) {
	found, err := b.Route(b.exchanges[exchange], &m, b.find)
	require.NoError(t, err)
	for _, p := range found {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

func TestWhereAMessageGoes(t *testing.T) {
	pair := func(name, value string) Argument { return Argument{Name: name, Value: value} }
	b := newBroker()
	for _, e := range [][3]string{
		{"direct", Direct, "fanout"}, {"fanout", Fanout, ""}, {"topic", Topic, "lost"}, {"headers", Headers, ""},
		{"ring1", Fanout, ""}, {"ring2", Fanout, ""}, {"lonely", Direct, "lonely"}, {"to ring", Direct, "ring1"},
	} {
		b.declare(e[0], e[1], e[2])
	}
	b.bind("direct", "a", "qa")
	b.bind("direct", "a", "qb")
	b.bind("direct", "b", "qb")
	b.bind("direct", "x", "topic")
	b.bind("fanout", "whatever", "qf")
	b.bind("topic", "*.new", "new")
	b.bind("topic", "order.#", "orders")
	b.bind("headers", "", "all", pair("kind", "a"), pair("size", "1"))
	b.bind("headers", "", "any", pair("kind", "a"), pair("size", "1"), pair("x-match", "any"))
	b.bind("headers", "", "there", Argument{Name: "size", Null: true})
	b.bind("headers", "", "always")
	b.bind("ring1", "", "ring2")
	b.bind("ring1", "", "q1")
	b.bind("ring2", "", "ring1")
	b.bind("ring2", "", "q1")
	b.bind("ring2", "", "q2")
	for _, c := range []struct {
		name, exchange string
		m              Message
		to             string
	}{
		{"to all bindings of its key", "direct", Message{Key: "a"}, "qa qb"},
		{"to a place once, also if several keys lead there", "direct", Message{Key: "a", More: []string{"b"}}, "qa qb"},
		{"to the alternate if no binding matches", "direct", Message{Key: "none"}, "qf"},
		{"nowhere if the alternate is not there", "topic", Message{Key: "none"}, ""},
		{"nowhere if the alternate is the exchange itself", "lonely", Message{Key: "none"}, ""},
		{"on from an exchange that is bound, with its key", "direct", Message{Key: "x"}, ""},
		{"not to the alternate of the first if a further exchange matches nothing", "direct", Message{Key: "x", More: []string{"order.new"}}, "new orders"},
		{"to each pattern once", "topic", Message{Key: "order.new"}, "new orders"},
		{"by its headers", "headers", Message{Headers: map[string]string{"kind": "a", "size": "1"}}, "all always any there"},
		{"by some of its headers", "headers", Message{Headers: map[string]string{"kind": "a", "size": "2"}}, "always any there"},
		{"by none of its headers", "headers", Message{}, "always"},
		{"once through each exchange of a circle", "ring1", Message{}, "q1 q2"},
		{"through an alternate into a circle", "to ring", Message{Key: "none"}, "q1 q2"},
	} {
		require.Equal(t, strings.Fields(c.to), append([]string{}, b.route(t, c.exchange, c.m)...), c.name)
	}
}

func TestADamagedExchangeOnTheWayRefusesTheMessage(t *testing.T) {
	b := newBroker()
	b.declare("first", Fanout, "")
	b.declare("second", Fanout, "")
	b.bind("first", "", "q")
	b.bind("first", "", "second")
	b.exchanges["second"].Damage = fmt.Errorf("unreadable")
	_, err := b.Route(b.exchanges["first"], &Message{}, b.find)
	require.ErrorContains(t, err, "unreadable")
}

func TestADroppedExchangeIsNoAlternate(t *testing.T) {
	b := newBroker()
	b.declare("first", Direct, "second")
	b.declare("second", Fanout, "")
	b.bind("second", "", "q")
	require.Equal(t, []string{"q"}, b.route(t, "first", Message{}))
	delete(b.exchanges, "second")
	require.Empty(t, b.route(t, "first", Message{}))
}

func TestNamedFindsEachPlaceOnce(t *testing.T) {
	b := newBroker()
	a, c := b.place("a"), b.place("c")
	found := b.Named(&Message{Key: "a", More: []string{"c", "none", "a"}}, func(key string) *Place { return b.places[key] })
	require.Equal(t, []*Place{a, c}, found)
}

func TestWhatMeansNothingIsRefused(t *testing.T) {
	for _, c := range []struct {
		kind, key string
		arguments []Argument
		says      string
	}{
		{Hash, "0", nil, "weight"}, {Hash, "01", nil, "weight"}, {Hash, "101", nil, "weight"}, {Hash, "", nil, "weight"},
		{Topic, "a*", nil, "whole words"},
		{Headers, "", []Argument{{Name: "x-match", Value: "some"}}, "x-match"}, {Headers, "", []Argument{{Name: "x-match", Null: true}}, "x-match"},
	} {
		require.ErrorContains(t, NewExchange(c.kind, Config{}).Check(Binding{c.key, c.arguments}), c.says)
	}
	require.Nil(t, NewExchange("other", Config{}))
	require.False(t, Known("other"))
}

// What was added and removed leaves nothing, and what is left routes as if the rest had never been.
func TestBindingsThatAreRemovedLeaveNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{Direct, Fanout, Topic, Headers, Hash}).Draw(t, "kind")
		type bound struct {
			b      Binding
			to     string
			number uint64
		}
		var list []bound
		keys := []string{"a", "b.c", "*", "b.#"}
		if kind == Hash {
			keys = []string{"1", "2"}
		}
		all := newBroker()
		all.declare("x", kind, "")
		for range rapid.IntRange(0, 30).Draw(t, "bindings") {
			x := bound{b: Binding{Key: rapid.SampledFrom(keys).Draw(t, "key")}, to: fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "to")), number: uint64(len(list) + 1)}
			if rapid.Bool().Draw(t, "with an argument") {
				x.b.Arguments = []Argument{{Name: "h", Value: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")}}
			}
			if slices.ContainsFunc(list, func(o bound) bool { return o.to == x.to && o.b.Key == x.b.Key && o.b.identity() == x.b.identity() }) {
				continue
			}
			list = append(list, x)
			all.exchanges["x"].Add(x.b, all.place(x.to), x.number)
		}
		some := newBroker()
		some.declare("x", kind, "")
		for _, x := range list {
			if rapid.Bool().Draw(t, "removed") {
				all.exchanges["x"].Remove(x.b, all.place(x.to), x.number)
			} else {
				some.exchanges["x"].Add(x.b, some.place(x.to), x.number)
			}
		}
		for _, m := range []Message{{Key: "a"}, {Key: "b.c"}, {Key: "c"}, {Headers: map[string]string{"h": "1"}}, {}} {
			require.Equal(t, some.route(t, "x", m), all.route(t, "x", m))
		}
	})
}
