package workqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Binding leads messages from an exchange to one destination: a queue of the
// broker, a log topic or a visibility queue of the same store. All its fields
// together are its identity.
type Binding struct {
	// Exchange the messages come from. The default exchange routes by the name
	// of the queue and cannot be bound.
	Exchange string

	// Key selects them: for Direct the routing key itself, for Topic a pattern;
	// for Fanout it does not matter.
	Key string

	// Exactly one of these is set.
	//
	// A topic gets a record whose key is the routing key (none if that is
	// empty), whose value is the body and whose headers are those of the
	// message, followed by its properties under their AMQP names, "message-id",
	// "content-type" and so on, and of a dead letter x-death-queue, -reason and
	// -count. A topic refuses a message that has a Delay.
	//
	// A visibility queue gets a message with the same body and, as attributes,
	// the same headers, and the message ID as its own.
	//
	// Either refuses what is over its own limits, which refuses the publishing.
	// Priority means nothing there.
	Queue           string
	Topic           string
	VisibilityQueue string
}

// binding is a Binding that was checked.
type binding struct {
	exchange string
	to       destination
	key      string
}

func (b Binding) check() (binding, error) {
	var to []destination
	for class, name := range map[store.Class]string{
		store.ClassQueue: b.Queue, store.ClassTopic: b.Topic, store.ClassVisQueue: b.VisibilityQueue,
	} {
		if name != "" {
			to = append(to, destination{class, name})
		}
	}
	switch {
	case b.Exchange == "":
		return binding{}, fmt.Errorf("%w: the default exchange cannot be bound", ErrInUse)
	case len(to) != 1:
		return binding{}, store.Invalid("binding of exchange %q has %d destinations, not one", b.Exchange, len(to))
	}
	return binding{b.Exchange, to[0], b.Key}, errors.Join(
		store.CheckName("exchange", b.Exchange),
		store.CheckName(places[to[0].class].what, to[0].name),
		checkShort("binding key", b.Key),
	)
}

func (b binding) public() Binding {
	p := Binding{Exchange: b.exchange, Key: b.key}
	switch b.to.class {
	case store.ClassTopic:
		p.Topic = b.to.name
	case store.ClassVisQueue:
		p.VisibilityQueue = b.to.name
	default:
		p.Queue = b.to.name
	}
	return p
}

// Bind has an exchange route messages to a destination. Binding again is a
// no-op, and a destination that several bindings lead to gets one copy. An
// unknown end is an error. It is durable when Bind returns. When a destination
// is deleted its bindings go with it.
//
// A program that opens a broker with bindings to topics or visibility queues
// must import package log or visibility; else Open refuses.
func (b *Broker) Bind(ctx context.Context, to Binding) error {
	bound, err := to.check()
	if err != nil {
		return err
	}
	sink, opened, err := b.t.openSink(ctx, bound.to)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if b.t.exchanges[bound.exchange] == nil {
			return fmt.Errorf("%w: %q", ErrUnknownExchange, bound.exchange)
		}
		id, known := b.t.find(t, bound.to)
		if !known || bound.to.class != store.ClassQueue && id != opened {
			return bound.to.unknown()
		}
		if b.t.exchanges[bound.exchange].bindings[bound] {
			return nil
		}
		if err := t.Grow(); err != nil {
			return err
		}
		t.Set(bindingKey(b.t.id, bound), encodeDestinationID(id))
		b.t.bind(bound, sink)
		return nil
	}), store.Sync)
}

// Unbind removes a binding. That it does not exist is no error. It is durable
// when Unbind returns.
func (b *Broker) Unbind(ctx context.Context, from Binding) error {
	bound, err := from.check()
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if e := b.t.exchanges[bound.exchange]; e != nil && e.bindings[bound] {
			b.t.unbind(t, bound)
		}
		return nil
	}}, store.Sync)
}

// Bindings returns all bindings, in the order of exchange, destination and key.
func (b *Broker) Bindings(ctx context.Context) ([]Binding, error) {
	var found []binding
	err := b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for _, e := range b.t.exchanges {
			for bound := range e.bindings {
				found = append(found, bound)
			}
		}
		return nil
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(x, y binding) int {
		return cmp.Or(strings.Compare(x.exchange, y.exchange), x.to.compare(y.to), strings.Compare(x.key, y.key))
	})
	list := make([]Binding, len(found))
	for i, bound := range found {
		list[i] = bound.public()
	}
	return list, nil
}

// openSink opens a destination of another layer, and returns its id too. Of a
// queue, and of what does not exist, it knows nothing. It is called outside the
// baton.
func (t *topology) openSink(ctx context.Context, to destination) (sink store.Sink, id uint32, err error) {
	if to.class == store.ClassQueue {
		return nil, 0, nil
	}
	return t.s.Sink(ctx, to.class, to.name, places[to.class].pkg)
}

// find returns the id of a destination that exists.
func (t *topology) find(turn *store.Turn, to destination) (id uint32, known bool) {
	if to.class == store.ClassQueue {
		q := t.queues[to.name]
		if q == nil {
			return 0, false
		}
		return q.object.ID, true
	}
	o, known := turn.Lookup(to.class, to.name)
	if !known {
		return 0, false
	}
	return o.ID, true
}

// bind takes a binding into memory.
func (t *topology) bind(b binding, sink store.Sink) {
	t.exchanges[b.exchange].bind(b)
	e := t.bound[b.to]
	if e == nil {
		e = &end{bindings: make(map[binding]bool)}
		t.bound[b.to] = e
	}
	e.bindings[b] = true
	e.sink = sink
}

// end is a destination that is bound.
type end struct {
	bindings map[binding]bool // that lead to it
	sink     store.Sink       // nil for a queue
}

func (t *topology) unbind(turn *store.Turn, b binding) {
	turn.Delete(bindingKey(t.id, b))
	t.exchanges[b.exchange].unbind(b)
	e := t.bound[b.to]
	if delete(e.bindings, b); len(e.bindings) == 0 {
		delete(t.bound, b.to)
	}
}

// unbindAll removes what leads to a destination that is going.
func (t *topology) unbindAll(turn *store.Turn, to destination) {
	if e := t.bound[to]; e != nil {
		for b := range e.bindings {
			t.unbind(turn, b)
		}
	}
}
