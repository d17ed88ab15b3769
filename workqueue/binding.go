package workqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/workqueue/internal/routing"
)

// Binding leads messages from an exchange to one destination: a queue or
// another exchange of the broker, a log topic or a visibility queue of the same
// store. All its fields together are its identity.
type Binding struct {
	// Exchange the messages come from. The default exchange routes by the name
	// of the queue and cannot be bound.
	Exchange string `json:"exchange"`

	// Key selects them: for Direct the routing key itself, for Topic a pattern,
	// for Hash the weight; elsewhere it does not matter.
	Key string `json:"key,omitempty"`

	// Arguments select them for Headers.
	Arguments Arguments `json:"arguments,omitempty"`

	// Exactly one of these is set.
	//
	// An exchange gets the message with the key it was published with and
	// routes it on. Cycles are allowed: no exchange routes a message twice, and
	// no destination gets two copies.
	//
	// A topic gets a record with the routing key as its key (none if it is empty), the body as
	// its value and the headers of the message. Its properties follow as headers under their
	// AMQP names, such as "message-id" and "content-type". Those of a dead letter also have
	// x-death-queue, x-death-reason and x-death-count. A topic refuses a message that has a
	// Delay.
	//
	// A visibility queue gets a message with the same body and, as attributes,
	// the same headers, and the message ID as its own.
	//
	// Either refuses what is over its own limits, which refuses the publishing.
	// Priority means nothing there.
	Queue           string `json:"queue,omitempty"`
	ToExchange      string `json:"toExchange,omitempty"`
	Topic           string `json:"topic,omitempty"`
	VisibilityQueue string `json:"visibilityQueue,omitempty"`
}

// binding is a Binding that was checked.
type binding struct {
	exchange  string
	to        destination
	key       string
	arguments string // encoded
}

func (b Binding) check() (binding, error) {
	var to []destination
	for class, name := range map[store.Class]string{
		store.ClassQueue: b.Queue, store.ClassExchange: b.ToExchange,
		store.ClassTopic: b.Topic, store.ClassVisQueue: b.VisibilityQueue,
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
	err := errors.Join(
		store.CheckName("exchange", b.Exchange),
		store.CheckName(places[to[0].class].what, to[0].name),
		checkShort("binding key", b.Key),
		b.Arguments.check(),
	)
	if err != nil {
		return binding{}, err
	}
	return binding{b.Exchange, to[0], b.Key, encodeArguments(b.Arguments.list())}, nil
}

func (b binding) public() Binding {
	list, _ := decodeArguments(b.arguments) // was checked
	p := Binding{Exchange: b.exchange, Key: b.key, Arguments: publicArguments(list)}
	switch b.to.class {
	case store.ClassTopic:
		p.Topic = b.to.name
	case store.ClassVisQueue:
		p.VisibilityQueue = b.to.name
	case store.ClassExchange:
		p.ToExchange = b.to.name
	default:
		p.Queue = b.to.name
	}
	return p
}

// route is the binding as an exchange compares it.
func (b binding) route() routing.Binding {
	list, _ := decodeArguments(b.arguments) // was checked
	return routing.Binding{Key: b.key, Arguments: list}
}

func (b binding) compare(other binding) int {
	return cmp.Or(
		strings.Compare(b.exchange, other.exchange), b.to.compare(other.to),
		strings.Compare(b.key, other.key), strings.Compare(b.arguments, other.arguments),
	)
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
	plan := bindingPlan{binding: bound}
	if plan.sink, plan.opened, err = b.t.openSink(ctx, bound.to); err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		e := b.t.exchanges[bound.exchange]
		if e == nil {
			return fmt.Errorf("%w: %q", ErrUnknownExchange, bound.exchange)
		}
		if err := b.bindable(t, plan); err != nil {
			return err
		}
		if err := e.check(bound); err != nil {
			return err
		}
		if _, again := e.bindings[bound]; again {
			return nil
		}
		if err := t.Grow(); err != nil {
			return err
		}
		b.createBinding(t, plan)
		return nil
	}), store.Sync)
}

// bindingPlan is a binding that may be made.
type bindingPlan struct {
	binding
	sink   store.Sink // of another layer's destination
	opened uint32     // its id
}

// bindable refuses a binding to what is not there, or not for this handle.
func (b *Broker) bindable(t *store.Turn, p bindingPlan) error {
	id, known := b.t.find(t, p.to)
	if !known || places[p.to.class].pkg != "" && id != p.opened {
		return p.to.unknown()
	}
	return b.mayBind(p.to)
}

// mayBind refuses the queue of another handle.
func (b *Broker) mayBind(to destination) error {
	if to.class != store.ClassQueue {
		return nil
	}
	q := b.t.queues[to.name]
	if q == nil {
		return to.unknown()
	}
	return (&Queue{b, q}).usable()
}

// createBinding makes a binding whose ends are there, unless it is there too.
func (b *Broker) createBinding(t *store.Turn, p bindingPlan) {
	if _, again := b.t.exchanges[p.exchange].bindings[p.binding]; again {
		return
	}
	id, _ := b.t.find(t, p.to)
	number := b.t.numbered + 1
	t.Set(bindingKey(b.t.id, p.binding), encodeRecord(record{id, number}))
	b.t.bind(p.binding, number, p.sink)
	b.t.unstick(t)
}

// Unbind removes a binding. One that does not exist is ErrUnknownBinding, and one of an
// exchange that does not exist ErrUnknownExchange. It is durable when Unbind returns.
func (b *Broker) Unbind(ctx context.Context, from Binding) error {
	bound, err := from.check()
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		e := b.t.exchanges[bound.exchange]
		if e == nil {
			return destination{store.ClassExchange, bound.exchange}.unknown()
		}
		if e.routes.Damage != nil {
			return e.routes.Damage
		}
		if _, known := e.bindings[bound]; !known {
			return fmt.Errorf("%w: exchange %q to %v with key %q", ErrUnknownBinding, bound.exchange, bound.to, bound.key)
		}
		if err := b.mayBind(bound.to); err != nil {
			return err
		}
		b.t.unbind(t, bound)
		return nil
	}}, store.Sync)
}

// Bindings returns all bindings, in the order of exchange, destination, key
// and arguments. If those of an exchange cannot be read it returns the others, and the
// error that the exchange has in its Info.
func (b *Broker) Bindings(ctx context.Context) ([]Binding, error) {
	var found []binding
	var damage error
	err := b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		for _, e := range b.t.exchanges {
			damage = errors.Join(damage, e.routes.Damage)
			for bound := range e.bindings {
				found = append(found, bound)
			}
		}
		return nil
	}), store.Sync)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, binding.compare)
	list := make([]Binding, len(found))
	for i, bound := range found {
		list[i] = bound.public()
	}
	return list, damage
}

// openSink opens a destination of another layer, and returns its id too. Of a
// queue or exchange, and of what does not exist, it knows nothing. It is called outside the
// baton.
func (t *topology) openSink(ctx context.Context, to destination) (sink store.Sink, id uint32, err error) {
	pkg := places[to.class].pkg
	if pkg == "" {
		return nil, 0, nil
	}
	return t.s.Sink(ctx, to.class, to.name, pkg)
}

// find returns the id of a destination that exists.
func (t *topology) find(turn *store.Turn, to destination) (id uint32, known bool) {
	switch to.class {
	case store.ClassQueue:
		if q := t.queues[to.name]; q != nil {
			return q.object.ID, true
		}
	case store.ClassExchange:
		if e := t.exchanges[to.name]; e != nil {
			return e.object.ID, true
		}
	default:
		if o, known := turn.Lookup(to.class, to.name); known {
			return o.ID, true
		}
	}
	return 0, false
}

// bind takes a binding into memory.
func (t *topology) bind(b binding, number uint64, sink store.Sink) {
	to := t.end(b.to, sink)
	to.bindings[b] = true
	e := t.exchanges[b.exchange]
	e.bindings[b] = number
	e.routes.Add(b.route(), &to.place, number)
	t.numbered = max(t.numbered, number)
}

func (t *topology) unbind(turn *store.Turn, b binding) {
	turn.Delete(bindingKey(t.id, b))
	to := t.ends[b.to]
	e := t.exchanges[b.exchange]
	e.routes.Remove(b.route(), &to.place, e.bindings[b])
	delete(e.bindings, b)
	delete(to.bindings, b)
	if len(to.bindings) == 0 && to.queue == nil {
		delete(t.ends, b.to)
	}
	t.dropBereft(turn, e)
}

// unbindAll removes what leads to a destination that is going.
func (t *topology) unbindAll(turn *store.Turn, to destination) {
	if e := t.ends[to]; e != nil {
		for b := range e.bindings {
			t.unbind(turn, b)
		}
		delete(t.ends, to)
	}
}
