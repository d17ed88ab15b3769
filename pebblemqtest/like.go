package pebblemqtest

import (
	"reflect"
	"time"

	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// PublishedLike returns a match for messages that have the fields of want. Zero fields match
// everything, and of Headers only those of want have to be there. Delay, BCC and Mandatory are
// not kept with a message: a want that has them matches none.
func PublishedLike(want workqueue.Message) func(*workqueue.Browsed) bool {
	return func(m *workqueue.Browsed) bool { return like(want, m.Message) }
}

// SentLike returns a match for messages that have the fields of want. Zero fields match
// everything, and of Attributes only those of want have to be there. The Delay is not kept
// with a message: a want that has one matches none.
func SentLike(want visibility.Message) func(*visibility.Browsed) bool {
	return func(m *visibility.Browsed) bool { return like(want, m.Message) }
}

// AppendedLike returns a match for records that have the fields of want. Zero fields match
// everything, and of Headers only those of want have to be there.
func AppendedLike(want log.Record) func(log.Record) bool {
	return func(r log.Record) bool { return like(want, r) }
}

// like compares the exported fields of want that are not zero.
func like[M any](want, got M) bool {
	w, g := reflect.ValueOf(want), reflect.ValueOf(got)
	for i := range w.NumField() {
		if !w.Type().Field(i).IsExported() || w.Field(i).IsZero() {
			continue
		}
		if !alike(w.Field(i), g.Field(i)) {
			return false
		}
	}
	return true
}

// alike compares a field.
func alike(want, got reflect.Value) bool {
	switch w := want.Interface().(type) {
	case time.Time:
		return w.Sub(got.Interface().(time.Time)).Abs() < time.Microsecond // which a queue keeps
	case []log.Header:
		for i := range w {
			if !has(got, want.Index(i)) {
				return false
			}
		}
		return true
	}
	if want.Kind() != reflect.Map {
		return reflect.DeepEqual(want.Interface(), got.Interface())
	}
	for _, key := range want.MapKeys() {
		value := got.MapIndex(key)
		if !value.IsValid() || !reflect.DeepEqual(want.MapIndex(key).Interface(), value.Interface()) {
			return false
		}
	}
	return true
}

// has reports whether a slice has an element.
func has(list, element reflect.Value) bool {
	for i := range list.Len() {
		if reflect.DeepEqual(list.Index(i).Interface(), element.Interface()) {
			return true
		}
	}
	return false
}
