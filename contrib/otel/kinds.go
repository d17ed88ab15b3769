package otel

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// kind is a kind of object that is exported.
type kind struct {
	name     string
	info     any      // an empty one, whose numbers are those of all
	depth    []string // the numbers that rank the objects
	counters []string // those that only rise; all in Totals do
	skip     []string
	reads    bool // its age is asked for
}

var kinds = []kind{
	{name: "store", info: pebblemq.Stats{}, counters: []string{"operations", "refused", "groups", "syncs", "sync_time_seconds"}, skip: []string{"sync_buckets"}},
	{name: "topic", info: log.TopicInfo{}, depth: []string{"kept"}, counters: []string{"appended"}},
	{name: "group", info: log.GroupInfo{}, depth: []string{"lag"}, reads: true},
	{name: "broker", info: workqueue.BrokerInfo{}, depth: []string{"queues"}, counters: []string{"unrouted"}},
	{name: "exchange", info: workqueue.ExchangeInfo{}, depth: []string{"bindings"}},
	{name: "work queue", info: workqueue.QueueInfo{}, depth: []string{"ready", "unacked", "delayed"}, reads: true},
	{name: "visibility queue", info: visibility.QueueInfo{}, depth: []string{"visible", "in_flight", "delayed"}, counters: []string{"expired"}},
	{name: "namespace", info: idempotency.NamespaceInfo{}, depth: []string{"completed"}},
}

// ranked are the objects of the kind, the deepest first.
func (k kind) ranked(objects []pebblemq.Object) (top []pebblemq.Object) {
	depths := make(map[pebblemq.Object]float64)
	for _, o := range objects {
		if o.Kind == k.name {
			top = append(top, o)
			depths[unfilled(o)] = k.depthOf(o)
		}
	}
	slices.SortStableFunc(top, func(a, b pebblemq.Object) int {
		return cmp.Or(cmp.Compare(depths[unfilled(b)], depths[unfilled(a)]), strings.Compare(a.Name, b.Name))
	})
	return top
}

func (k kind) depthOf(o pebblemq.Object) (depth float64) {
	for _, n := range o.Numbers() {
		if slices.Contains(k.depth, n.Name) {
			depth += n.Value
		}
	}
	return depth
}

// unfilled identifies an object.
func unfilled(o pebblemq.Object) pebblemq.Object {
	o.Info = nil
	return o
}
