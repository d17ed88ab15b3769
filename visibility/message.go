package visibility

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits.
const (
	DefaultMaxBodyBytes  = 1 << 20              // of QueueConfig.MaxBodyBytes
	MaxBodyBytes         = 64 << 20             // the most it can be set to
	DefaultMaxAttributes = 10                   // of QueueConfig.MaxAttributes
	MaxAttributes        = 1000                 // the most it can be set to
	MaxIDBytes           = 255                  // of an ID that the sender chooses
	MaxBatchEntries      = 10_000               // of a batch
	MaxBatchBytes        = 64 << 20             // of a batch's bodies and attributes
	MaxReceiveMessages   = 1000                 // of one Receive
	DefaultMaxVisibility = 12 * time.Hour       // of QueueConfig.MaxVisibilityTimeout
	MaxVisibility        = 365 * 24 * time.Hour // the most it can be set to
	MaxDelay             = 100 * 365 * 24 * time.Hour
	DefaultVisibility    = 30 * time.Second
)

// Message is what is sent. Its bytes are copied before Send returns.
type Message struct {
	// ID names the message for people and logs; it stays with it into a
	// dead-letter queue. It does not have to be unique and prevents no
	// duplicates. Default: 128 random bits in hexadecimal.
	ID string

	// Group is the message's group, of which there may be any number. In a FIFO
	// queue each message needs one, and those of a group are received in order.
	// In a standard queue it may name a tenant: those that have more than their
	// share of what is in flight give way to the others. It is a name of up to
	// 255 bytes. Default: none, and the message gives way to nobody.
	Group string

	// Priority, up to the MaxPriority of the queue, has the message be received
	// before those with a lower one. In a FIFO queue order comes first: while
	// messages of its group are in the queue, a message takes the priority of those;
	// between groups the priorities count. Received has the one that it took. A
	// dead-letter queue keeps it as far as its own MaxPriority goes.
	// Default: 0, the lowest.
	Priority uint8

	// DedupeID, up to MaxDedupeID bytes, makes the message recognizable: for the
	// queue's DedupeWindow from its Send, another with the same ID is not sent,
	// whatever its body; even if this one was received and deleted by then, or
	// moved to a dead-letter queue. Default: the SHA-256 of the body if the queue
	// has DedupeByBody, else none.
	DedupeID string

	// Body is any bytes; none only if the queue has AllowEmptyBody.
	Body []byte

	// Attributes are up to QueueConfig.MaxAttributes named values beside the body. They
	// count towards the limit on the body, names included.
	Attributes map[string]Attribute

	// Delay keeps the message from being received for so long, of any length
	// up to MaxDelay, where SQS stops at 15 minutes. A message that is due
	// stands behind those sent by then. Default: that of the queue; a zero
	// Delay overrides it too.
	Delay *time.Duration
}

// AttributeType says what the value of an attribute is.
type AttributeType uint8

const (
	String AttributeType = 1 // UTF-8
	Number AttributeType = 2 // decimal: sign, digits, fraction, exponent
	Binary AttributeType = 3
)

// Attribute is a typed value. Make one with StringAttribute, NumberAttribute or
// BinaryAttribute.
type Attribute struct {
	Type  AttributeType
	Value []byte
}

// StringAttribute returns an attribute of type String.
func StringAttribute(s string) Attribute { return Attribute{String, []byte(s)} }

// NumberAttribute returns an attribute of type Number. The digits are kept as
// they are; Send refuses what is not a decimal number.
func NumberAttribute(digits string) Attribute { return Attribute{Number, []byte(digits)} }

// BinaryAttribute returns an attribute of type Binary. The bytes are not copied
// until it is sent.
func BinaryAttribute(b []byte) Attribute { return Attribute{Binary, b} }

// Received is a message that was received. It is a copy and belongs to whoever
// received it. Delay and DedupeID are not set.
type Received struct {
	Message

	// Receipt stands for this delivery; Delete and ChangeVisibility take it.
	Receipt Receipt

	// ReceiveCount is how often the message was received, this time included.
	ReceiveCount int

	// Sequence rises with each message of the queue, from 1 on, and gives their order.
	Sequence uint64

	SentAt          time.Time
	FirstReceivedAt time.Time // from this queue
	VisibleAt       time.Time // when the visibility timeout ends
	ExpiresAt       time.Time // when the message is gone, with the QueueConfig.Retention of the moment

	// DeadLetter is set in a dead-letter queue, and tells of the latest death of a
	// message that was redriven.
	DeadLetter *DeadLetterInfo
}

// DeadLetterInfo says why a message is in a dead-letter queue.
type DeadLetterInfo struct {
	Queue        string // where it was
	ReceiveCount int    // how often it was received there
	Deaths       int    // how often it was moved to a dead-letter queue, this time included
	At           time.Time
	Reason       string // ReasonMaxReceives and the others
	LastError    string // of the handler of Run that had it last and failed, its first 1 KiB
}

// size is what counts towards the limit.
func (m *Message) size() int {
	n := len(m.Body)
	for name, a := range m.Attributes {
		n += len(name) + len(a.Value)
	}
	return n
}

// check refuses what may not be sent.
func (m *Message) check(c *QueueConfig) error {
	if n := m.size(); n > c.MaxBodyBytes {
		return store.TooLarge("message in bytes, attributes included,", int64(n), int64(c.MaxBodyBytes))
	}
	if len(m.Body) == 0 && !c.AllowEmptyBody {
		return store.Invalid("message has no body, which the queue's AllowEmptyBody would allow")
	}
	if m.Priority > c.MaxPriority {
		return store.TooLarge("priority", int64(m.Priority), int64(c.MaxPriority))
	}
	if c.FIFO && c.MaxPriority > 0 && m.Delay != nil && *m.Delay > 0 {
		return store.Invalid("message has a delay, which a FIFO queue with priorities does not keep in order")
	}
	if len(m.ID) > 0 {
		if err := store.CheckName("message", m.ID); err != nil {
			return err
		}
	}
	if m.Delay != nil {
		if err := checkDelay(*m.Delay); err != nil {
			return err
		}
	}
	if n := len(m.Attributes); n > c.MaxAttributes {
		return store.TooLarge("number of attributes", int64(n), int64(c.MaxAttributes))
	}
	for name, a := range m.Attributes {
		if err := a.check(name); err != nil {
			return err
		}
	}
	return nil
}

func checkDelay(d time.Duration) error {
	if d < 0 || d > MaxDelay {
		return store.Invalid("delay %v is not between 0 and %v", d, MaxDelay)
	}
	return nil
}

func (c *QueueConfig) checkVisibility(d time.Duration) error {
	if d < 0 || d > c.MaxVisibilityTimeout {
		return store.Invalid("visibility timeout %v is not between 0 and %v", d, c.MaxVisibilityTimeout)
	}
	return nil
}

func (a Attribute) check(name string) error {
	if err := store.CheckName("attribute", name); err != nil {
		return err
	}
	switch {
	case a.Type < String || a.Type > Binary:
		return store.Invalid("attribute %q has type %d", name, a.Type)
	case a.Type == String && !utf8.Valid(a.Value):
		return store.Invalid("attribute %q is not UTF-8", name)
	case a.Type == Number && !isNumber(string(a.Value)):
		return store.Invalid("attribute %q is not a decimal number: %.40q", name, a.Value)
	}
	return nil
}

// isNumber accepts -12.5e3 and the like. strconv would accept hexadecimal,
// underscores and infinities too.
func isNumber(s string) bool {
	s = dropSign(s)
	whole, s := digits(s)
	fraction := 0
	if len(s) > 0 && s[0] == '.' {
		fraction, s = digits(s[1:])
	}
	if whole+fraction == 0 {
		return false
	}
	if len(s) > 0 && (s[0] == 'e' || s[0] == 'E') {
		n, rest := digits(dropSign(s[1:]))
		return n > 0 && rest == ""
	}
	return s == ""
}

func dropSign(s string) string {
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		return s[1:]
	}
	return s
}

func digits(s string) (n int, rest string) {
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n, s[n:]
}

// newID returns a random ID.
func newID() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(fmt.Sprintf("visibility: no randomness: %v", err)) // it never fails
	}
	return hex.EncodeToString(b[:])
}
