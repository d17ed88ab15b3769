package pebblemq

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Description is the inventory of a store.
type Description struct {
	Time    time.Time // when Describe began
	Stats   Stats     // of the store itself
	Objects []Object  // by kind, parent and name
}

// Object is a topic, group, broker, exchange, queue or namespace of a store.
type Object struct {
	// Kind is "topic", "group", "broker", "exchange", "work queue", "visibility queue" or
	// "namespace".
	Kind   string
	Parent string // the topic of a group, the broker of an exchange or a work queue
	Name   string

	// Info is what the Info method of the object returns: a log.TopicInfo, log.GroupInfo,
	// workqueue.BrokerInfo, workqueue.ExchangeInfo, workqueue.QueueInfo,
	// visibility.QueueInfo or idempotency.NamespaceInfo.
	Info any
}

// Number is one figure of an object.
type Number struct {
	Name  string // in snake_case, such as "ready", "totals_acked" or "oldest_age_seconds"
	Value float64
}

// Describe returns the inventory of the store: all objects of the packages that the program
// imports, each with its counters. It is meant for dashboards and metrics. The packages
// are asked one after the other, and what each says is true of a moment of its own. What
// this process has not opened is listed, and the field Open of its Info is false. Describe
// opens topics and groups, because their offsets would not be known otherwise. One whose
// files are damaged is listed with what the catalog says of it.
func (db *DB) Describe(ctx context.Context) (Description, error) {
	d := Description{Time: db.s.Now()}
	all, err := db.s.Describe(ctx)
	if err != nil {
		return Description{}, err
	}
	for _, o := range all {
		d.Objects = append(d.Objects, Object(o))
	}
	slices.SortFunc(d.Objects, func(a, b Object) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Parent, b.Parent), strings.Compare(a.Name, b.Name))
	})
	d.Stats = db.Stats()
	return d, nil
}

// OldestAge returns how long the oldest message waits in a queue, or for a group. It is read
// from the disk, so it costs more than the counters of Describe. It is 0 if no message waits, or
// the object is of another kind. The age is that of:
//
//   - a work queue: the next message to be delivered, by its Timestamp. A message that was
//     delayed counts from its publishing.
//   - a visibility queue: the oldest message that is visible or in flight, see
//     visibility.Stats. A queue that the process has not opened counts as empty.
//   - a group: the oldest record that it has not finished in any partition, see log.Lag.
//
// An object that was deleted returns ErrNotFound or ErrDeleted.
func (db *DB) OldestAge(ctx context.Context, o Object) (time.Duration, error) {
	return db.s.OldestAge(ctx, o.Kind, o.Parent, o.Name)
}

// Numbers are the figures in the Info of the object, for a program that treats all kinds
// alike. Each has the name of its field: Stats.Ready of a work queue is "ready", and
// Totals.Dead.Rejected is "totals_dead_rejected". A duration is in seconds, as "oldest_age_seconds";
// a bool is 0 or 1. A list, such as the partitions of a topic, counts with its length. What the
// Config says is left out.
func (o Object) Numbers() []Number {
	if o.Info == nil { // the zero Object
		return nil
	}
	return numbers(nil, "", reflect.ValueOf(o.Info))
}

func numbers(list []Number, prefix string, v reflect.Value) []Number {
	for i := range v.NumField() {
		f, x := v.Type().Field(i), v.Field(i)
		if f.Name == "ID" || f.Name == "Config" || !f.IsExported() {
			continue
		}
		name := prefix + snake(f.Name)
		if prefix == "stats_" { // that they are statistics says nothing
			name = snake(f.Name)
		}
		switch d, isDuration := x.Interface().(time.Duration); {
		case isDuration:
			list = append(list, Number{name + "_seconds", d.Seconds()})
		case x.CanInt():
			list = append(list, Number{name, float64(x.Int())})
		case x.CanUint():
			list = append(list, Number{name, float64(x.Uint())})
		case x.Kind() == reflect.Bool && x.Bool():
			list = append(list, Number{name, 1})
		case x.Kind() == reflect.Bool:
			list = append(list, Number{name, 0})
		case x.Kind() == reflect.Slice:
			list = append(list, Number{name, float64(x.Len())})
		case x.Kind() == reflect.Struct && x.Type() != reflect.TypeFor[time.Time]():
			list = numbers(list, name+"_", x)
		}
	}
	return list
}

// snake turns OldestAge into oldest_age.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
