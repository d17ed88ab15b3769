package workqueue

import (
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
)

// argMatch is the argument that says how the others are compared.
const argMatch = "x-match"

// mode is how a binding of a headers exchange is meant.
type mode struct {
	some bool // one pair is enough
	x    bool // names that begin with x- count too
}

var modes = map[string]mode{
	"all": {}, "any": {some: true}, "all-with-x": {x: true}, "any-with-x": {some: true, x: true},
}

// conditions returns what a binding asks of the headers of a message.
func conditions(b binding) (pairs []argument, some bool, err error) {
	if pairs, err = decodeArguments(b.arguments); err != nil {
		return nil, false, err
	}
	m := modes["all"]
	for _, a := range pairs {
		if a.name != argMatch {
			continue
		}
		var known bool
		if m, known = modes[a.value]; a.null || !known {
			return nil, false, store.Invalid("binding argument x-match %q is none of all, any, all-with-x, any-with-x", a.value)
		}
	}
	return slices.DeleteFunc(pairs, func(a argument) bool {
		return a.name == argMatch || !m.x && strings.HasPrefix(a.name, "x-")
	}), m.some, nil
}

// headers holds the bindings of a headers exchange.
//
// A publish must not ask each of a thousand bindings. Those that need any of
// their pairs are found under every pair. Those that need all are kept once for
// each set of arguments, and a set is found under the one of its pairs that the
// fewest other sets are found under: a type that all bindings ask for says
// little, the name of a customer nearly everything. So a message costs two
// look-ups for each of its headers, and a closer look at the sets found there.
type headers struct {
	some   map[argument]*ends
	sets   map[string]*set // by encoded arguments
	all    map[argument][]*set
	always ends
}

// set is the bindings that need all of the same pairs.
type set struct {
	pairs []argument
	under argument // in headers.all
	leads ends
}

func newHeaders(ExchangeConfig) matcher {
	return &headers{some: make(map[argument]*ends), sets: make(map[string]*set), all: make(map[argument][]*set)}
}

func (h *headers) check(b binding) error {
	_, _, err := conditions(b)
	return err
}

func (h *headers) add(b binding, to *end, _ uint64) {
	pairs, some, _ := conditions(b) // was checked
	switch {
	case some:
		for _, p := range pairs {
			if h.some[p] == nil {
				h.some[p] = new(ends)
			}
			h.some[p].add(to)
		}
	case len(pairs) == 0:
		h.always.add(to)
	default:
		h.set(b.arguments, pairs).leads.add(to)
	}
}

func (h *headers) set(arguments string, pairs []argument) *set {
	if s := h.sets[arguments]; s != nil {
		return s
	}
	s := &set{pairs: pairs, under: pairs[0]}
	for _, p := range pairs {
		if len(h.all[p]) < len(h.all[s.under]) {
			s.under = p
		}
	}
	h.sets[arguments] = s
	h.all[s.under] = append(h.all[s.under], s)
	return s
}

func (h *headers) remove(b binding, to *end, _ uint64) {
	pairs, some, _ := conditions(b)
	switch {
	case some:
		for _, p := range pairs {
			if h.some[p].remove(to); len(h.some[p].list) == 0 {
				delete(h.some, p)
			}
		}
	case len(pairs) == 0:
		h.always.remove(to)
	default:
		s := h.sets[b.arguments]
		if s.leads.remove(to); len(s.leads.list) == 0 {
			h.drop(b.arguments, s)
		}
	}
}

func (h *headers) drop(arguments string, s *set) {
	delete(h.sets, arguments)
	h.all[s.under] = slices.DeleteFunc(h.all[s.under], func(other *set) bool { return other == s })
	if len(h.all[s.under]) == 0 {
		delete(h.all, s.under)
	}
}

func (h *headers) match(a *address, w *walk) {
	w.reachAll(&h.always)
	for name, value := range a.m.Headers {
		h.matchPair(argument{name: name, value: value}, a, w)
		h.matchPair(argument{name: name, null: true}, a, w)
	}
}

func (h *headers) matchPair(p argument, a *address, w *walk) {
	w.reachAll(h.some[p])
	for _, s := range h.all[p] {
		if s.holds(a.m.Headers) {
			w.reachAll(&s.leads)
		}
	}
}

func (s *set) holds(headers map[string]string) bool {
	for _, p := range s.pairs {
		if value, present := headers[p.name]; !present || !p.null && value != p.value {
			return false
		}
	}
	return true
}
