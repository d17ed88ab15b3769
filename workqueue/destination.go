package workqueue

import (
	"cmp"
	"fmt"
	"slices"
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
	store.ClassTopic:    {what: "topic", pkg: "log"},
	store.ClassVisQueue: {what: "visibility queue", pkg: "visibility", shares: true},
}

func (d destination) String() string { return fmt.Sprintf("%s %q", places[d.class].what, d.name) }

func (d destination) compare(other destination) int {
	return cmp.Or(cmp.Compare(d.class, other.class), strings.Compare(d.name, other.name))
}

// unknown is the error for a destination that does not exist.
func (d destination) unknown() error {
	if d.class == store.ClassQueue {
		return fmt.Errorf("%w: %q", ErrUnknownQueue, d.name)
	}
	return fmt.Errorf("%w: %v", ErrUnknownDestination, d)
}

// destinations counts the bindings that lead to each.
type destinations map[destination]int

func (d destinations) add(to destination) { d[to]++ }

func (d destinations) remove(to destination) {
	if d[to]--; d[to] <= 0 {
		delete(d, to)
	}
}

func (d destinations) each(found func(destination)) {
	for to := range d {
		found(to)
	}
}

// inOrder returns what was found, each once, in an order that lets a run be
// repeated.
func inOrder(found []destination) []destination {
	slices.SortFunc(found, destination.compare)
	return slices.Compact(found)
}
