package workqueue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
	"github.com/pebblemq/pebblemq/workqueue/internal/routing"
)

// ExchangeKind says how an exchange compares messages with bindings.
type ExchangeKind string

const (
	// Direct routes to the bindings whose key is the routing key.
	Direct ExchangeKind = routing.Direct
	// Fanout routes to all bindings.
	Fanout ExchangeKind = routing.Fanout
	// Topic routes to the bindings whose pattern matches the routing key word
	// by word: words are separated by dots, * is one word, # any number. A pattern
	// with a * or # in a word, such as order.pa*d, is ErrInvalid.
	Topic ExchangeKind = routing.Topic
	// Headers routes by the headers of a message, whatever its key is, to the
	// bindings whose arguments they agree with. The argument x-match says how:
	// with "all", which is the default, every other argument must be there with
	// exactly its value, with "any" one of them. An argument that is nil asks
	// for the header to be there, with whatever value. Arguments whose names
	// begin with x- are left out, unless x-match is "all-with-x" or
	// "any-with-x". A binding without arguments gets every message, one with
	// "any" and no others none. Another x-match is ErrInvalid.
	Headers ExchangeKind = routing.Headers
	// Hash shares messages out: those with the same routing key go to the same
	// destination, over restarts too, and for the most part still do when one
	// is added or removed. The key of a binding is its weight, a number from 1
	// to MaxHashWeight: the share it gets in comparison with others. Of several
	// bindings to one destination the first that was made counts. HashHeader or
	// HashProperty has something else hashed than the key.
	Hash ExchangeKind = routing.Hash
	// Random routes each message to one of the bound destinations.
	Random ExchangeKind = routing.Random
)

// ExchangeConfig is stored with an exchange. EnsureExchange and Broker.AlterExchange change
// all that is not said to stay as it is.
type ExchangeConfig struct {
	// Alternate is the exchange that gets a message which none of the bindings
	// matches. It may have one itself; the chain ends when a message is routed
	// or comes to an exchange again. It must exist. If it is deleted later, such a
	// message is unroutable, as it is without one. Default: none.
	Alternate string `json:"alternate,omitempty"`

	// Internal exchanges get messages from other exchanges only: through
	// bindings, as an alternate or as a dead letter place. To publish to one
	// is ErrInUse.
	Internal bool `json:"internal,omitempty"`

	// AutoDelete exchanges are deleted with the last binding that leads from
	// them. One that never had a binding stays.
	AutoDelete bool `json:"autoDelete,omitempty"`

	// DedupeWindow is how long the exchange remembers message IDs and drops repeats. It cannot
	// be changed. Within that time of the first, publishing a message with the same one has no
	// effect, whatever it holds, and the outcome of the first. Messages without one are all
	// different, and those that come through a binding, as an alternate or as dead letters do
	// not count. Zero is not at all; at most MaxDedupeWindow.
	DedupeWindow time.Duration `json:"dedupeWindow,omitempty" alter:"no"`

	// HashHeader, which cannot be changed, is the header that a Hash exchange goes by instead of the
	// routing key, HashProperty the property, one of those above; at most one
	// is set. The messages that lack it all go to the same destination.
	HashHeader   string `json:"hashHeader,omitempty" alter:"no"`
	HashProperty string `json:"hashProperty,omitempty" alter:"no"`
}

// exchangeConfig is all that an exchange is declared with.
type exchangeConfig struct {
	Kind ExchangeKind `json:"kind" alter:"no"`
	ExchangeConfig
}

type storedExchange = codec.Stored[exchangeConfig, codec.None]

func namedExchange(name string) string { return fmt.Sprintf("exchange %q", name) }

func decodeConfig(o *store.Object) (storedExchange, error) {
	return codec.Decode[exchangeConfig, codec.None](namedExchange(scopedName(o)), o.Config)
}

func (c *ExchangeConfig) normalize(kind ExchangeKind) (exchangeConfig, error) {
	full := exchangeConfig{Kind: kind}
	if c != nil {
		full.ExchangeConfig = *c
	}
	if !routing.Known(string(kind)) {
		return full, store.Invalid("kind %q is none of %s", kind, strings.Join(routing.Kinds, ", "))
	}
	if full.Alternate != "" {
		if err := store.CheckName("alternate exchange", full.Alternate); err != nil {
			return full, err
		}
	}
	if err := checkDedupe(full.DedupeWindow); err != nil {
		return full, err
	}
	return full, checkHashSource(kind, &full.ExchangeConfig)
}

// routes returns an exchange without bindings, nil if the kind is unknown.
func (c exchangeConfig) routes() *routing.Exchange {
	e := routing.NewExchange(string(c.Kind), routing.Config{HashHeader: c.HashHeader, HashProperty: c.HashProperty})
	if e != nil {
		e.Alternate = c.Alternate
	}
	return e
}

// exchange is an exchange in memory. It is touched under the baton only.
//
// Invariant: routes has the bindings and the alternate, too. Its Damage is that of the exchange.
type exchange struct {
	object   *store.Object
	name     string
	config   exchangeConfig
	bindings map[binding]uint64 // to their numbers, which grow as bindings are made
	routes   *routing.Exchange
	window   *window.Window // nil without DedupeWindow
	dropped  bool
}

func newExchange(s *store.Store, o *store.Object) (*exchange, error) {
	e, err := decodeExchange(o)
	if err == nil {
		e.window = newWindow(s, o, e.config.DedupeWindow)
	}
	return e, err
}

// decodeExchange makes an exchange without a window.
func decodeExchange(o *store.Object) (*exchange, error) {
	is, err := decodeConfig(o)
	if err != nil {
		return nil, err
	}
	e := &exchange{object: o, name: scopedName(o), config: is.Config, bindings: make(map[binding]uint64)}
	if e.routes = e.config.routes(); e.routes == nil {
		return nil, fmt.Errorf("%w: exchange %q is of kind %q", store.ErrFormat, e.name, e.config.Kind)
	}
	return e, nil
}

// reserved is the prefix of names that belong to the broker.
const reserved = "amq."

func checkName(what, name string) error {
	if err := store.CheckName(what, name); err != nil {
		return err
	}
	if strings.HasPrefix(name, reserved) {
		return fmt.Errorf("%w: %s name %q begins with %q, which is reserved", ErrInUse, what, name, reserved)
	}
	return nil
}

// DeclareExchange makes sure that an exchange exists. A nil config is the stored one, or the
// defaults for a new exchange. Another kind or config than the stored one is
// pebblemq.ErrConfigMismatch, which lists all fields that differ; EnsureExchange alters them.
// The default exchange, whose name is empty, is always there. A creation is durable when
// DeclareExchange returns, unless ctx says NoSync.
func (b *Broker) DeclareExchange(ctx context.Context, name string, kind ExchangeKind, c *ExchangeConfig) error {
	_, err := b.declareExchange(ctx, name, kind, c, false)
	return err
}

// EnsureExchange is DeclareExchange, but it alters an exchange whose config is another one,
// see AlterExchange. It says what it did. Another kind is pebblemq.ErrConfigMismatch.
func (b *Broker) EnsureExchange(ctx context.Context, name string, kind ExchangeKind, c *ExchangeConfig) (pebblemq.Ensured, error) {
	return b.declareExchange(ctx, name, kind, c, true)
}

func (b *Broker) declareExchange(ctx context.Context, name string, kind ExchangeKind, c *ExchangeConfig, ensure bool) (did pebblemq.Ensured, err error) {
	plan, err := planExchange(name, kind, c)
	if err != nil {
		return did, err
	}
	err = b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		e := b.t.exchanges[name]
		if e == nil {
			if err := plan.config.checkAlternate(name, b.t.known); err != nil {
				return err
			}
			did.Created = true
			return b.t.createExchange(t, plan)
		}
		if c == nil {
			plan.config.ExchangeConfig = e.config.ExchangeConfig
		}
		changes := object.Compare(e.config, plan.config)
		if !ensure {
			return changes.Mismatch(namedExchange(name), "EnsureExchange")
		}
		did.Altered = changes.Fields()
		return b.t.alterExchange(t, e, plan.config)
	}), store.Sync)
	if err != nil {
		return pebblemq.Ensured{}, err
	}
	return did, nil
}

// exchangePlan is an exchange that may be declared.
type exchangePlan struct {
	name   string
	config exchangeConfig
}

func planExchange(name string, kind ExchangeKind, c *ExchangeConfig) (exchangePlan, error) {
	if err := checkName("exchange", name); err != nil {
		return exchangePlan{}, err
	}
	config, err := c.normalize(kind)
	if err != nil {
		return exchangePlan{}, fmt.Errorf("exchange %q: %w", name, err)
	}
	return exchangePlan{name, config}, nil
}

func (t *topology) createExchange(turn *store.Turn, p exchangePlan) error {
	text, err := storedExchange{Created: turn.Now().UnixNano(), Config: p.config}.Encode()
	if err != nil {
		return fmt.Errorf("workqueue: configuration of exchange %q: %w", p.name, err)
	}
	o, err := turn.Create(store.ClassExchange, t.scoped(p.name), text)
	if err != nil {
		return err
	}
	e, err := newExchange(t.s, o)
	if err == nil {
		t.exchanges[p.name] = e
		t.unstick(turn)
	}
	return err
}

// check refuses a binding that means nothing to the exchange, and any if it is damaged.
func (e *exchange) check(b binding) error {
	if e.routes.Damage != nil {
		return e.routes.Damage
	}
	return checkRoute(e.routes, e.name, b)
}

func checkRoute(routes *routing.Exchange, name string, b binding) error {
	if err := routes.Check(b.route()); err != nil {
		return store.Invalid("binding of exchange %q: %v", name, err)
	}
	return nil
}

// exchange returns an exchange that exists.
func (t *topology) exchange(name string) (*exchange, error) {
	e := t.exchanges[name]
	if e == nil {
		return nil, destination{store.ClassExchange, name}.unknown()
	}
	return e, nil
}

// DeleteExchange removes an exchange and the bindings from and to it. One that does not
// exist is ErrUnknownExchange. As in RabbitMQ, an exchange may be deleted that others have as
// their DeadLetter or Alternate: see there what becomes of messages then.
func (b *Broker) DeleteExchange(ctx context.Context, name string) error {
	return b.deleteExchange(ctx, name, func(*exchange) error { return nil })
}

// DeleteUnusedExchange is DeleteExchange, but an exchange that bindings lead from
// is ErrInUse.
func (b *Broker) DeleteUnusedExchange(ctx context.Context, name string) error {
	return b.deleteExchange(ctx, name, func(e *exchange) error {
		if n := len(e.bindings); n > 0 {
			return fmt.Errorf("%w: exchange %q has %d bindings", ErrInUse, name, n)
		}
		return nil
	})
}

func (b *Broker) deleteExchange(ctx context.Context, name string, check func(*exchange) error) error {
	if err := checkName("exchange", name); err != nil {
		return err
	}
	return b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		e, err := b.t.exchange(name)
		if err != nil {
			return err
		}
		if err := check(e); err != nil {
			return err
		}
		b.t.dropExchange(t, e)
		return nil
	}}, store.Sync)
}

// dropBereft deletes an exchange that goes with its last binding, which it has
// just lost.
func (t *topology) dropBereft(turn *store.Turn, e *exchange) {
	if e.config.AutoDelete && len(e.bindings) == 0 && !e.dropped && e.routes.Damage == nil {
		t.dropExchange(turn, e)
	}
}

// dropExchange removes an exchange and its bindings. Those may be the last of
// other exchanges, which then go too, but not round in a circle.
func (t *topology) dropExchange(turn *store.Turn, e *exchange) {
	e.dropped = true
	for bound := range e.bindings {
		t.unbind(turn, bound)
	}
	t.unbindAll(turn, destination{store.ClassExchange, e.name})
	if e.routes.Damage != nil {
		turn.DeleteRange(e.span(t.id))
	}
	turn.Drop(e.object, closeWindow(turn, e.window)...)
	delete(t.exchanges, e.name)
}
