package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq/workqueue"
)

// wexchange is what is known of an exchange.
type wexchange struct {
	name   string
	kind   workqueue.ExchangeKind
	config workqueue.ExchangeConfig
	unsure bool // it may be deleted
}

// wbinding is what is known of a binding.
type wbinding struct {
	fate
	exchange  string
	target    string // a queue or an exchange
	key       string
	arguments map[string]string

	calls, under int // that change it
}

func (b *wbinding) same(o *wbinding) bool {
	return b.exchange == o.exchange && b.target == o.target && b.key == o.key && maps.Equal(b.arguments, o.arguments)
}

// route is where a message goes: to a queue for sure or perhaps, and to one of those of each choice.
type route struct {
	queues  map[*wqueue]bool // true is for sure
	choices [][]*wqueue
	blurred bool // a choice depends on what is not known
}

// empty reports that a message goes nowhere: for sure, or perhaps.
func (r *route) surelyEmpty() bool { return len(r.queues) == 0 && len(r.choices) == 0 }

func (r *route) maybeEmpty() bool {
	for _, sure := range r.queues {
		if sure {
			return false
		}
	}
	return len(r.choices) == 0 || r.blurred
}

// router finds the way of one message.
type router struct {
	p    *workqueuePart
	m    *wmessage
	keys []string
	seen map[string]bool
	route
}

// routeOf returns where a message goes that is published to an exchange with some keys.
func (p *workqueuePart) routeOf(m *wmessage, exchange string, keys []string) *route {
	r := &router{p: p, m: m, keys: keys, seen: make(map[string]bool), route: route{queues: make(map[*wqueue]bool)}}
	if exchange == "" {
		for _, key := range keys {
			if q := p.queueNamed(key); q != nil {
				r.add(q, q.fate == here)
			}
		}
		return &r.route
	}
	r.visit(exchange, true)
	return &r.route
}

func (r *router) add(q *wqueue, sure bool) { r.queues[q] = r.queues[q] || sure && q.fate == here }

// visit routes through an exchange, and through its alternate if nothing matches.
func (r *router) visit(name string, sure bool) {
	x := r.p.exchangeNamed(name)
	if x == nil || r.seen[name] {
		return
	}
	sure = sure && !x.unsure
	r.seen[name] = true
	var certain, possible []*wbinding
	for _, b := range r.p.bindings {
		if b.exchange != name || !b.mayBeHere || !r.matches(x, b) {
			continue
		}
		if possible = append(possible, b); !b.mayBeGone {
			certain = append(certain, b)
		}
	}
	switch {
	case x.kind == workqueue.Hash || x.kind == workqueue.Random:
		r.choose(possible, sure && len(certain) == len(possible))
	default:
		for _, b := range possible {
			r.follow(b, sure && !b.mayBeGone)
		}
	}
	if len(certain) == 0 && x.config.Alternate != "" {
		r.visit(x.config.Alternate, sure && len(possible) == 0)
	}
}

func (r *router) follow(b *wbinding, sure bool) {
	if q := r.p.queueNamed(b.target); q != nil {
		r.add(q, sure)
		return
	}
	r.visit(b.target, sure)
}

// choose notes that one of several bindings is taken. They all lead to queues.
func (r *router) choose(bindings []*wbinding, sure bool) {
	var list []*wqueue
	for _, b := range bindings {
		if q := r.p.queueNamed(b.target); q != nil && !slices.Contains(list, q) {
			list = append(list, q)
		}
	}
	if len(list) == 1 {
		r.add(list[0], sure)
		return
	}
	if len(list) > 1 {
		r.choices = append(r.choices, list)
		r.blurred = r.blurred || !sure
	}
}

// matches compares a message with a binding.
func (r *router) matches(x *wexchange, b *wbinding) bool {
	switch x.kind {
	case workqueue.Direct:
		return slices.Contains(r.keys, b.key)
	case workqueue.Topic:
		return slices.ContainsFunc(r.keys, func(key string) bool { return topicMatches(words(b.key), words(key)) })
	case workqueue.Headers:
		return headersMatch(b.arguments, r.m.message.Headers)
	}
	return true // a fanout, or one to choose from
}

// words splits a key; the empty one has none.
func words(key string) []string {
	if key == "" {
		return nil
	}
	return strings.Split(key, ".")
}

// topicMatches compares word by word: * is one, # any number.
func topicMatches(pattern, key []string) bool {
	if len(pattern) == 0 {
		return len(key) == 0
	}
	if pattern[0] == "#" {
		return topicMatches(pattern[1:], key) || len(key) > 0 && topicMatches(pattern, key[1:])
	}
	return len(key) > 0 && (pattern[0] == "*" || pattern[0] == key[0]) && topicMatches(pattern[1:], key[1:])
}

// headersMatch compares the arguments of a binding with headers. An argument "any" as a value
// asks for the header to be there.
func headersMatch(arguments, headers map[string]string) bool {
	mode := arguments["x-match"]
	matched, asked := 0, 0
	for name, want := range arguments {
		if name == "x-match" || strings.HasPrefix(name, "x-") && !strings.HasSuffix(mode, "-with-x") {
			continue
		}
		asked++
		if got, ok := headers[name]; ok && (want == anyValue || got == want) {
			matched++
		}
	}
	if strings.HasPrefix(mode, "any") {
		return matched > 0
	}
	return matched == asked
}

// anyValue stands for an argument that is nil.
const anyValue = "*"

// parsePairs reads names and values such as a=1,b=2.
func parsePairs(text string) map[string]string {
	if text == "" {
		return nil
	}
	pairs := make(map[string]string)
	for _, pair := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		pairs[name] = value
	}
	return pairs
}

// toLibrary returns the binding as the library has it.
func (b *wbinding) toLibrary(p *workqueuePart) workqueue.Binding {
	to := workqueue.Binding{Exchange: b.exchange, Key: b.key}
	for name, value := range b.arguments {
		if to.Arguments == nil {
			to.Arguments = make(workqueue.Arguments)
		}
		if to.Arguments[name] = value; value == anyValue {
			to.Arguments[name] = nil
		}
	}
	if p.queueNamed(b.target) != nil {
		to.Queue = b.target
	} else {
		to.ToExchange = b.target
	}
	return to
}
