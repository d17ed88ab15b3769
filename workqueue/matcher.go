package workqueue

// matcher holds the bindings of an exchange so that those that match a message
// are found without asking each of them.
type matcher interface {
	// check refuses a binding that means nothing here.
	check(b binding) error
	// add takes a binding. Numbers grow as bindings are made.
	add(b binding, to *end, number uint64)
	remove(b binding, to *end, number uint64)
	// match hands every destination that a message leads to over to the walk,
	// perhaps repeatedly.
	match(a *address, w *walk)
}

// matchers makes one for each kind of exchange.
var matchers = map[ExchangeKind]func(ExchangeConfig) matcher{
	Direct:  func(ExchangeConfig) matcher { return direct{} },
	Fanout:  func(ExchangeConfig) matcher { return new(fanout) },
	Topic:   func(ExchangeConfig) matcher { return new(trie) },
	Headers: newHeaders,
	Hash:    newRing,
	Random:  func(ExchangeConfig) matcher { return new(random) },
}

var kinds = []string{string(Direct), string(Fanout), string(Topic), string(Headers), string(Hash), string(Random)}

// direct holds bindings by their keys.
type direct map[string]*ends

func (direct) check(binding) error { return nil }

func (d direct) add(b binding, to *end, _ uint64) {
	if d[b.key] == nil {
		d[b.key] = new(ends)
	}
	d[b.key].add(to)
}

func (d direct) remove(b binding, to *end, _ uint64) {
	if d[b.key].remove(to); len(d[b.key].list) == 0 {
		delete(d, b.key)
	}
}

func (d direct) match(a *address, w *walk) {
	w.reachAll(d[a.key])
	for _, key := range a.more {
		w.reachAll(d[key])
	}
}

// fanout holds bindings whatever they say.
type fanout struct{ ends }

func (*fanout) check(binding) error                   { return nil }
func (f *fanout) add(_ binding, to *end, _ uint64)    { f.ends.add(to) }
func (f *fanout) remove(_ binding, to *end, _ uint64) { f.ends.remove(to) }
func (f *fanout) match(_ *address, w *walk)           { w.reachAll(&f.ends) }
