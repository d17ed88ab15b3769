package routing

import "slices"

// The kinds of exchanges.
const (
	Direct  = "direct"
	Fanout  = "fanout"
	Topic   = "topic"
	Headers = "headers"
	Hash    = "hash"
	Random  = "random"
)

// Kinds are all of them.
var Kinds = []string{Direct, Fanout, Topic, Headers, Hash, Random}

// Known reports that there is such a kind.
func Known(kind string) bool { return slices.Contains(Kinds, kind) }

// matcher holds the bindings of an exchange so that those that match a message are found without
// asking each of them.
type matcher interface {
	// check refuses a binding that means nothing here.
	check(b Binding) error
	// add takes a binding. Numbers grow as bindings are made.
	add(b Binding, to *Place, number uint64)
	remove(b Binding, to *Place, number uint64)
	// match hands every place that a message leads to over to the router, perhaps repeatedly.
	match(m *Message, r *Router)
}

// matchers makes one for each kind of exchange.
var matchers = map[string]func(Config) matcher{
	Direct:  func(Config) matcher { return direct{} },
	Fanout:  func(Config) matcher { return new(fanout) },
	Topic:   func(Config) matcher { return new(trie) },
	Headers: newHeaders,
	Hash:    newRing,
	Random:  func(Config) matcher { return new(random) },
}
