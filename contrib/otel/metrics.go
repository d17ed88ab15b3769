package otel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/pebblemq/pebblemq"
)

// MetricsOptions configure RegisterMetrics. The zero value and nil are the defaults.
type MetricsOptions struct {
	// Provider collects the metrics. Default: the global one.
	Provider metric.MeterProvider

	// MaxObjects is how many objects of each kind are exported: the queues with most messages,
	// the groups with the greatest lag. The others are counted in pebblemq.objects.omitted.
	// Default: 100.
	MaxObjects int

	// Attributes are on all metrics. They tell several stores of a process apart. Default: none.
	Attributes []attribute.KeyValue
}

// RegisterMetrics exports the figures of a store until the registration is ended, which belongs
// before DB.Close. A metric has the name of its number in pebblemq.Object.Numbers, such as
// pebblemq.work_queue.ready and pebblemq.group.lag. Ages are in seconds, sizes in bytes. The
// attributes pebblemq.parent and pebblemq.name name the object.
//
// Each collection describes the store, and reads the ages of at most MaxObjects work queues and
// groups from disk. It returns the error if it cannot.
func RegisterMetrics(db *pebblemq.DB, o *MetricsOptions) (metric.Registration, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: otel: metrics of no store", pebblemq.ErrInvalid)
	}
	if o == nil {
		o = &MetricsOptions{}
	}
	e := &exporter{db: db, with: o.Attributes, most: cmp.Or(o.MaxObjects, 100), instruments: make(map[string]metric.Float64Observable)}
	if e.most < 0 {
		return nil, fmt.Errorf("%w: otel: MaxObjects %d is negative", pebblemq.ErrInvalid, o.MaxObjects)
	}
	provider := o.Provider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter(scope)
	all, err := e.create(meter)
	if err != nil {
		return nil, err
	}
	return meter.RegisterCallback(e.collect, all...)
}

// exporter is a registration.
type exporter struct {
	db          *pebblemq.DB
	with        []attribute.KeyValue
	most        int
	instruments map[string]metric.Float64Observable // by name
}

const (
	omitted   = "pebblemq.objects.omitted"
	oldestAge = "oldest_age_seconds"
)

// create makes the instruments of all kinds.
func (e *exporter) create(meter metric.Meter) (all []metric.Observable, err error) {
	names := map[string]bool{omitted: false}
	for _, k := range kinds {
		for _, n := range (pebblemq.Object{Info: k.info}).Numbers() {
			if !slices.Contains(k.skip, n.Name) {
				names[nameOf(k.name, n.Name)] = strings.HasPrefix(n.Name, "totals_") || slices.Contains(k.counters, n.Name)
			}
		}
		if k.reads {
			names[nameOf(k.name, oldestAge)] = false
		}
	}
	for name, isCounter := range names {
		unit := metric.WithUnit(unitOf(name))
		if isCounter {
			e.instruments[name], err = meter.Float64ObservableCounter(strings.TrimSuffix(name, "_seconds"), unit)
		} else {
			e.instruments[name], err = meter.Float64ObservableGauge(strings.TrimSuffix(name, "_seconds"), unit)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, e.instruments[name])
	}
	return all, nil
}

func nameOf(kind, number string) string {
	return "pebblemq." + strings.ReplaceAll(kind, " ", "_") + "." + number
}

func unitOf(name string) string {
	switch {
	case strings.HasSuffix(name, "_seconds"):
		return "s"
	case strings.HasSuffix(name, "bytes"):
		return "By"
	}
	return "1"
}

func (e *exporter) collect(ctx context.Context, to metric.Observer) error {
	d, err := e.db.Describe(ctx)
	if err != nil {
		return err
	}
	objects := append(d.Objects, pebblemq.Object{Kind: "store", Info: d.Stats})
	left := 0
	for _, k := range kinds {
		top := k.ranked(objects)
		n := min(len(top), e.most)
		left += len(top) - n
		for _, o := range top[:n] {
			if err := e.observe(ctx, to, k, o); err != nil {
				return err
			}
		}
	}
	to.ObserveFloat64(e.instruments[omitted], float64(left), metric.WithAttributes(e.with...))
	return nil
}

func (e *exporter) observe(ctx context.Context, to metric.Observer, k kind, o pebblemq.Object) error {
	is := metric.WithAttributes(append(slices.Clone(e.with), attributesOf(o)...)...)
	for _, n := range o.Numbers() {
		if i := e.instruments[nameOf(k.name, n.Name)]; i != nil {
			to.ObserveFloat64(i, n.Value, is)
		}
	}
	if !k.reads {
		return nil
	}
	age, err := e.db.OldestAge(ctx, o)
	switch {
	case errors.Is(err, pebblemq.ErrNotFound) || errors.Is(err, pebblemq.ErrDeleted):
		return nil
	case err != nil:
		return fmt.Errorf("otel: age of %s %q: %w", o.Kind, o.Name, err)
	}
	to.ObserveFloat64(e.instruments[nameOf(k.name, oldestAge)], age.Seconds(), is)
	return nil
}

func attributesOf(o pebblemq.Object) (list []attribute.KeyValue) {
	if o.Parent != "" {
		list = append(list, attribute.String("pebblemq.parent", o.Parent))
	}
	if o.Name != "" {
		list = append(list, attribute.String("pebblemq.name", o.Name))
	}
	return list
}
