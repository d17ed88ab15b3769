package workqueue

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Alter gives the queue another configuration, in place and with what it holds; nil and
// zero stand for the defaults. DedupeWindow and Exclusive stay as they are, and MaxPriority
// may be higher. Anything else is pebblemq.ErrConfigMismatch, and nothing is altered.
//
// The new configuration counts from now on: messages that are in the queue keep their
// priority and their end of life. It is durable when Alter returns, and all handles have it.
// RabbitMQ has policies for that.
func (q *Queue) Alter(ctx context.Context, c *QueueConfig) error {
	plan, err := planQueue(q.queue.name, c)
	if err != nil {
		return err
	}
	return q.b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if err := q.usable(); err != nil {
			return err
		}
		return q.queue.alter(t, plan.config)
	}), store.Sync)
}

func (q *declaredQueue) alter(t *store.Turn, config QueueConfig) error {
	changes := object.Compare(q.config, config)
	if err := changes.Alterable(namedQueue(q.name)); err != nil || len(changes) == 0 {
		return err
	}
	if err := config.checkPlace(q.name, q.topology.known); err != nil {
		return err
	}
	if err := t.Grow(); err != nil {
		return err
	}
	if err := q.store(t, func(is *storedQueue) { is.Config, is.Altered = config, t.Now().UnixNano() }); err != nil {
		return err
	}
	q.core.Widen(q.config.MaxPriority)
	q.limit()
	if q.expiry != nil {
		t.Disarm(q.expiry)
	}
	q.live(t)
	q.watch(t, t.Now()) // which finds out when
	q.hasDead.Store(false)
	q.topology.unstick(t)
	q.active = nil
	q.ready(t)
	return nil
}

// store writes what the queue has become.
func (q *declaredQueue) store(t *store.Turn, change func(*storedQueue)) error {
	is, err := decodeQueue(q.object)
	if err != nil {
		return err
	}
	change(&is)
	text, err := is.Encode()
	if err != nil {
		return err
	}
	t.Alter(q.object, text)
	q.config, q.paused = is.Config, is.State.Paused
	return nil
}

// AlterExchange gives an exchange another configuration, in place and with its bindings; nil
// and zero stand for the defaults. Its kind, the DedupeWindow and what a Hash exchange goes
// by stay as they are; another one is pebblemq.ErrConfigMismatch, and nothing is altered. The
// new configuration counts from now on. It is durable when AlterExchange returns.
func (b *Broker) AlterExchange(ctx context.Context, name string, c *ExchangeConfig) error {
	if err := checkName("exchange", name); err != nil {
		return err
	}
	info, err := b.Exchange(ctx, name)
	if err != nil {
		return err
	}
	plan, err := planExchange(name, info.Kind, c) // which never changes
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		e, err := b.t.exchange(name)
		if err != nil {
			return err
		}
		return b.t.alterExchange(t, e, plan.config)
	}), store.Sync)
}

func (t *topology) alterExchange(turn *store.Turn, e *exchange, config exchangeConfig) error {
	changes := object.Compare(e.config, config)
	if err := changes.Alterable(namedExchange(e.name)); err != nil || len(changes) == 0 {
		return err
	}
	if err := config.checkAlternate(e.name, t.known); err != nil {
		return err
	}
	if err := turn.Grow(); err != nil {
		return err
	}
	is, err := decodeConfig(e.object)
	if err != nil {
		return err
	}
	is.Config, is.Altered = config, turn.Now().UnixNano()
	text, err := is.Encode()
	if err != nil {
		return err
	}
	turn.Alter(e.object, text)
	e.config, e.routes.Alternate = config, config.Alternate
	return nil
}
