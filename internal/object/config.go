// Package object has what all named objects of the layers have in common: topics, groups,
// queues, exchanges and namespaces are opened, ensured, altered and listed in one way.
//
// A configuration is a struct. Its fields say in a tag what may become of them:
//
//	Partitions int           `alter:"grow"` // not less than before
//	IndexKeys  bool          `alter:"no"`   // not at all
//	Retention  time.Duration                // anything
package object

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
)

// difference is a field in which two configurations differ.
type difference struct {
	field         string
	stored, given reflect.Value
	rule          string // of the tag
}

// Differences are the fields in which a configuration that was given is not the stored
// one.
type Differences []difference

// Compare compares two configurations of one type, whose fields must be exported.
// Embedded structs count with their fields. A field with the tag `json:"-"` is not
// stored and does not count.
func Compare[C any](stored, given C) Differences {
	return compare(nil, reflect.ValueOf(stored), reflect.ValueOf(given))
}

func compare(list Differences, stored, given reflect.Value) Differences {
	for i := range stored.NumField() {
		f, s, g := stored.Type().Field(i), stored.Field(i), given.Field(i)
		switch {
		case f.Anonymous:
			list = compare(list, s, g)
		case f.Tag.Get("json") == "-" || reflect.DeepEqual(s.Interface(), g.Interface()):
		default:
			list = append(list, difference{f.Name, s, g, f.Tag.Get("alter")})
		}
	}
	return list
}

// Fields names them.
func (d Differences) Fields() (names []string) {
	for _, f := range d {
		names = append(names, f.field)
	}
	return names
}

// Mismatch is the error of an object that is opened with another configuration than the
// stored one, nil if there is no difference. Verb is what would alter the object.
func (d Differences) Mismatch(what, verb string) error {
	if len(d) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s has %s; %s alters it", store.ErrConfigMismatch, what, d.text(), verb)
}

// Alterable is the error of an object that cannot be altered so, nil if it can.
func (d Differences) Alterable(what string) error {
	var not Differences
	for _, f := range d {
		if !f.alterable() {
			not = append(not, f)
		}
	}
	if len(not) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s has %s, which cannot be altered so", store.ErrConfigMismatch, what, not.text())
}

func (f difference) alterable() bool {
	switch f.rule {
	case "no":
		return false
	case "grow":
		return grows(f.stored, f.given)
	}
	return true
}

func grows(stored, given reflect.Value) bool {
	if stored.CanUint() {
		return cmp.Less(stored.Uint(), given.Uint())
	}
	return cmp.Less(stored.Int(), given.Int())
}

func (d Differences) text() string {
	var parts []string
	for _, f := range d {
		parts = append(parts, fmt.Sprintf("%s %s, not %s", f.field, show(f.stored), show(f.given)))
	}
	return strings.Join(parts, "; ")
}

// show prints a value as a reader would write it.
func show(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return "none"
	case v.Kind() == reflect.Pointer:
		return fmt.Sprintf("%+v", v.Elem().Interface())
	case v.Kind() == reflect.String:
		return fmt.Sprintf("%q", v.Interface())
	}
	return fmt.Sprint(v.Interface())
}
