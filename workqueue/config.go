package workqueue

import (
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/store"
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

// QueueConfig is stored with a queue. A zero field stands for its default. EnsureQueue and
// Queue.Alter change all that is not said to stay as it is.
type QueueConfig struct {
	// DeliveryLimit is how often a message is delivered before it counts as
	// one that cannot be processed. It is a dead letter as soon as the last of these
	// deliveries comes back. Default 20; NoDeliveryLimit is for ever.
	// Requeued deliveries count, and so do those whose consumer or process
	// went away. If the process ended during the last delivery, the message is
	// ready after the next start, and a dead letter when its turn comes.
	DeliveryLimit int `json:"deliveryLimit"`

	// DeadLetter says where messages go that are rejected, over the delivery limit, expired or
	// too many, in the same commit that takes them out of the queue. Default: rejected messages
	// and those over the limit go to the queue NAME.dead. It is created when it is first needed
	// and keeps messages for DeadRetention. Other dead letters are dropped, and so are those of
	// an exclusive queue. RabbitMQ drops all of them.
	DeadLetter *DeadLetter `json:"deadLetter,omitempty"`

	// DropDead drops the messages that are rejected, or over the delivery limit with a
	// warning in the log. It excludes a DeadLetter. Default: false.
	DropDead bool `json:"dropDead,omitempty"`

	// Retry is how long a message waits after a Nack, a NackUpTo or a failed handler in Run, by
	// the number of its deliveries. Then it goes to the tail, as with a Requeue of that Delay.
	// After the last delivery that the DeliveryLimit allows it waits no longer. Default nil:
	// after a Nack it has its old place at once, and Run has a Backoff of its own. Messages
	// that return for other reasons take their old place at once. Zero fields are those of a
	// Backoff.
	Retry *pebblemq.Backoff `json:"retry,omitempty"`

	// DedupeWindow is how long the queue remembers message IDs and drops repeats. It cannot be
	// changed. The exchange does not matter, nor whether the first message is still in the
	// queue. The publisher of a repeat gets the outcome of the first. Dead letters, and what is
	// requeued or redriven, always get in. Zero is not at all; at most MaxDedupeWindow.
	DedupeWindow time.Duration `json:"dedupeWindow,omitempty" alter:"no"`

	// AckTimeout is how long a delivery may be unacknowledged. Then it goes back to
	// the queue, which is logged, and settling it is ErrDeliveryLost; the consumer
	// goes on, other than in RabbitMQ. It may take a sixteenth longer. One that the
	// application has not taken from its consumer by then does not count. Default 30
	// minutes; NoAckTimeout is for ever. Delivery.Extend begins it anew.
	AckTimeout time.Duration `json:"ackTimeout"`

	// SingleActive queues have one consumer at a time that gets messages: the
	// first of the highest priority. When it is closed or cancelled the next one
	// takes over, and one of a higher priority that comes does so as soon as
	// the active one holds nothing any more.
	SingleActive bool `json:"singleActive,omitempty"`

	// AutoDelete queues are deleted, with what they hold, when their last
	// consumer is closed. One that never had a consumer stays, and so does one
	// whose consumers went away with the process; there this departs from
	// RabbitMQ.
	AutoDelete bool `json:"autoDelete,omitempty"`

	// Expires is how long a queue may be unused before it is deleted with what
	// it holds. Consumers and unacknowledged deliveries use it; Get and
	// DeclareQueue use it at their moment, Publish does not. Opening the store
	// begins the time anew. Zero is never; at most MaxExpires.
	Expires time.Duration `json:"expires,omitempty"`

	// Exclusive queues, which stay so, belong to the *Broker that declared them. Another, even
	// of the same broker, may publish to them, but else is refused with
	// ErrInUse. They are deleted by Broker.DeleteExclusive, or when the store
	// is opened again.
	Exclusive bool `json:"exclusive,omitempty" alter:"no"`

	// MessageTTL is how long a message may wait in the queue; see Message.TTL, of
	// which the shorter one counts. Zero is for ever; at most MaxTTL, or NowOrNever.
	MessageTTL time.Duration `json:"messageTTL,omitempty"`

	// MaxLength is how many messages may be ready, and MaxBytes how large they may be together
	// as encoded; zero is any. Unacknowledged and delayed messages do not count, as in
	// RabbitMQ, unless LimitTotal is set. The limits are exact, but no message is refused that
	// comes back to the queue, nor one whose delay is over. Overflow says what becomes of one
	// too many; default DropHead.
	MaxLength  int      `json:"maxLength,omitempty"`
	MaxBytes   int64    `json:"maxBytes,omitempty"`
	LimitTotal bool     `json:"limitTotal,omitempty"`
	Overflow   Overflow `json:"overflow,omitempty"`

	// MaxPriority is the highest Message.Priority that the queue tells apart; a
	// higher one counts as this, as in RabbitMQ. A message goes before all that
	// are ready with a lower one, and after those with the same. Default 0: the
	// queue does not look at priorities, and pays nothing for them. It cannot be lowered. As each
	// priority that is used takes some memory, few are better than many.
	MaxPriority uint8 `json:"maxPriority,omitempty" alter:"grow"`

	// MaxOvertakes is how many messages of higher priorities in a row may overtake a ready
	// message of a lower priority. Then the oldest of the lower priority is next. If several
	// priorities are due, the highest of them is next. So nothing starves. It is counted from
	// the opening of the store, and DropHead does not look at it. Default 0 is any number,
	// which is RabbitMQ's strict order.
	MaxOvertakes int `json:"maxOvertakes,omitempty"`
}

// DeadLetter is a place for messages that could not be processed. The exchange must exist
// when the queue is declared or altered, or be a part of the same Apply; without an exchange,
// Key must be the name of another queue that does. Otherwise the error is ErrUnknownExchange,
// ErrUnknownQueue or ErrInvalid.
//
// If the place is deleted later, or routes dead letters nowhere, or a queue that it leads to is
// full, they stay in their queue and are tried again. That is logged and counted in
// QueueStats.Stuck. A queue with 16,384 of them, or 16 MiB, delivers nothing more until there
// is a place.
//
// Queues may be each other's places. If a dead letter has passed such a ring and no consumer
// has rejected it on its way, it is dropped with a warning, as in RabbitMQ. It would circle for
// ever. That includes the usual ring for retries, in which a message that is over the
// DeliveryLimit waits in a queue with a MessageTTL and comes back. Use QueueConfig.Retry
// instead: failed messages wait in the queue itself.
type DeadLetter struct {
	// Exchange they are published to; empty is the default exchange.
	Exchange string `json:"exchange,omitempty"`
	// Key to publish with; the dead letter has no CC then. Default, with an Exchange: the
	// message's own key, and its CC.
	Key string `json:"key,omitempty"`
	// DropIfMissing drops them instead of keeping them if the place does not exist or
	// routes them nowhere, as RabbitMQ does; that is logged. Then the place need not exist
	// when the queue is declared. A dead letter that a queue has no room for is kept all the
	// same.
	DropIfMissing bool `json:"dropIfMissing,omitempty"`
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
	if full.DropDead && full.DeadLetter != nil {
		return full, store.Invalid("DropDead with a DeadLetter")
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

// queueState is what the catalog says of a queue besides its configuration.
type queueState struct {
	Paused bool `json:"paused,omitempty"`
}

type storedQueue = codec.Stored[QueueConfig, queueState]

func decodeQueue(o *store.Object) (storedQueue, error) {
	return codec.Decode[QueueConfig, queueState](namedQueue(scopedName(o)), o.Config)
}
