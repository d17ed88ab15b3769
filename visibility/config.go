package visibility

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// QueueConfig is stored with a queue. Opening the queue again takes the same
// configuration, nil and zero standing for the defaults, or returns
// pebblemq.ErrConfigMismatch. Alter changes it.
type QueueConfig struct {
	// FIFO keeps the messages of each group (Message.Group) in order, which all
	// must have one then: while one of a group is in flight, those behind it
	// wait, and other groups do not. It cannot be changed, and the dead-letter
	// queue must be of the same kind. Default: false, a queue that is in order
	// as long as nothing comes back.
	FIFO bool

	// DedupeWindow is how long a message is recognized that is sent again, see
	// Message.DedupeID. It cannot be changed. Default: 5 minutes for FIFO, else 0,
	// which recognizes none.
	DedupeWindow time.Duration

	// DedupeByBody recognizes messages without a DedupeID by the SHA-256 of
	// their body. It needs a DedupeWindow. Default: false.
	DedupeByBody bool

	// DedupePerGroup has messages of different groups never be duplicates of
	// one another. It needs a DedupeWindow. Default: false.
	DedupePerGroup bool

	// VisibilityTimeout is how long a message that was received is hidden from
	// others, unless Receive says otherwise. Up to MaxVisibility.
	// Default: 30 seconds.
	VisibilityTimeout time.Duration

	// Delay is that of messages which have none of their own. Default: 0.
	Delay time.Duration

	// Retention is how long a message is kept from when it was sent, or from
	// the end of its delay. Then it is gone, also while it is in flight: its
	// receipts are refused as ErrExpired. Up to MaxRetention.
	// Default: 4 days.
	Retention time.Duration

	// DeadLetterQueue is where messages go that were received MaxReceives
	// times and were not deleted: the next receive moves them instead. It must
	// exist. Default: none.
	DeadLetterQueue string
	MaxReceives     int

	// DeadLetterExpired moves messages to the DeadLetterQueue whose Retention
	// is over, where they are kept from then on, for the Retention of that queue.
	// Default: false, they are dropped and counted in Stats.Expired.
	DeadLetterExpired bool

	// RestartRetention has the Retention of what comes here as a dead letter
	// begin with the move. Default: false, it goes on from the send.
	RestartRetention bool

	// DeadLettersFrom names the queues, up to MaxDeadLetterSources, that may have
	// this one as their dead-letter queue; they need not exist yet. With
	// RefuseDeadLetters none may. Neither takes a dead-letter queue away from one
	// that has it: that is refused. Default: any queue may.
	DeadLettersFrom   []string
	RefuseDeadLetters bool

	// MaxInFlight is how many messages may be in flight at a time. When they are,
	// a receive returns ErrInFlightLimit, or waits if it may. Default: any number.
	MaxInFlight int

	// MaxBodyBytes is the largest message, attributes included, up to
	// MaxBodyBytes. What is moved here as a dead letter may be larger.
	// Default: 1 MiB.
	MaxBodyBytes int

	// MaxAttributes is how many attributes a message may have, up to
	// MaxAttributes. Default: 10.
	MaxAttributes int

	// RefuseEmptyBody refuses messages without a body, as SQS does. Default:
	// false, they are messages like others.
	RefuseEmptyBody bool
}

// Options are for this process. Nil is the defaults.
type Options struct {
	// ReleaseOnOpen ends the visibility timeouts that were under way when the
	// store was closed or crashed, which is right if those who had received
	// the messages died with it. By default they go on. It counts when the
	// queue is opened for the first time since the store was; asking for it later
	// is an error.
	ReleaseOnOpen bool
}

func (c *QueueConfig) withDefaults() QueueConfig {
	var d QueueConfig
	if c != nil {
		d = *c
		d.DeadLettersFrom = slices.Sorted(slices.Values(d.DeadLettersFrom))
	}
	if d.DedupeWindow == 0 && d.FIFO {
		d.DedupeWindow = DefaultDedupeWindow
	}
	if d.VisibilityTimeout == 0 {
		d.VisibilityTimeout = DefaultVisibility
	}
	if d.Retention == 0 {
		d.Retention = DefaultRetention
	}
	if d.MaxBodyBytes == 0 {
		d.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if d.MaxAttributes == 0 {
		d.MaxAttributes = DefaultMaxAttributes
	}
	return d
}

func (c QueueConfig) check(name string) error {
	if err := checkVisibility(c.VisibilityTimeout); err != nil {
		return err
	}
	if err := checkDelay(c.Delay); err != nil {
		return err
	}
	if err := checkRetention(c.Retention); err != nil {
		return err
	}
	switch {
	case c.DedupeWindow < 0 || c.DedupeWindow > MaxDelay:
		return store.Invalid("DedupeWindow %v is not between 0 and %v", c.DedupeWindow, MaxDelay)
	case c.DedupeWindow == 0 && (c.DedupeByBody || c.DedupePerGroup):
		return store.Invalid("DedupeByBody and DedupePerGroup of queue %q need a DedupeWindow", name)
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
	case c.MaxReceives < 0 || c.MaxReceives > maxReceives:
		return store.Invalid("MaxReceives %d is not between 0 and %d", c.MaxReceives, maxReceives)
	case (c.MaxReceives > 0 || c.DeadLetterExpired) != (c.DeadLetterQueue != ""):
		return store.Invalid("the DeadLetterQueue of queue %q and what goes there, MaxReceives or DeadLetterExpired, need one another", name)
	case c.DeadLetterQueue == name:
		return store.Invalid("queue %q is its own dead-letter queue", name)
	}
	if err := c.checkSources(name); err != nil {
		return err
	}
	if c.DeadLetterQueue == "" {
		return nil
	}
	return store.CheckName("dead-letter queue", c.DeadLetterQueue)
}

// maxReceives leaves room to count one more.
const maxReceives = 1<<31 - 2

// storedConfig is the JSON in the catalog. Durations are nanoseconds, and so are
// times, since 1970.
type storedConfig struct {
	FIFO              bool          `json:"fifo,omitempty"`
	DedupeWindow      time.Duration `json:"dedupeWindow,omitempty"`
	DedupeByBody      bool          `json:"dedupeByBody,omitempty"`
	DedupePerGroup    bool          `json:"dedupePerGroup,omitempty"`
	VisibilityTimeout time.Duration `json:"visibilityTimeout"`
	Delay             time.Duration `json:"delay"`
	Retention         time.Duration `json:"retention"`
	DeadLetterQueue   string        `json:"deadLetterQueue,omitempty"`
	MaxReceives       int           `json:"maxReceives,omitempty"`
	DeadLetterExpired bool          `json:"deadLetterExpired,omitempty"`
	RestartRetention  bool          `json:"restartRetention,omitempty"`
	DeadLettersFrom   []string      `json:"deadLettersFrom,omitempty"`
	RefuseDeadLetters bool          `json:"refuseDeadLetters,omitempty"`
	MaxInFlight       int           `json:"maxInFlight,omitempty"`
	MaxBodyBytes      int           `json:"maxBodyBytes"`
	MaxAttributes     int           `json:"maxAttributes"`
	RefuseEmptyBody   bool          `json:"refuseEmptyBody,omitempty"`
	Secret            []byte        `json:"secret"` // of the receipts
	Created           int64         `json:"created"`
	Altered           int64         `json:"altered,omitempty"`
}

// about is what is stored with a configuration.
type about struct {
	secret           []byte
	created, altered time.Time
}

func (c QueueConfig) encode(a about) ([]byte, error) {
	s := storedConfig{
		c.FIFO, c.DedupeWindow, c.DedupeByBody, c.DedupePerGroup,
		c.VisibilityTimeout, c.Delay, c.Retention, c.DeadLetterQueue, c.MaxReceives, c.DeadLetterExpired, c.RestartRetention,
		c.DeadLettersFrom, c.RefuseDeadLetters, c.MaxInFlight, c.MaxBodyBytes,
		c.MaxAttributes, c.RefuseEmptyBody, a.secret, a.created.UnixNano(), 0,
	}
	if !a.altered.IsZero() {
		s.Altered = a.altered.UnixNano()
	}
	v, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("visibility: encode a configuration: %w", err)
	}
	return v, nil
}

func decodeConfig(name string, v []byte) (c QueueConfig, a about, err error) {
	var s storedConfig
	if err := json.Unmarshal(v, &s); err != nil {
		return c, a, fmt.Errorf("%w: configuration of queue %q: %w", store.ErrCorrupt, name, err)
	}
	if len(s.Secret) != secretLen {
		return c, a, fmt.Errorf("%w: configuration of queue %q: secret of %d bytes", store.ErrCorrupt, name, len(s.Secret))
	}
	c = QueueConfig{
		s.FIFO, s.DedupeWindow, s.DedupeByBody, s.DedupePerGroup,
		s.VisibilityTimeout, s.Delay, s.Retention, s.DeadLetterQueue, s.MaxReceives, s.DeadLetterExpired, s.RestartRetention,
		s.DeadLettersFrom, s.RefuseDeadLetters, s.MaxInFlight, s.MaxBodyBytes,
		s.MaxAttributes, s.RefuseEmptyBody,
	}
	a = about{secret: s.Secret, created: time.Unix(0, s.Created)}
	if s.Altered != 0 {
		a.altered = time.Unix(0, s.Altered)
	}
	return c, a, nil
}

// differ names the first field in which given is not what is stored.
func (c QueueConfig) differ(name string, given QueueConfig) error {
	for _, f := range []struct {
		name          string
		stored, given any
	}{
		{"FIFO", c.FIFO, given.FIFO},
		{"DedupeWindow", c.DedupeWindow, given.DedupeWindow},
		{"DedupeByBody", c.DedupeByBody, given.DedupeByBody},
		{"DedupePerGroup", c.DedupePerGroup, given.DedupePerGroup},
		{"VisibilityTimeout", c.VisibilityTimeout, given.VisibilityTimeout},
		{"Delay", c.Delay, given.Delay},
		{"Retention", c.Retention, given.Retention},
		{"DeadLetterQueue", c.DeadLetterQueue, given.DeadLetterQueue},
		{"MaxReceives", c.MaxReceives, given.MaxReceives},
		{"DeadLetterExpired", c.DeadLetterExpired, given.DeadLetterExpired},
		{"RestartRetention", c.RestartRetention, given.RestartRetention},
		{"DeadLettersFrom", fmt.Sprintf("%q", c.DeadLettersFrom), fmt.Sprintf("%q", given.DeadLettersFrom)},
		{"RefuseDeadLetters", c.RefuseDeadLetters, given.RefuseDeadLetters},
		{"MaxInFlight", c.MaxInFlight, given.MaxInFlight},
		{"MaxBodyBytes", c.MaxBodyBytes, given.MaxBodyBytes},
		{"MaxAttributes", c.MaxAttributes, given.MaxAttributes},
		{"RefuseEmptyBody", c.RefuseEmptyBody, given.RefuseEmptyBody},
	} {
		if f.stored != f.given {
			return store.Mismatch(fmt.Sprintf("queue %q", name), f.name, f.stored, f.given)
		}
	}
	return nil
}
