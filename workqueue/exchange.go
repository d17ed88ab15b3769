package workqueue

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
)

// ExchangeKind says how an exchange compares routing keys with bindings.
type ExchangeKind string

const (
	// Direct routes to the bindings whose key is the routing key.
	Direct ExchangeKind = "direct"
	// Fanout routes to all bindings.
	Fanout ExchangeKind = "fanout"
	// Topic routes to the bindings whose pattern matches the routing key word
	// by word: words are separated by dots, * is one word, # any number.
	Topic ExchangeKind = "topic"
)

// exchangeConfig is what is stored with an exchange.
type exchangeConfig struct {
	Kind ExchangeKind
}

// exchange is an exchange in memory. It is touched under the baton only.
//
// Invariant: bindings are those of leads or patterns, and no others.
type exchange struct {
	object   *store.Object
	kind     ExchangeKind
	bindings map[binding]bool
	leads    map[string]destinations // by key; for Fanout, all under ""
	patterns trie                    // of Topic
}

func newExchange(o *store.Object) (*exchange, error) {
	var c exchangeConfig
	if err := json.Unmarshal(o.Config, &c); err != nil {
		return nil, fmt.Errorf("%w: configuration of an exchange: %w", store.ErrCorrupt, err)
	}
	return &exchange{object: o, kind: c.Kind, bindings: make(map[binding]bool), leads: make(map[string]destinations)}, nil
}

func (e *exchange) bind(b binding) {
	e.bindings[b] = true
	if e.kind == Topic {
		e.patterns.add(b.key, b.to)
		return
	}
	key := e.leadKey(b.key)
	if e.leads[key] == nil {
		e.leads[key] = make(destinations)
	}
	e.leads[key].add(b.to)
}

func (e *exchange) unbind(b binding) {
	delete(e.bindings, b)
	if e.kind == Topic {
		e.patterns.remove(b.key, b.to)
		return
	}
	key := e.leadKey(b.key)
	e.leads[key].remove(b.to)
	if len(e.leads[key]) == 0 {
		delete(e.leads, key)
	}
}

// leadKey is what a key or a binding's key is looked up by.
func (e *exchange) leadKey(key string) string {
	if e.kind == Fanout {
		return ""
	}
	return key
}

// route calls found for every destination that a key leads to, perhaps
// repeatedly.
func (e *exchange) route(key string, found func(destination)) {
	if e.kind == Topic {
		e.patterns.match(key, found)
		return
	}
	e.leads[e.leadKey(key)].each(found)
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

// DeclareExchange makes sure that an exchange exists. The same kind again is a
// no-op, another is pebblemq.ErrConfigMismatch. The default exchange, whose
// name is empty, is always there.
func (b *Broker) DeclareExchange(ctx context.Context, name string, kind ExchangeKind) error {
	if err := checkName("exchange", name); err != nil {
		return err
	}
	if kind != Direct && kind != Fanout && kind != Topic {
		return store.Invalid("exchange %q: kind %q is none of direct, fanout, topic", name, kind)
	}
	config, err := json.Marshal(exchangeConfig{Kind: kind})
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if e := b.t.exchanges[name]; e != nil {
			if e.kind != kind {
				return store.Mismatch(fmt.Sprintf("exchange %q", name), "kind", e.kind, kind)
			}
			return nil
		}
		o, err := t.Create(store.ClassExchange, b.t.scoped(name), config)
		if err != nil {
			return err
		}
		b.t.exchanges[name], err = newExchange(o)
		return err
	}), store.Sync)
}

// DeleteExchange removes an exchange and its bindings. Deleting one that does
// not exist does nothing.
func (b *Broker) DeleteExchange(ctx context.Context, name string) error {
	if err := checkName("exchange", name); err != nil {
		return err
	}
	return b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		e := b.t.exchanges[name]
		if e == nil {
			return nil
		}
		for bound := range e.bindings {
			b.t.unbind(t, bound)
		}
		t.Drop(e.object)
		delete(b.t.exchanges, name)
		return nil
	}}, store.Sync)
}
