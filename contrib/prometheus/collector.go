package prometheus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pebblemq/pebblemq"
	client "github.com/prometheus/client_golang/prometheus"
)

// Collector is a client.Collector of a store. It is safe for concurrent use, and collections take
// turns.
type Collector struct {
	db       *pebblemq.DB
	o        Options
	store    []storeMetric
	syncs    *client.Desc
	failed   *client.Desc
	families []*family

	mu struct {
		sync.Mutex
		rests map[*family]*rest // of objects that have no series of their own
	}
}

// NewCollector returns a collector of the figures of db. It returns ErrInvalid if an option or a
// label makes no sense. After DB.Close a collection reports the error in
// pebblemq_collection_failed, and exports the metrics of the store alone.
func NewCollector(db *pebblemq.DB, o *Options) (*Collector, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: prometheus: collector of no store", pebblemq.ErrInvalid)
	}
	with, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := schema{labels: with.Labels}
	c := &Collector{db: db, o: with, store: s.store(), families: s.families()}
	c.syncs = s.desc("store_sync_seconds", "Durations of the fsyncs of the write-ahead log.")
	c.failed = s.desc("collection_failed", "1 if the objects of the store could not be described in time.")
	c.mu.rests = make(map[*family]*rest)
	for _, f := range c.families {
		c.mu.rests[f] = newRest(f)
	}
	return c, c.check()
}

// check finds labels that no metric can have.
func (c *Collector) check() error {
	r := client.NewPedanticRegistry()
	if err := r.Register(described{c}); err != nil {
		return fmt.Errorf("%w: prometheus: %w", pebblemq.ErrInvalid, err)
	}
	return nil
}

// described is a collector that can be registered and not be asked.
type described struct{ *Collector }

// Collect does nothing.
func (described) Collect(chan<- client.Metric) {}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(ch chan<- *client.Desc) {
	for _, m := range c.store {
		ch <- m.desc
	}
	ch <- c.syncs
	ch <- c.failed
	for _, f := range c.families {
		if f.age != nil {
			ch <- f.age
		}
		for _, m := range f.metrics {
			ch <- m.desc
		}
	}
}

// Collect asks the store for its figures and sends them.
func (c *Collector) Collect(ch chan<- client.Metric) {
	ctx, stop := context.WithTimeout(context.Background(), c.o.Timeout)
	defer stop()
	d, err := c.db.Describe(ctx)
	if err != nil {
		d = pebblemq.Description{Stats: c.db.Stats()}
	}
	c.collectStore(ch, d.Stats)
	ch <- client.MustNewConstMetric(c.failed, gauge, number(err != nil))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	objects := append(d.Objects, deadLettersOf(d.Objects)...)
	for _, f := range c.families {
		c.collectFamily(ctx, ch, f, objects)
	}
}

// collectFamily sends the series of the deepest objects of a kind, and that of the others.
func (c *Collector) collectFamily(ctx context.Context, ch chan<- client.Metric, f *family, objects []pebblemq.Object) {
	top := f.ranked(objects)
	n := min(len(top), c.o.MaxObjects)
	for _, o := range top[:n] {
		labels := f.labelsOf(o)
		for _, m := range f.metrics {
			m.emit(ch, labels, m.read(o.Info))
		}
		if f.age != nil {
			c.collectAge(ctx, ch, f, o, labels)
		}
	}
	c.mu.rests[f].collect(ch, top[:n], top[n:])
}

// collectAge leaves out an age that cannot be told in time, or any more.
func (c *Collector) collectAge(ctx context.Context, ch chan<- client.Metric, f *family, o pebblemq.Object, labels []string) {
	age, err := c.db.OldestAge(ctx, o)
	switch {
	case err == nil:
		ch <- client.MustNewConstMetric(f.age, gauge, age.Seconds(), labels...)
	case errors.Is(err, pebblemq.ErrNotFound) || errors.Is(err, pebblemq.ErrDeleted) || ctx.Err() != nil:
	default:
		ch <- client.NewInvalidMetric(f.age, fmt.Errorf("prometheus: age of %s %q: %w", o.Kind, o.Name, err))
	}
}

// ranked are the objects of a family, the deepest first.
func (f *family) ranked(objects []pebblemq.Object) (top []pebblemq.Object) {
	for _, o := range objects {
		if o.Kind == f.kind {
			top = append(top, o)
		}
	}
	slices.SortStableFunc(top, func(a, b pebblemq.Object) int {
		return cmp.Or(cmp.Compare(f.depth(b.Info), f.depth(a.Info)), strings.Compare(a.Name, b.Name))
	})
	return top
}
