package store

import (
	"context"
	"time"
)

// Sink is an object that takes messages from an exchange of another layer: a
// topic, a visibility queue. Layers do not import each other; they meet here.
type Sink interface {
	// Deliver makes the Op that stores a message, or refuses it. It is called under the baton.
	// The router runs the Op there as a part of its own, and passes Undo and Visible on.
	Deliver(m *Routed) (Op, error)
}

// Routed is a message on its way from an exchange to a Sink, which copies what
// it keeps.
type Routed struct {
	ID      string // that the publisher gave it, if any
	Key     string // routing key
	Body    []byte
	Payload Payload // the same, if it is shared already
	Headers []RoutedHeader
	Time    time.Time // of publishing, or what the publisher says it is
	Delay   time.Duration
}

// RoutedHeader is a named value beside the body. Names may come twice.
type RoutedHeader struct{ Name, Value string }

// OpenSink brings an object of a class into memory as a Sink. It is called
// outside the baton.
type OpenSink func(ctx context.Context, s *Store, name string) (Sink, error)

// sinks is filled by the layers' init functions and read-only from then on.
var sinks = make(map[Class]OpenSink)

// RegisterSink says how objects of a class are opened as sinks. A layer calls it from init, so
// all classes of sinks are known when the program runs.
func RegisterSink(c Class, open OpenSink) { sinks[c] = open }

// Sink opens an object that is or is to be bound to an exchange, and returns its
// id too; nil if there is no such object. Pkg is the package that a program
// without that class is told to import.
func (s *Store) Sink(ctx context.Context, c Class, name, pkg string) (sink Sink, id uint32, err error) {
	err = s.Do(ctx, QuietFunc(func(t *Turn) error {
		if o, known := t.Lookup(c, name); known {
			id = o.ID
		}
		return nil
	}), NoSync)
	if err != nil || id == 0 {
		return nil, 0, err
	}
	open := sinks[c]
	if open == nil {
		return nil, 0, Invalid("%q is the destination of a binding, and package %s is not part of this program", name, pkg)
	}
	sink, err = open(ctx, s, name)
	return sink, id, err
}

// WatchDrops has f called, under the baton, in every Op that drops an object of
// a class, so that what leads to the object goes with it.
func (t *Turn) WatchDrops(c Class, f func(*Turn, *Object)) {
	t.s.catalog.watchers[c] = append(t.s.catalog.watchers[c], f)
}
