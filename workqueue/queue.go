package workqueue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// Defaults and limits of a queue.
const (
	DefaultDeliveryLimit = 20
	NoDeliveryLimit      = -1
	MaxDeliveryLimit     = 1_000_000

	DefaultAckTimeout = 30 * time.Minute
	NoAckTimeout      = -1
	MinAckTimeout     = 10 * time.Millisecond
	MaxAckTimeout     = 365 * 24 * time.Hour
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
	DeadLetter *DeadLetter `json:",omitempty"`

	// Retry is how long a message waits that is given back with Nack or NackUpTo, or
	// whose handler in Run has failed, by the number of its deliveries; then it goes
	// to the tail, as with a Requeue of that Delay. After the last delivery that
	// the DeliveryLimit allows it waits no longer. Default nil: after a Nack it has
	// its old place at once, and Run has a Backoff of its own. What comes back for
	// another reason has its old place at once. Zero fields are those of a Backoff.
	Retry *pebblemq.Backoff `json:",omitempty"`

	// DedupeWindow is how long the queue knows a MessageID again. Within that
	// time of the first, another message with the same one does not get into
	// it, whichever exchange it was published to, and whether or not the first
	// is still there; its publisher is told the same as that of the first. Dead
	// letters, and what is requeued or redriven, always get in. Zero is not at
	// all; at most MaxDedupeWindow.
	DedupeWindow time.Duration `json:",omitempty"`

	// AckTimeout is how long a delivery may be unacknowledged. Then it goes back to
	// the queue, which is logged, and settling it is ErrDeliveryLost; the consumer
	// goes on, other than in RabbitMQ. It may take a sixteenth longer. One that the
	// application has not taken from its consumer by then does not count. Default 30
	// minutes; NoAckTimeout is for ever. Delivery.Extend begins it anew.
	AckTimeout time.Duration

	// SingleActive queues have one consumer at a time that gets messages: the
	// first of the highest priority. When it is closed or cancelled the next one
	// takes over, and one of a higher priority that comes does so as soon as
	// the active one holds nothing any more.
	SingleActive bool `json:",omitempty"`

	// AutoDelete queues are deleted, with what they hold, when their last
	// consumer is closed. One that never had a consumer stays, and so does one
	// whose consumers went away with the process; there this departs from
	// RabbitMQ.
	AutoDelete bool `json:",omitempty"`

	// Expires is how long a queue may be unused before it is deleted with what
	// it holds. Consumers and unacknowledged deliveries use it; Get and
	// DeclareQueue use it at their moment, Publish does not. Opening the store
	// begins the time anew. Zero is never; at most MaxExpires.
	Expires time.Duration `json:",omitempty"`

	// Exclusive queues belong to the *Broker that declared them. Another, even
	// of the same broker, may publish to them, but else is refused with
	// ErrInUse. They are deleted by Broker.DeleteExclusive, or when the store
	// is opened again.
	Exclusive bool `json:",omitempty"`

	// MessageTTL is how long a message may wait in the queue; see Message.TTL, of
	// which the shorter one counts. Zero is for ever; at most MaxTTL, or NowOrNever.
	MessageTTL time.Duration `json:",omitempty"`

	// MaxLength is how many messages may be ready, and MaxBytes how large they may
	// be together as encoded; zero is any. What is unacknowledged or delayed does
	// not count, as in RabbitMQ, unless LimitTotal says so. The limits are exact, but
	// no message is refused that comes back to the queue, nor one whose delay is
	// over. Overflow says what becomes of one too many; default DropHead.
	MaxLength  int      `json:",omitempty"`
	MaxBytes   int64    `json:",omitempty"`
	LimitTotal bool     `json:",omitempty"`
	Overflow   Overflow `json:",omitempty"`

	// MaxPriority is the highest Message.Priority that the queue tells apart; a
	// higher one counts as this, as in RabbitMQ. A message goes before all that
	// are ready with a lower one, and after those with the same. Default 0: the
	// queue does not look at priorities, and pays nothing for them. As each
	// priority that is used takes some memory, few are better than many.
	MaxPriority uint8 `json:",omitempty"`

	// MaxOvertakes is how many messages of higher priorities in a row are delivered
	// while one of a lower priority is ready; then the oldest of that priority is next,
	// and if that is so of several, the highest of them. So nothing starves. It is
	// counted from the opening of the store, and DropHead does not look at it. Default
	// 0 is any number, which is RabbitMQ's strict order.
	MaxOvertakes int `json:",omitempty"`
}

// DeadLetter is a place for messages that could not be processed.
type DeadLetter struct {
	// Exchange they are published to; empty is the default exchange. If it
	// does not exist, or routes them nowhere, or a queue that it leads to is full,
	// they stay in their queue and are tried again, which is logged and counted
	// (QueueStats.Stuck): nothing is lost silently. A queue with 16,384 of them, or 16
	// MiB, hands out nothing more until there is a place.
	Exchange string
	// Key to publish with; empty is the message's own, and its CC.
	Key string
	// DropIfMissing has them dropped instead of kept if the exchange does not exist or
	// routes them nowhere, as RabbitMQ does; that is logged. One that a queue has no
	// room for is kept all the same.
	DropIfMissing bool `json:",omitempty"`
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
	if err := checkTTL("MessageTTL", full.MessageTTL); err != nil {
		return full, err
	}
	if full.AckTimeout == 0 {
		full.AckTimeout = DefaultAckTimeout
	}
	if full.AckTimeout != NoAckTimeout && (full.AckTimeout < MinAckTimeout || full.AckTimeout > MaxAckTimeout) {
		return full, store.Invalid("AckTimeout %v is not between %v and %v, or NoAckTimeout", full.AckTimeout, MinAckTimeout, MaxAckTimeout)
	}
	if err := full.checkRetry(); err != nil {
		return full, err
	}
	if err := full.checkLimits(); err != nil {
		return full, err
	}
	if full.MaxOvertakes < 0 || full.MaxOvertakes > 0 && full.MaxPriority == 0 {
		return full, store.Invalid("MaxOvertakes %d with MaxPriority %d", full.MaxOvertakes, full.MaxPriority)
	}
	if err := full.checkLifetime(); err != nil {
		return full, err
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
	if a, b := c.Retry, stored.Retry; (a == nil) != (b == nil) || a != nil && *a != *b {
		return store.Mismatch(object, "Retry", describeRetry(b), describeRetry(a))
	}
	if err := c.matchLimits(object, &stored); err != nil {
		return err
	}
	if c.MessageTTL != stored.MessageTTL {
		return store.Mismatch(object, "MessageTTL", stored.MessageTTL, c.MessageTTL)
	}
	if c.AckTimeout != stored.AckTimeout {
		return store.Mismatch(object, "AckTimeout", stored.AckTimeout, c.AckTimeout)
	}
	if c.SingleActive != stored.SingleActive {
		return store.Mismatch(object, "SingleActive", stored.SingleActive, c.SingleActive)
	}
	if c.MaxPriority != stored.MaxPriority {
		return store.Mismatch(object, "MaxPriority", stored.MaxPriority, c.MaxPriority)
	}
	if c.MaxOvertakes != stored.MaxOvertakes {
		return store.Mismatch(object, "MaxOvertakes", stored.MaxOvertakes, c.MaxOvertakes)
	}
	if a, b := c.DeadLetter, stored.DeadLetter; (a == nil) != (b == nil) || a != nil && *a != *b {
		return store.Mismatch(object, "DeadLetter", describe(b), describe(a))
	}
	return c.matchLifetime(object, &stored)
}

// clone returns a configuration that is the caller's to change.
func (c QueueConfig) clone() QueueConfig {
	if c.DeadLetter != nil {
		copied := *c.DeadLetter
		c.DeadLetter = &copied
	}
	if c.Retry != nil {
		copied := *c.Retry
		c.Retry = &copied
	}
	return c
}

func describe(d *DeadLetter) string {
	if d == nil {
		return "none"
	}
	if d.DropIfMissing {
		return fmt.Sprintf("exchange %q key %q, dropped if missing", d.Exchange, d.Key)
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
	damage    error // why the queue cannot be used, if its record cannot be read
	end       *end  // once a message was routed here by name
	consumers []*Consumer
	cancelled []*Consumer        // which hold something yet
	got       map[*Delivery]bool // by Get, not settled
	active    *Consumer          // of a queue with SingleActive
	turn      int                // whose turn it is among the consumers
	overdue   *store.Timer       // for AckTimeout
	watching  bool               // it is armed
	posted    bool
	changed   store.Signal // fires when there may be something to hand out
	deleted   bool
	paused    bool // hands out nothing

	totals QueueTotals

	offered map[*spool.Message]bool // to consumers, until the next dispatch; see offer

	stuck stuckLetters

	window *window.Window // nil without DedupeWindow
	owner  *Broker        // if it is exclusive
	expiry *store.Timer
	used   time.Time // last
}

func newQueue(ctx context.Context, t *topology, o *store.Object) (*queue, error) {
	q := &queue{name: o.Name[4:], object: o, topology: t}
	if err := q.decode(); err != nil {
		return nil, err
	}
	q.window = newWindow(t.s, o, q.config.DedupeWindow)
	q.openSpool(ctx)
	return q, nil
}

// limit prepares the queue for its limits, and for the order of its priorities.
func (q *queue) limit() {
	q.spool.Patience(q.config.MaxOvertakes)
	if q.config.limited() {
		q.spool.KeepUnshown()
	}
}

func (q *queue) options() spool.Options {
	return spool.Options{Name: q.name, Ready: q.ready, Expired: q.buryExpired, Added: q.admit, ID: messageIDOf}
}

// DeclareQueue makes sure that a queue exists. The same configuration again is
// a no-op, another is pebblemq.ErrConfigMismatch (see AlterQueue); nil is the
// default one. Names that begin with "amq." are for the broker to give (see
// DeclareNewQueue). Every queue is durable.
func (b *Broker) DeclareQueue(ctx context.Context, name string, c *QueueConfig) error {
	if err := store.CheckName("queue", name); err != nil {
		return err
	}
	return b.declareQueue(ctx, name, c, checkName)
}

// declareQueue declares a queue whose name passes a check if it is new.
func (b *Broker) declareQueue(ctx context.Context, name string, c *QueueConfig, check func(what, name string) error) error {
	plan, err := planQueue(name, c)
	if err != nil {
		return err
	}
	return b.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if b.t.queues[name] == nil {
			if err := check("queue", name); err != nil {
				return err
			}
			return b.createQueue(t, plan)
		}
		q, err := b.use(t, name)
		if err != nil {
			return err
		}
		return plan.config.match(name, q.config)
	}), store.Sync)
}

// queuePlan is a queue that may be declared.
type queuePlan struct {
	name   string
	config QueueConfig
	text   []byte // config as it is stored
}

func planQueue(name string, c *QueueConfig) (queuePlan, error) {
	config, err := c.normalize()
	if err != nil {
		return queuePlan{}, fmt.Errorf("queue %q: %w", name, err)
	}
	text, err := json.Marshal(config)
	return queuePlan{name, config, text}, err
}

func (b *Broker) createQueue(t *store.Turn, p queuePlan) error {
	o, err := t.Create(store.ClassQueue, b.t.scoped(p.name), p.text)
	if err != nil {
		return err
	}
	q := &queue{name: p.name, object: o, config: p.config, topology: b.t}
	q.window = newWindow(b.s, o, p.config.DedupeWindow)
	if p.config.Exclusive {
		q.owner = b
	}
	q.spool = spool.NewLanes(b.s, layout, o.ID, p.config.MaxPriority, q.options())
	q.limit()
	b.t.queues[p.name] = q
	q.live(t)
	b.t.unstick(t)
	return nil
}

// DeleteQueue removes a queue with its messages and bindings. Its consumers end
// with ErrQueueDeleted. One that does not exist is ErrUnknownQueue.
func (b *Broker) DeleteQueue(ctx context.Context, name string) error {
	return b.DeleteQueueIf(ctx, name, DeleteIf{})
}

// Purge removes the messages that are ready, not those that are delayed or
// unacknowledged, and returns how many they were.
func (b *Broker) Purge(ctx context.Context, name string) (n int, err error) {
	err = b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		q, err := b.queue(name)
		if err != nil {
			return err
		}
		n = q.spool.Purge(t, false)
		return nil
	}}, store.Default)
	return n, err
}

func (t *topology) queue(name string) (*queue, error) {
	q := t.queues[name]
	if q == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownQueue, name)
	}
	return q, q.damage
}

// QueueStats counts what is in a queue.
type QueueStats struct {
	Ready   uint64 // waiting for a consumer
	Unacked uint64 // delivered and not settled
	Stuck   Dead   // of Unacked, by reason: dead letters that have no place to go; see DeadLetter
	Delayed uint64 // waiting for their time
	// Unreadable is how many messages the queue holds and cannot read, because the disk
	// is damaged or fails. It counts some of them only when it comes to them.
	Unreadable uint64
	Bytes      uint64 // of all three as encoded, a body that queues share in each of them
	Consumers  int
	Paused     bool // by PauseQueue
}

// QueueStats returns the counters of a queue, exact at one moment.
func (b *Broker) QueueStats(ctx context.Context, name string) (st QueueStats, err error) {
	err = b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		q, err := b.t.queue(name)
		if err != nil {
			return err
		}
		n := q.spool.Stats()
		st = QueueStats{Ready: n.Ready, Unacked: n.Taken, Stuck: q.stuck.dead, Delayed: n.Delayed, Unreadable: n.Unreadable, Bytes: n.Bytes, Consumers: len(q.consumers), Paused: q.paused}
		return nil
	}), store.Sync)
	return st, err
}
