package workqueue

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// binding leads from an exchange to a queue. Its fields are its identity.
type binding struct {
	exchange, queue, key string
}

func (t *topology) bindingsOf(keep func(binding) bool) []binding {
	var found []binding
	for b := range t.bindings {
		if keep(b) {
			found = append(found, b)
		}
	}
	return found
}

func (t *topology) bind(turn *store.Turn, b binding) {
	turn.Set(bindingKey(t.id, b), []byte{version})
	t.bindings[b] = true
	t.exchanges[b.exchange].bind(b.queue, b.key)
}

func (t *topology) unbind(turn *store.Turn, b binding) {
	turn.Delete(bindingKey(t.id, b))
	delete(t.bindings, b)
	t.exchanges[b.exchange].unbind(b.queue, b.key)
}

// Bind has an exchange route to a queue the messages that match a key: for
// Direct the routing key itself, for Topic a pattern, for Fanout it does not
// matter. Binding again is a no-op, and a queue that several bindings lead to
// gets one copy. An unknown end is an error. The default exchange routes by the
// name of the queue and cannot be bound.
func (b *Broker) Bind(ctx context.Context, queue, exchange, key string) error {
	bound, err := newBinding(queue, exchange, key)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if b.t.exchanges[exchange] == nil {
			return fmt.Errorf("%w: %q", ErrUnknownExchange, exchange)
		}
		if b.t.queues[queue] == nil {
			return fmt.Errorf("%w: %q", ErrUnknownQueue, queue)
		}
		if b.t.bindings[bound] {
			return nil
		}
		if err := t.Grow(); err != nil {
			return err
		}
		b.t.bind(t, bound)
		return nil
	}), store.Sync)
}

// Unbind removes a binding. That it does not exist is no error.
func (b *Broker) Unbind(ctx context.Context, queue, exchange, key string) error {
	bound, err := newBinding(queue, exchange, key)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if b.t.bindings[bound] {
			b.t.unbind(t, bound)
		}
		return nil
	}}, store.Sync)
}

func newBinding(queue, exchange, key string) (binding, error) {
	if exchange == "" {
		return binding{}, fmt.Errorf("%w: the default exchange cannot be bound", ErrInUse)
	}
	if err := store.CheckName("exchange", exchange); err != nil {
		return binding{}, err
	}
	if err := store.CheckName("queue", queue); err != nil {
		return binding{}, err
	}
	return binding{exchange, queue, key}, checkShort("binding key", key)
}
