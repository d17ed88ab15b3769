package workqueue

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
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
	shares   bool             // a payload with others
	bindings map[binding]bool // that lead to it
	visited  uint64           // by which walk

	queue    *queue
	exchange *exchange
	sink     store.Sink
}

// end returns the end of a destination that exists.
func (t *topology) end(to destination, sink store.Sink) *end {
	e := t.ends[to]
	if e == nil {
		e = &end{destination: to, shares: places[to.class].shares, bindings: make(map[binding]bool)}
		t.ends[to] = e
	}
	switch to.class {
	case store.ClassQueue:
		e.queue = t.queues[to.name]
	case store.ClassExchange:
		e.exchange = t.exchanges[to.name]
	default:
		e.sink = sink
	}
	return e
}

// ends are destinations, each with the number of bindings that lead to it.
type ends struct {
	list []lead
	at   map[*end]int // where each is in the list, once that is long
}

type lead struct {
	end   *end
	count int
}

// fewEnds is how long a list is searched faster than a map.
const fewEnds = 8

func (s *ends) find(to *end) (at int, known bool) {
	if s.at != nil {
		at, known = s.at[to]
		return at, known
	}
	for i := range s.list {
		if s.list[i].end == to {
			return i, true
		}
	}
	return 0, false
}

func (s *ends) add(to *end) {
	if i, known := s.find(to); known {
		s.list[i].count++
		return
	}
	s.list = append(s.list, lead{to, 1})
	switch {
	case s.at != nil:
		s.at[to] = len(s.list) - 1
	case len(s.list) > fewEnds:
		s.at = make(map[*end]int)
		for i := range s.list {
			s.at[s.list[i].end] = i
		}
	}
}

func (s *ends) remove(to *end) {
	i, known := s.find(to)
	if !known {
		return
	}
	if s.list[i].count--; s.list[i].count > 0 {
		return
	}
	last := len(s.list) - 1
	s.list[i] = s.list[last]
	s.list[last] = lead{}
	s.list = s.list[:last]
	if s.at != nil {
		delete(s.at, to)
		if i < last {
			s.at[s.list[i].end] = i
		}
	}
}
