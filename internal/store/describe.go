package store

import (
	"context"
	"time"
)

// Described is an object as its layer tells of it.
type Described struct {
	Kind   string // in the words of the field: "topic", "exchange"
	Parent string // the name of the object that it belongs to, if any
	Name   string
	Info   any // of the layer
}

// Describer tells of all objects of a layer, in the order of their names.
type Describer func(ctx context.Context, s *Store) ([]Described, error)

// describers is filled by the layers' init functions and read-only from then on.
var describers []Describer

// RegisterDescriber adds what a layer tells of its objects. A layer calls it from init.
func RegisterDescriber(d Describer) { describers = append(describers, d) }

// Ager returns how long the oldest message waits in an object of a layer.
type Ager func(ctx context.Context, s *Store, parent, name string) (time.Duration, error)

// agers is filled by the layers' init functions and read-only from then on.
var agers = make(map[string]Ager)

// RegisterAger says how old what waits in objects of a kind is. A layer calls it from init.
func RegisterAger(kind string, a Ager) { agers[kind] = a }

// OldestAge returns how long the oldest message waits in an object, 0 if none waits there or
// nothing ever waits in objects of that kind.
func (s *Store) OldestAge(ctx context.Context, kind, parent, name string) (time.Duration, error) {
	if err := CheckContext(ctx); err != nil {
		return 0, err
	}
	age := agers[kind]
	if age == nil {
		return 0, nil
	}
	return age(ctx, s, parent, name)
}

// Describe tells of all objects of the layers that are linked in.
func (s *Store) Describe(ctx context.Context) (all []Described, err error) {
	if err := CheckContext(ctx); err != nil {
		return nil, err
	}
	for _, d := range describers {
		some, err := d(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}
