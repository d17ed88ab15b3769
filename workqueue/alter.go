package workqueue

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// AlterQueue gives a queue another configuration, in place and with what it
// holds. DeliveryLimit, DeadLetter, Retry, AckTimeout, SingleActive, AutoDelete, Expires,
// MessageTTL and the limits may be others, and count from now on; MaxPriority may be
// higher. Messages that are in the queue keep their priority and their end of life.
// Another difference is pebblemq.ErrConfigMismatch. It is durable when AlterQueue
// returns. RabbitMQ has policies for that.
func (b *Broker) AlterQueue(ctx context.Context, name string, c *QueueConfig) error {
	if err := store.CheckName("queue", name); err != nil {
		return err
	}
	plan, err := planQueue(name, c)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		q, err := b.queue(name)
		if err != nil {
			return err
		}
		allowed := q.config
		allowed.DeliveryLimit, allowed.DeadLetter, allowed.Retry = plan.config.DeliveryLimit, plan.config.DeadLetter, plan.config.Retry
		allowed.AckTimeout, allowed.SingleActive = plan.config.AckTimeout, plan.config.SingleActive
		allowed.AutoDelete, allowed.Expires = plan.config.AutoDelete, plan.config.Expires
		allowed.MaxLength, allowed.MaxBytes, allowed.Overflow = plan.config.MaxLength, plan.config.MaxBytes, plan.config.Overflow
		allowed.LimitTotal, allowed.MaxOvertakes = plan.config.LimitTotal, plan.config.MaxOvertakes
		allowed.MessageTTL, allowed.MaxPriority = plan.config.MessageTTL, max(allowed.MaxPriority, plan.config.MaxPriority)
		if err := plan.config.match(name, allowed); err != nil {
			return err
		}
		if err := t.Grow(); err != nil {
			return err
		}
		if err := q.store(t, plan.config, q.paused); err != nil {
			return err
		}
		q.spool.Widen(q.config.MaxPriority)
		q.limit()
		if q.expiry != nil {
			t.Disarm(q.expiry)
		}
		q.live(t)
		if q.config.AckTimeout != NoAckTimeout {
			q.watch(t, t.Now()) // which finds out when
		}
		b.t.unstick(t)
		q.active = nil
		q.ready(t)
		return nil
	}), store.Sync)
}

// AlterExchange gives an exchange another configuration, in place and with its
// bindings. Alternate, Internal and AutoDelete may be others, and count from now
// on; another difference is pebblemq.ErrConfigMismatch. It is durable when
// AlterExchange returns.
func (b *Broker) AlterExchange(ctx context.Context, name string, c *ExchangeConfig) error {
	if err := checkName("exchange", name); err != nil {
		return err
	}
	kind, _, err := b.Exchange(ctx, name) // which never changes
	if err != nil {
		return err
	}
	plan, err := planExchange(name, kind, c)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		e := b.t.exchanges[name]
		if e == nil {
			return destination{store.ClassExchange, name}.unknown()
		}
		allowed := e.config
		allowed.Alternate, allowed.Internal, allowed.AutoDelete = plan.config.Alternate, plan.config.Internal, plan.config.AutoDelete
		if err := plan.config.match(name, allowed); err != nil {
			return err
		}
		if err := t.Grow(); err != nil {
			return err
		}
		t.Alter(e.object, plan.text)
		e.config = plan.config
		return nil
	}), store.Sync)
}
