package workqueue

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/workqueue/internal/routing"
)

// destination is what a binding leads to. The class is one of those in places.
type destination struct {
	class store.Class
	name  string
}

// places are the sorts of destinations; those that another layer implements
// have a package. Some share a payload with others instead of storing it.
var places = map[store.Class]struct {
	what, pkg string
	shares    bool
}{
	store.ClassQueue:    {what: "queue", shares: true},
	store.ClassExchange: {what: "exchange"},
	store.ClassTopic:    {what: "topic", pkg: "log"},
	store.ClassVisQueue: {what: "visibility queue", pkg: "visibility", shares: true},
}

func (d destination) String() string { return fmt.Sprintf("%s %q", places[d.class].what, d.name) }

func (d destination) compare(other destination) int {
	return cmp.Or(cmp.Compare(d.class, other.class), strings.Compare(d.name, other.name))
}

// unknown is the error for a destination that does not exist.
func (d destination) unknown() error {
	switch d.class {
	case store.ClassQueue:
		return fmt.Errorf("%w: %q", ErrUnknownQueue, d.name)
	case store.ClassExchange:
		return fmt.Errorf("%w: %q", ErrUnknownExchange, d.name)
	}
	return fmt.Errorf("%w: %v", ErrUnknownDestination, d)
}

// end is a destination that exists and that messages can be routed to. One of
// its last three fields is set.
type end struct {
	destination
	place    routing.Place    // its owner is the end
	shares   bool             // a payload with others
	bindings map[binding]bool // that lead to it

	queue    *declaredQueue
	exchange *exchange
	sink     store.Sink
}

// end returns the end of a destination that exists.
func (t *topology) end(to destination, sink store.Sink) *end {
	e := t.ends[to]
	if e == nil {
		e = &end{destination: to, shares: places[to.class].shares, bindings: make(map[binding]bool)}
		e.place = routing.Place{Name: fmt.Sprintf("%d/%s", to.class, to.name), Owner: e}
		t.ends[to] = e
	}
	switch to.class {
	case store.ClassQueue:
		e.queue = t.queues[to.name]
	case store.ClassExchange:
		e.exchange = t.exchanges[to.name]
		e.place.Exchange = e.exchange.routes
	default:
		e.sink = sink
	}
	return e
}
