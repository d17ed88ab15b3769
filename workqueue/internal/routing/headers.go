package routing

import (
	"fmt"
	"slices"
	"strings"
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
func conditions(b Binding) (pairs []Argument, some bool, err error) {
	m := modes["all"]
	for _, a := range b.Arguments {
		if a.Name != argMatch {
			continue
		}
		var known bool
		if m, known = modes[a.Value]; a.Null || !known {
			return nil, false, fmt.Errorf("binding argument x-match %q is none of all, any, all-with-x, any-with-x", a.Value)
		}
	}
	return slices.DeleteFunc(slices.Clone(b.Arguments), func(a Argument) bool {
		return a.Name == argMatch || !m.x && strings.HasPrefix(a.Name, "x-")
	}), m.some, nil
}

// headers holds the bindings of a headers exchange.
//
// A publish must not ask each of a thousand bindings. Those that need any of
// their pairs are found under every pair. Those that need all are kept once for
// each set of arguments. A set is found under one of its pairs: the one that the
// fewest other sets are found under. A type that all bindings ask for says
// little, the name of a customer nearly everything. So a message costs two
// look-ups for each of its headers, and a closer look at the sets found there.
type headers struct {
	some   map[Argument]*places
	sets   map[string]*set // by the identity of their arguments
	all    map[Argument][]*set
	always places
}

// set is the bindings that need all of the same pairs.
type set struct {
	pairs []Argument
	under Argument // in headers.all
	leads places
}

func newHeaders(Config) matcher {
	return &headers{some: make(map[Argument]*places), sets: make(map[string]*set), all: make(map[Argument][]*set)}
}

func (h *headers) check(b Binding) error {
	_, _, err := conditions(b)
	return err
}

func (h *headers) add(b Binding, to *Place, _ uint64) {
	pairs, some, _ := conditions(b) // was checked
	switch {
	case some:
		for _, p := range pairs {
			if h.some[p] == nil {
				h.some[p] = new(places)
			}
			h.some[p].add(to)
		}
	case len(pairs) == 0:
		h.always.add(to)
	default:
		h.set(b.identity(), pairs).leads.add(to)
	}
}

func (h *headers) set(identity string, pairs []Argument) *set {
	if s := h.sets[identity]; s != nil {
		return s
	}
	s := &set{pairs: pairs, under: pairs[0]}
	for _, p := range pairs {
		if len(h.all[p]) < len(h.all[s.under]) {
			s.under = p
		}
	}
	h.sets[identity] = s
	h.all[s.under] = append(h.all[s.under], s)
	return s
}

func (h *headers) remove(b Binding, to *Place, _ uint64) {
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
		identity := b.identity()
		s := h.sets[identity]
		if s.leads.remove(to); len(s.leads.list) == 0 {
			h.drop(identity, s)
		}
	}
}

func (h *headers) drop(identity string, s *set) {
	delete(h.sets, identity)
	h.all[s.under] = slices.DeleteFunc(h.all[s.under], func(other *set) bool { return other == s })
	if len(h.all[s.under]) == 0 {
		delete(h.all, s.under)
	}
}

func (h *headers) match(m *Message, r *Router) {
	r.reachAll(&h.always)
	for name, value := range m.Headers {
		h.matchPair(Argument{Name: name, Value: value}, m, r)
		h.matchPair(Argument{Name: name, Null: true}, m, r)
	}
}

func (h *headers) matchPair(p Argument, m *Message, r *Router) {
	r.reachAll(h.some[p])
	for _, s := range h.all[p] {
		if s.holds(m.Headers) {
			r.reachAll(&s.leads)
		}
	}
}

func (s *set) holds(headers map[string]string) bool {
	for _, p := range s.pairs {
		if value, present := headers[p.Name]; !present || !p.Null && value != p.Value {
			return false
		}
	}
	return true
}
