package workqueue

import (
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// address is all that decides where a message goes.
type address struct {
	exchange string
	key      string
	more     []string // keys beside it: CC and BCC
	m        *Message // for its headers and properties
}

// address of a message that was published before.
func (e *envelope) address() *address {
	return &address{exchange: e.exchange, key: e.key, more: e.CC, m: &e.Message}
}

// walk is the search for the destinations of one message, from exchange to
// exchange. Each exchange and each destination counts once: they carry the
// number of the walk that has come to them, so that neither a cycle nor a
// hundred bindings to one queue cost more than a comparison.
type walk struct {
	number  uint64
	matched int         // by the exchange at hand
	at      []*exchange // that were reached, in order
	found   []*end
}

// route returns where a message goes to, each place once, in an order that is
// the same whenever the same bindings were made. The list holds until the next
// route: a publish to many queues allocates nothing for it.
func (t *topology) route(a *address) ([]*end, error) {
	w := &t.walk
	w.number++
	w.at, w.found = w.at[:0], w.found[:0]
	if a.exchange == "" {
		t.matchNames(a, w)
		return w.found, nil
	}
	first := t.exchanges[a.exchange]
	if first == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownExchange, a.exchange)
	}
	w.enter(first)
	for i := 0; i < len(w.at); i++ {
		e := w.at[i]
		w.matched = 0
		e.matcher.match(a, w)
		if w.matched > 0 || e.config.Alternate == "" {
			continue
		}
		if next := t.exchanges[e.config.Alternate]; next != nil {
			w.enter(next)
		}
	}
	return w.found, nil
}

// matchNames is the default exchange: a key is the name of a queue.
func (t *topology) matchNames(a *address, w *walk) {
	t.matchName(a.key, w)
	for _, key := range a.more {
		t.matchName(key, w)
	}
}

// checkNames refuses an address of the default exchange that names a queue which is not
// there.
func (t *topology) checkNames(a *address) error {
	if t.queues[a.key] == nil {
		return errUnknownName(a.key)
	}
	for _, key := range a.more {
		if t.queues[key] == nil {
			return errUnknownName(key)
		}
	}
	return nil
}

func errUnknownName(key string) error {
	return fmt.Errorf("%w: %q, which a message for the default exchange names", ErrUnknownQueue, key)
}

func (t *topology) matchName(key string, w *walk) {
	q := t.queues[key]
	if q == nil {
		return
	}
	if q.end == nil {
		q.end = t.end(destination{store.ClassQueue, key}, nil)
	}
	w.reach(q.end)
}

func (w *walk) enter(e *exchange) {
	if e.visited != w.number {
		e.visited = w.number
		w.at = append(w.at, e)
	}
}

func (w *walk) reachAll(to *ends) {
	if to == nil {
		return
	}
	for i := range to.list {
		w.reach(to.list[i].end)
	}
}

// reach notes that the message goes to a destination, or on to an exchange.
func (w *walk) reach(to *end) {
	w.matched++
	if to.exchange != nil {
		w.enter(to.exchange)
		return
	}
	if to.visited != w.number {
		to.visited = w.number
		w.found = append(w.found, to)
	}
}
