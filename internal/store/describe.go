package store

import "context"

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
