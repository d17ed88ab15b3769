package visibility

import (
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/codec"
	"github.com/pebblemq/pebblemq/internal/store"
)

// QueueConfig is stored with a queue. A zero field stands for its default. EnsureQueue and
// Queue.Alter change all that is not said to stay as it is.
type QueueConfig struct {
	// FIFO keeps the messages of each group (Message.Group) in order; every message must have a
	// group then. While a message of a group is in flight, those behind it wait. Other groups
	// do not wait. It cannot be changed, and the dead-letter queue must be of the same kind.
	// Default: false, a queue that is in order as long as nothing comes back.
	FIFO bool `json:"fifo,omitempty" alter:"no"`

	// DedupeWindow is how long a message is recognized that is sent again, see
	// Message.DedupeID. It cannot be changed. Default: 5 minutes for FIFO, else 0,
	// which recognizes none.
	DedupeWindow time.Duration `json:"dedupeWindow,omitempty" alter:"no"`

	// DedupeByBody recognizes messages without a DedupeID by the SHA-256 of
	// their body. It needs a DedupeWindow and cannot be changed. Default: false.
	DedupeByBody bool `json:"dedupeByBody,omitempty" alter:"no"`

	// DedupePerGroup deduplicates within each group only. It needs a DedupeWindow and cannot be
	// changed. Default: false.
	DedupePerGroup bool `json:"dedupePerGroup,omitempty" alter:"no"`

	// VisibilityTimeout is how long a message that was received is hidden from
	// others, unless Receive says otherwise. Up to MaxVisibilityTimeout, or
	// NoVisibilityTimeout. Default: 30 seconds.
	VisibilityTimeout time.Duration `json:"visibilityTimeout"`

	// MaxVisibilityTimeout is how long after its receive a message may be hidden,
	// extensions included, up to MaxVisibility. Default: 12 hours.
	MaxVisibilityTimeout time.Duration `json:"maxVisibilityTimeout"`

	// Delay is that of messages which have none of their own. Default: 0.
	Delay time.Duration `json:"delay,omitempty"`

	// ReceiveWait is the ReceiveOptions.Wait of receives which have none of their own.
	// Default: 0.
	ReceiveWait time.Duration `json:"receiveWait,omitempty"`

	// DelayBlocksGroup makes a delayed message of a FIFO queue block later messages of its
	// group. They are delayed until it is visible, or would have been if it is cancelled. It
	// cannot be changed. Default: false, they overtake it.
	DelayBlocksGroup bool `json:"delayBlocksGroup,omitempty" alter:"no"`

	// Retention is how long a message is kept, up to MaxRetention. An older message is removed,
	// even if it is in flight; its receipt is refused then. It counts from when the message was
	// sent or, if it was delayed, was due: else a delay of any length would lose it. Another
	// Retention counts for what is there as well. Default: 4 days.
	Retention time.Duration `json:"retention"`

	// RetentionRestarts restarts the retention when a message is moved into this queue. Without
	// it, retention counts from the original send. It restarts in any case for a message that
	// would be over on arrival. Default: false.
	RetentionRestarts bool `json:"retentionRestarts,omitempty"`

	// DeadLetterQueue is where messages go that were received MaxReceives
	// times and were not deleted: the next receive moves them instead. It must
	// exist. Default: none.
	DeadLetterQueue string `json:"deadLetterQueue,omitempty"`
	MaxReceives     int    `json:"maxReceives,omitempty"`

	// DeadLetterExpired moves messages whose retention is over to the DeadLetterQueue too.
	// Unless that has a longer one, it begins anew there. Default: false, they are dropped and
	// counted in Stats.Expired.
	DeadLetterExpired bool `json:"deadLetterExpired,omitempty"`

	// DeadLetterSources are the queues that may have this one as their dead-letter
	// queue, and DeadLettersDenied says that none may: the allow rules of SQS.
	// Default: any queue.
	DeadLetterSources []string `json:"deadLetterSources,omitempty"`
	DeadLettersDenied bool     `json:"deadLettersDenied,omitempty"`

	// MaxPriority is the highest Message.Priority, which costs some memory for each one
	// that is used. It cannot be lowered. In a FIFO queue it costs each message two more
	// writes, and there are no delays then. Default: 0, no priorities.
	MaxPriority uint8 `json:"maxPriority,omitempty" alter:"grow"`

	// MaxInFlight is how many messages may be in flight at a time. When they are,
	// a receive returns ErrInFlightLimit, or waits if it may. Default: any number.
	MaxInFlight int `json:"maxInFlight,omitempty"`

	// MaxBodyBytes is the largest message, attributes included, up to MaxBodyBytes. Dead
	// letters from another queue may be larger. Default: 1 MiB.
	MaxBodyBytes int `json:"maxBodyBytes"`

	// MaxAttributes is how many attributes a message may have, up to
	// MaxAttributes, which is the default.
	MaxAttributes int `json:"maxAttributes"`

	// RequireBody refuses messages without a body. Default: false.
	RequireBody bool `json:"requireBody,omitempty"`

	// ReleaseOnOpen ends the visibility timeouts that were under way when the store was
	// closed or crashed, which is right if those who had received the messages died with
	// it. By default they go on. It is not stored. It counts when the queue is opened for
	// the first time since the store was; to ask for it later is an error.
	ReleaseOnOpen bool `json:"-"`
}

// SQSLimits returns a config with the limits of Amazon SQS, for a program that is to work
// with both: 10 attributes, no message without a body, 120,000 messages in flight. The other
// limits of a QueueConfig are those of SQS by default. Alter it as you like.
func SQSLimits() *QueueConfig {
	return &QueueConfig{MaxAttributes: 10, RequireBody: true, MaxInFlight: 120_000}
}

// normalize fills in the defaults and checks the rest.
func (c *QueueConfig) normalize(name string) (QueueConfig, error) {
	d := c.withDefaults()
	if err := d.check(name); err != nil {
		return d, fmt.Errorf("%s: %w", named(name), err)
	}
	return d, nil
}

// visibility returns the VisibilityTimeout as a time.
func (c *QueueConfig) visibility() time.Duration { return max(c.VisibilityTimeout, 0) }

func (c *QueueConfig) withDefaults() QueueConfig {
	var d QueueConfig
	if c != nil {
		d = *c
	}
	if d.DedupeWindow == 0 && d.FIFO {
		d.DedupeWindow = DefaultDedupeWindow
	}
	for _, f := range []struct {
		field    *time.Duration
		standard time.Duration
	}{
		{&d.VisibilityTimeout, DefaultVisibility},
		{&d.MaxVisibilityTimeout, DefaultMaxVisibility},
		{&d.Retention, DefaultRetention},
	} {
		if *f.field == 0 {
			*f.field = f.standard
		}
	}
	if d.MaxBodyBytes == 0 {
		d.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if d.MaxAttributes == 0 {
		d.MaxAttributes = MaxAttributes
	}
	d.DeadLetterSources = slices.Clone(d.DeadLetterSources)
	slices.Sort(d.DeadLetterSources)
	if len(d.DeadLetterSources) == 0 {
		d.DeadLetterSources = nil
	}
	return d
}

func (c *QueueConfig) check(name string) error {
	if c.MaxVisibilityTimeout < 0 || c.MaxVisibilityTimeout > MaxVisibility {
		return store.Invalid("MaxVisibilityTimeout %v is not between 0 and %v", c.MaxVisibilityTimeout, MaxVisibility)
	}
	if c.VisibilityTimeout != NoVisibilityTimeout {
		if err := c.checkVisibility(c.VisibilityTimeout); err != nil {
			return err
		}
	}
	if err := checkDelay("Delay", c.Delay); err != nil {
		return err
	}
	switch {
	case c.DelayBlocksGroup && (!c.FIFO || c.MaxPriority > 0):
		return store.Invalid("DelayBlocksGroup is for FIFO queues without a MaxPriority")
	case c.FIFO && c.MaxPriority > 0 && c.Delay > 0:
		return store.Invalid("Delay %v: a FIFO queue with a MaxPriority has no delays", c.Delay)
	case c.ReceiveWait < 0:
		return store.Invalid("ReceiveWait %v is negative", c.ReceiveWait)
	case c.Retention < 0 || c.Retention > MaxRetention:
		return store.Invalid("Retention %v is not between 0 and %v", c.Retention, MaxRetention)
	case c.DedupeWindow < 0 || c.DedupeWindow > MaxDelay:
		return store.Invalid("DedupeWindow %v is not between 0 and %v", c.DedupeWindow, MaxDelay)
	case c.DedupeWindow == 0 && (c.DedupeByBody || c.DedupePerGroup):
		return store.Invalid("DedupeByBody and DedupePerGroup need a DedupeWindow")
	case c.MaxBodyBytes < 0:
		return store.Invalid("MaxBodyBytes %d is negative", c.MaxBodyBytes)
	case c.MaxBodyBytes > MaxBodyBytes:
		return store.TooLarge("MaxBodyBytes", int64(c.MaxBodyBytes), MaxBodyBytes)
	case c.MaxAttributes < 0:
		return store.Invalid("MaxAttributes %d is negative", c.MaxAttributes)
	case c.MaxAttributes > MaxAttributes:
		return store.TooLarge("MaxAttributes", int64(c.MaxAttributes), MaxAttributes)
	case c.MaxInFlight < 0:
		return store.Invalid("MaxInFlight %d is negative", c.MaxInFlight)
	}
	return c.checkDeadLetters(name)
}

// secret is what the catalog says of a queue besides its configuration.
type secret struct {
	Secret []byte `json:"secret"` // of the receipts
}

type stored = codec.Stored[QueueConfig, secret]

func decodeConfig(o *store.Object) (stored, error) {
	is, err := codec.Decode[QueueConfig, secret](named(o.Name), o.Config)
	if err == nil && len(is.State.Secret) != secretLen {
		err = fmt.Errorf("%w: configuration of %s: secret of %d bytes", store.ErrCorrupt, named(o.Name), len(is.State.Secret))
	}
	return is, err
}
