package workqueue

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Defaults and limits of a queue.
const (
	DefaultDeliveryLimit = 20
	NoDeliveryLimit      = -1
	MaxDeliveryLimit     = 1_000_000
)

// QueueConfig is stored with a queue; declaring it with another is
// pebblemq.ErrConfigMismatch.
type QueueConfig struct {
	// DeliveryLimit is how often a message is delivered before it counts as
	// one that cannot be processed. Default 20; NoDeliveryLimit is for ever.
	// Requeued deliveries count, and so do those whose consumer or process
	// went away.
	DeliveryLimit int

	// DeadLetter says where messages go that are rejected or over the delivery
	// limit, in the same commit that takes them out of the queue. Without it
	// they are dropped, as in RabbitMQ; over the limit, with a warning in the
	// store's log.
	DeadLetter *DeadLetter

	// MaxPriority is the highest Message.Priority that the queue tells apart; a
	// higher one counts as this, as in RabbitMQ. A message goes before all that
	// are ready with a lower one, and after those with the same. Default 0: the
	// queue does not look at priorities, and pays nothing for them. As each
	// priority that is used takes some memory, few are better than many.
	MaxPriority uint8
}

// DeadLetter is a place for messages that could not be processed.
type DeadLetter struct {
	// Exchange they are published to; empty is the default exchange. If it
	// does not exist, or routes them nowhere, they stay in their queue, and
	// that is logged: nothing is lost silently.
	Exchange string
	// Key to publish with; empty is the message's own.
	Key string
}

func (c *QueueConfig) normalize() (QueueConfig, error) {
	var full QueueConfig
	if c != nil {
		full = *c
	}
	if full.DeliveryLimit == 0 {
		full.DeliveryLimit = DefaultDeliveryLimit
	}
	if full.DeliveryLimit < NoDeliveryLimit || full.DeliveryLimit > MaxDeliveryLimit {
		return full, store.Invalid("DeliveryLimit %d is not between 1 and %d, or NoDeliveryLimit", full.DeliveryLimit, MaxDeliveryLimit)
	}
	if d := full.DeadLetter; d != nil {
		copied := *d
		full.DeadLetter = &copied
		if err := checkShort("dead letter key", d.Key); err != nil {
			return full, err
		}
		if d.Exchange != "" {
			return full, store.CheckName("dead letter exchange", d.Exchange)
		}
	}
	return full, nil
}

func (c QueueConfig) match(name string, stored QueueConfig) error {
	object := fmt.Sprintf("queue %q", name)
	if c.DeliveryLimit != stored.DeliveryLimit {
		return store.Mismatch(object, "DeliveryLimit", stored.DeliveryLimit, c.DeliveryLimit)
	}
	if c.MaxPriority != stored.MaxPriority {
		return store.Mismatch(object, "MaxPriority", stored.MaxPriority, c.MaxPriority)
	}
	if a, b := c.DeadLetter, stored.DeadLetter; (a == nil) != (b == nil) || a != nil && *a != *b {
		return store.Mismatch(object, "DeadLetter", describe(b), describe(a))
	}
	return nil
}

func describe(d *DeadLetter) string {
	if d == nil {
		return "none"
	}
	return fmt.Sprintf("exchange %q key %q", d.Exchange, d.Key)
}

// queue is a queue in memory. It is touched under the baton only.
type queue struct {
	name      string
	object    *store.Object
	config    QueueConfig
	topology  *topology
	spool     *spool.Lanes
	consumers []*Consumer
	turn      int // whose turn it is among the consumers
	posted    bool
	changed   store.Signal // fires when there may be something to hand out
	deleted   bool
}

func newQueue(t *topology, o *store.Object) (*queue, error) {
	q := &queue{name: o.Name[4:], object: o, topology: t}
	if err := json.Unmarshal(o.Config, &q.config); err != nil {
		return nil, fmt.Errorf("%w: configuration of queue %q: %w", store.ErrCorrupt, q.name, err)
	}
	var err error
	q.spool, err = spool.OpenLanes(t.s, layout, o.ID, q.config.MaxPriority, spool.Options{Ready: q.ready})
	return q, err
}

// DeclareQueue makes sure that a queue exists. The same configuration again is
// a no-op; nil is the default one. Every queue is durable.
func (b *Broker) DeclareQueue(ctx context.Context, name string, c *QueueConfig) error {
	if err := checkName("queue", name); err != nil {
		return err
	}
	config, err := c.normalize()
	if err != nil {
		return fmt.Errorf("queue %q: %w", name, err)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if q := b.t.queues[name]; q != nil {
			return config.match(name, q.config)
		}
		o, err := t.Create(store.ClassQueue, b.t.scoped(name), text)
		if err != nil {
			return err
		}
		q := &queue{name: name, object: o, config: config, topology: b.t}
		q.spool = spool.NewLanes(b.s, layout, o.ID, config.MaxPriority, spool.Options{Ready: q.ready})
		b.t.queues[name] = q
		return nil
	}), store.Sync)
}

// DeleteQueue removes a queue with its messages and bindings. Its consumers end
// with ErrQueueDeleted. Deleting one that does not exist does nothing.
func (b *Broker) DeleteQueue(ctx context.Context, name string) error {
	if err := checkName("queue", name); err != nil {
		return err
	}
	return b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		q := b.t.queues[name]
		if q == nil {
			return nil
		}
		b.t.unbindAll(t, destination{store.ClassQueue, name})
		q.deleted = true
		q.spool.Close(t)
		for _, c := range q.consumers {
			c.end(ErrQueueDeleted)
		}
		q.consumers = nil
		t.Drop(q.object, layout.Kinds()...)
		delete(b.t.queues, name)
		return nil
	}}, store.Sync)
}

// Purge removes the messages that are ready, not those that are delayed or
// unacknowledged, and returns how many they were.
func (b *Broker) Purge(ctx context.Context, name string) (n int, err error) {
	err = b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		q, err := b.t.queue(name)
		if err != nil {
			return err
		}
		n = q.spool.Purge(t, false)
		return nil
	}}, store.Default)
	return n, err
}

func (t *topology) queue(name string) (*queue, error) {
	if q := t.queues[name]; q != nil {
		return q, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknownQueue, name)
}

// QueueStats counts what is in a queue.
type QueueStats struct {
	Ready     uint64 // waiting for a consumer
	Unacked   uint64 // delivered and not settled
	Delayed   uint64 // waiting for their time
	Bytes     uint64 // of all three as encoded, a body that queues share in each of them
	Consumers int
}

// QueueStats returns the counters of a queue, exact at one moment.
func (b *Broker) QueueStats(ctx context.Context, name string) (st QueueStats, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		q, err := b.t.queue(name)
		if err != nil {
			return err
		}
		n := q.spool.Stats()
		st = QueueStats{Ready: n.Ready, Unacked: n.Taken, Delayed: n.Delayed, Bytes: n.Bytes, Consumers: len(q.consumers)}
		return nil
	}), store.Sync)
	return st, err
}
