package workqueue

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// ExchangeKind says how an exchange compares messages with bindings.
type ExchangeKind string

const (
	// Direct routes to the bindings whose key is the routing key.
	Direct ExchangeKind = "direct"
	// Fanout routes to all bindings.
	Fanout ExchangeKind = "fanout"
	// Topic routes to the bindings whose pattern matches the routing key word
	// by word: words are separated by dots, * is one word, # any number.
	Topic ExchangeKind = "topic"
	// Headers routes by the headers of a message, whatever its key is, to the
	// bindings whose arguments they agree with. The argument x-match says how:
	// with "all", which is the default, every other argument must be there with
	// exactly its value, with "any" one of them. An argument that is nil asks
	// for the header to be there, with whatever value. Arguments whose names
	// begin with x- are left out, unless x-match is "all-with-x" or
	// "any-with-x". A binding without arguments gets every message, one with
	// "any" and no others none. Another x-match is ErrInvalid.
	Headers ExchangeKind = "headers"
	// Hash shares messages out: those with the same routing key go to the same
	// destination, over restarts too, and for the most part still do when one
	// is added or removed. The key of a binding is its weight, a number from 1
	// to MaxHashWeight: the share it gets in comparison with others. Of several
	// bindings to one destination the first that was made counts. HashHeader or
	// HashProperty has something else hashed than the key.
	Hash ExchangeKind = "hash"
	// Random routes each message to one of the bound destinations.
	Random ExchangeKind = "random"
)

// ExchangeConfig is stored with an exchange; declaring it with another is
// pebblemq.ErrConfigMismatch.
type ExchangeConfig struct {
	// Alternate is the exchange that gets a message which none of the bindings
	// matches. It may have one itself; the chain ends when a message is routed
	// or comes to an exchange again. It need not exist yet: while it does not,
	// such a message is unroutable, as it is without one. Default: none.
	Alternate string `json:",omitempty"`

	// Internal exchanges get messages from other exchanges only: through
	// bindings, as an alternate or as a dead letter place. To publish to one
	// is ErrInUse.
	Internal bool `json:",omitempty"`

	// AutoDelete exchanges are deleted with the last binding that leads from
	// them. One that never had a binding stays.
	AutoDelete bool `json:",omitempty"`

	// DedupeWindow is how long the exchange knows a MessageID again. Within that
	// time of the first, publishing a message with the same one has no effect,
	// whatever it holds, and the outcome of the first. Messages without one are
	// all different, and those that come through a binding, as an alternate or
	// as dead letters do not count. Zero is not at all; at most MaxDedupeWindow.
	DedupeWindow time.Duration `json:",omitempty"`

	// HashHeader is the header that a Hash exchange goes by instead of the
	// routing key, HashProperty the property, one of those above; at most one
	// is set. The messages that lack it all go to the same destination.
	HashHeader   string `json:",omitempty"`
	HashProperty string `json:",omitempty"`
}

// storedExchange is what is stored with an exchange.
type storedExchange struct {
	Kind ExchangeKind
	ExchangeConfig
}

func (c *ExchangeConfig) normalize(kind ExchangeKind) (storedExchange, error) {
	full := storedExchange{Kind: kind}
	if c != nil {
		full.ExchangeConfig = *c
	}
	if matchers[kind] == nil {
		return full, store.Invalid("kind %q is none of %s", kind, strings.Join(kinds, ", "))
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

func (c storedExchange) match(name string, stored storedExchange) error {
	object := fmt.Sprintf("exchange %q", name)
	switch {
	case c.Kind != stored.Kind:
		return store.Mismatch(object, "kind", stored.Kind, c.Kind)
	case c.Alternate != stored.Alternate:
		return store.Mismatch(object, "Alternate", stored.Alternate, c.Alternate)
	case c.Internal != stored.Internal:
		return store.Mismatch(object, "Internal", stored.Internal, c.Internal)
	case c.AutoDelete != stored.AutoDelete:
		return store.Mismatch(object, "AutoDelete", stored.AutoDelete, c.AutoDelete)
	case c.DedupeWindow != stored.DedupeWindow:
		return store.Mismatch(object, "DedupeWindow", stored.DedupeWindow, c.DedupeWindow)
	case c.HashHeader != stored.HashHeader:
		return store.Mismatch(object, "HashHeader", stored.HashHeader, c.HashHeader)
	case c.HashProperty != stored.HashProperty:
		return store.Mismatch(object, "HashProperty", stored.HashProperty, c.HashProperty)
	}
	return nil
}

// exchange is an exchange in memory. It is touched under the baton only.
//
// Invariant: bindings are those of the matcher, and no others.
type exchange struct {
	object   *store.Object
	name     string
	config   storedExchange
	bindings map[binding]uint64 // to their numbers, which grow as bindings are made
	matcher  matcher
	window   *window.Window // nil without DedupeWindow
	visited  uint64         // by which walk
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
	e := &exchange{object: o, name: o.Name[4:], bindings: make(map[binding]uint64)}
	if err := json.Unmarshal(o.Config, &e.config); err != nil {
		return nil, fmt.Errorf("%w: configuration of exchange %q: %w", store.ErrCorrupt, e.name, err)
	}
	newMatcher := matchers[e.config.Kind]
	if newMatcher == nil {
		return nil, fmt.Errorf("%w: exchange %q is of kind %q", store.ErrFormat, e.name, e.config.Kind)
	}
	e.matcher = newMatcher(e.config.ExchangeConfig)
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

// DeclareExchange makes sure that an exchange exists. The same kind and
// configuration again is a no-op, another is pebblemq.ErrConfigMismatch (see
// AlterExchange); nil is the default one. The default exchange, whose name is empty, is always there.
// It is durable when DeclareExchange returns.
func (b *Broker) DeclareExchange(ctx context.Context, name string, kind ExchangeKind, c *ExchangeConfig) error {
	plan, err := planExchange(name, kind, c)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if e := b.t.exchanges[name]; e != nil {
			return plan.config.match(name, e.config)
		}
		return b.t.createExchange(t, plan)
	}), store.Sync)
}

// exchangePlan is an exchange that may be declared.
type exchangePlan struct {
	name   string
	config storedExchange
	text   []byte // config as it is stored
}

func planExchange(name string, kind ExchangeKind, c *ExchangeConfig) (exchangePlan, error) {
	if err := checkName("exchange", name); err != nil {
		return exchangePlan{}, err
	}
	config, err := c.normalize(kind)
	if err != nil {
		return exchangePlan{}, fmt.Errorf("exchange %q: %w", name, err)
	}
	text, err := json.Marshal(config)
	return exchangePlan{name, config, text}, err
}

func (t *topology) createExchange(turn *store.Turn, p exchangePlan) error {
	o, err := turn.Create(store.ClassExchange, t.scoped(p.name), p.text)
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

// check refuses a binding that means nothing to the exchange.
func (e *exchange) check(b binding) error {
	if err := e.matcher.check(b); err != nil {
		return fmt.Errorf("binding of exchange %q: %w", e.name, err)
	}
	return nil
}

// Exchange returns the kind and configuration of an exchange, or
// ErrUnknownExchange: it is the passive form of DeclareExchange.
func (b *Broker) Exchange(ctx context.Context, name string) (kind ExchangeKind, c ExchangeConfig, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		e := b.t.exchanges[name]
		if e == nil {
			return fmt.Errorf("%w: %q", ErrUnknownExchange, name)
		}
		kind, c = e.config.Kind, e.config.ExchangeConfig
		return nil
	}), store.Sync)
	return kind, c, err
}

// DeleteExchange removes an exchange and the bindings from and to it. One that does not
// exist is ErrUnknownExchange.
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
		e := b.t.exchanges[name]
		if e == nil {
			return destination{store.ClassExchange, name}.unknown()
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
	if e.config.AutoDelete && len(e.bindings) == 0 && !e.dropped {
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
	turn.Drop(e.object, closeWindow(turn, e.window)...)
	delete(t.exchanges, e.name)
}
