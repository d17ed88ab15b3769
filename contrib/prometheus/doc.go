// Package prometheus exports the figures of a store as Prometheus metrics. Its name is that of
// the client library, so import it under another one:
//
//	import (
//		mq "github.com/pebblemq/pebblemq/contrib/prometheus"
//		"github.com/prometheus/client_golang/prometheus"
//	)
//
//	collector, err := mq.NewCollector(db, nil)
//	...
//	prometheus.MustRegister(collector)
//
// A Collector keeps no figures of its own. Each scrape asks DB.Describe, and DB.OldestAge of what
// waits. All names begin with pebblemq_, all times are in seconds, all sizes in bytes. Counters
// begin at 0 when the store is opened, but for those of topics and visibility queues, which the
// store keeps.
//
// # Cardinality
//
// Of each kind, the MaxObjects deepest objects have series of their own: the queues with most
// messages, the groups with the greatest lag. The others are summed in one series, whose labels
// for the object are empty. The sum over all series is therefore exact. An object that gets among
// the deepest, or leaves them, begins or ends a series, and counters of the sum never fall. The
// sum has no age, because ages are read from disk: a scrape makes at most MaxObjects such reads
// for each kind.
//
// A topic has one series, whatever the number of its partitions.
//
// # Alerts and dashboard
//
// The folder monitoring has alert rules and a Grafana dashboard.
package prometheus
