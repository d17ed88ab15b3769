package visibility

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits.
const (
	DefaultMaxBodyBytes  = 1 << 20              // of QueueConfig.MaxBodyBytes
	MaxBodyBytes         = 64 << 20             // the most it can be set to
	MaxAttributes        = 1000                 // the default of QueueConfig.MaxAttributes, and the most it can be set to
	MaxNameBytes         = 256                  // of an ID, a group, the name of an attribute, its label or an AttemptID
	MaxBatchEntries      = 10_000               // of a batch
	MaxBatchBytes        = 64 << 20             // of a batch's bodies and attributes
	MaxReceiveMessages   = 1000                 // of one Receive
	DefaultMaxVisibility = 12 * time.Hour       // of QueueConfig.MaxVisibilityTimeout
	MaxVisibility        = 365 * 24 * time.Hour // the most it can be set to
	MaxDelay             = 100 * 365 * 24 * time.Hour
	DefaultVisibility    = 30 * time.Second
)

// These stand for zero where zero is the default.
const (
	NoDelay             = -1 // as Message.Delay, in a queue that has one
	NoVisibilityTimeout = -1 // messages stay visible; as a VisibilityTimeout
	NoWait              = -1 // as ReceiveOptions.Wait, in a queue that has one
)

// Message is what is sent. Its bytes are copied before Send returns.
type Message struct {
	// ID names the message for people and logs; it stays with it into a dead-letter queue. It
	// need not be unique and prevents no duplicates. Up to MaxNameBytes. Default: 128 random
	// bits in hexadecimal.
	ID string

	// Group is the message's group, of which there may be any number. In a FIFO queue each
	// message needs one, and those of a group are received in order. In a standard queue it may
	// name a tenant: those that have more than their share of what is in flight give way to the
	// others. It is a name of up to MaxNameBytes. Default: none, and the message does not give
	// way to others.
	Group string

	// Priority, up to the MaxPriority of the queue: messages with a higher one are received
	// first. In a FIFO queue order comes first: while messages of its group are in the queue, a
	// message takes the priority of those; between groups the priorities count. Received has
	// the one that it took. A dead-letter queue keeps it as far as its own MaxPriority goes.
	// Default: 0, the lowest.
	Priority uint8

	// DedupeID, up to MaxDedupeID bytes, identifies the message for deduplication. For the
	// queue's DedupeWindow from its Send, another with the same ID is not sent, whatever its
	// body. That holds even if the message was deleted or moved to a dead-letter queue by then.
	// Default: the SHA-256 of the body if the queue has DedupeByBody, else none.
	DedupeID string

	// Body is any bytes, or none unless the queue has RequireBody.
	Body []byte

	// Attributes are up to QueueConfig.MaxAttributes named values beside the body. They
	// count towards the limit on the body, names included.
	Attributes map[string]Attribute

	// Delay keeps the message from being received for so long, of any length
	// up to MaxDelay, where SQS stops at 15 minutes. A message that is due
	// stands behind those sent by then. Default: that of the queue, which NoDelay
	// overrides.
	Delay time.Duration
}

// AttributeType says what the value of an attribute is.
type AttributeType uint8

const (
	String AttributeType = 1 // UTF-8
	Number AttributeType = 2 // decimal: sign, digits, fraction, exponent
	// Binary attributes hold any bytes.
	Binary AttributeType = 3
)

var typeNames = map[AttributeType]string{String: "String", Number: "Number", Binary: "Binary"}

// String returns the name of the type, as SQS has it.
func (t AttributeType) String() string {
	if name, known := typeNames[t]; known {
		return name
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Attribute is a typed value. Make one with StringAttribute, NumberAttribute or
// BinaryAttribute.
type Attribute struct {
	Type  AttributeType
	Value []byte

	// Label says more of the type, up to MaxNameBytes, and is for the application alone:
	// the custom types of SQS, such as the int of Number.int. Default: none.
	Label string
}

// Labeled returns the attribute with a label.
func (a Attribute) Labeled(label string) Attribute {
	a.Label = label
	return a
}

// DataType returns type and label in the form of SQS, such as Number.int.
func (a Attribute) DataType() string {
	if a.Label == "" {
		return a.Type.String()
	}
	return a.Type.String() + "." + a.Label
}

// StringAttribute returns an attribute of type String.
func StringAttribute(s string) Attribute { return Attribute{Type: String, Value: []byte(s)} }

// NumberAttribute returns an attribute of type Number. The digits are kept as
// they are; Send refuses what is not a decimal number.
func NumberAttribute(digits string) Attribute { return Attribute{Type: Number, Value: []byte(digits)} }

// BinaryAttribute returns an attribute of type Binary. The bytes are not copied
// until it is sent.
func BinaryAttribute(b []byte) Attribute { return Attribute{Type: Binary, Value: b} }

// Received is a message that was received. It is a copy and belongs to whoever
// received it. Its Delay is not set.
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

	// For Run, because the fields above are the receiver's to change.
	delivery delivery
	id       string
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
		n += len(name) + len(a.Label) + len(a.Value)
	}
	return n
}

// check refuses what may not be sent. The caller adds which message it is.
func (m *Message) check(c *QueueConfig) error {
	if n := m.size(); n > c.MaxBodyBytes {
		return tooLarge("body and attributes in bytes", n, c.MaxBodyBytes, "MaxBodyBytes")
	}
	if len(m.Body) == 0 && c.RequireBody {
		return store.Invalid("there is no body, which QueueConfig.RequireBody asks for")
	}
	if m.Priority > c.MaxPriority {
		return tooLarge("Priority", int(m.Priority), int(c.MaxPriority), "MaxPriority")
	}
	if c.FIFO && c.MaxPriority > 0 && m.Delay > 0 {
		return store.Invalid("Delay %v: a FIFO queue with QueueConfig.MaxPriority has no delays", m.Delay)
	}
	if m.ID != "" {
		if err := checkText("message ID", m.ID); err != nil {
			return err
		}
	}
	if m.Delay != NoDelay {
		if err := checkDelay("Delay", m.Delay); err != nil {
			return err
		}
	}
	if n := len(m.Attributes); n > c.MaxAttributes {
		return tooLarge("number of attributes", n, c.MaxAttributes, "MaxAttributes")
	}
	for name, a := range m.Attributes {
		if err := a.check(name); err != nil {
			return err
		}
	}
	return c.checkGroup(m)
}

// tooLarge names the setting of the queue that is the limit.
func tooLarge(what string, size, limit int, setting string) error {
	return fmt.Errorf("%w, which QueueConfig.%s says", store.TooLarge(what, int64(size), int64(limit)), setting)
}

// about adds which message an error is about.
func (q *Queue) about(m *Message, err error) error {
	if m.ID == "" || len(m.ID) > MaxNameBytes {
		return fmt.Errorf("message for %s: %w", named(q.name), err)
	}
	return fmt.Errorf("message %q for %s: %w", m.ID, named(q.name), err)
}

// checkText checks a name that is not one of an object of the store.
func checkText(what, s string) error {
	switch {
	case s == "":
		return store.Invalid("%s is empty", what)
	case len(s) > MaxNameBytes:
		return store.TooLarge(fmt.Sprintf("%s %.20q… in bytes", what, s), int64(len(s)), MaxNameBytes)
	case !utf8.ValidString(s):
		return store.Invalid("%s %q is not UTF-8", what, s)
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return store.Invalid("%s %q contains a control character", what, s)
	}
	return nil
}

func checkDelay(what string, d time.Duration) error {
	if d < 0 || d > MaxDelay {
		return store.Invalid("%s %v is not between 0 and %v", what, d, MaxDelay)
	}
	return nil
}

// checkVisibility checks a visibility timeout, which may not be NoVisibilityTimeout.
func (c *QueueConfig) checkVisibility(d time.Duration) error {
	if d < 0 || d > c.MaxVisibilityTimeout {
		return store.Invalid("visibility timeout %v is not between 0 and %v, which QueueConfig.MaxVisibilityTimeout says", d, c.MaxVisibilityTimeout)
	}
	return nil
}

func (a Attribute) check(name string) error {
	if err := checkText("name of an attribute", name); err != nil {
		return err
	}
	switch {
	case a.Type < String || a.Type > Binary:
		return store.Invalid("attribute %q has type %d, which is none of String, Number and Binary", name, a.Type)
	case a.Type == String && !utf8.Valid(a.Value):
		return store.Invalid("attribute %q is a String and not UTF-8: make it a Binary", name)
	case a.Type == Number && !isNumber(string(a.Value)):
		return store.Invalid("attribute %q is a Number and not a decimal one: %.40q", name, a.Value)
	case a.Label != "":
		return checkText(fmt.Sprintf("label of attribute %q", name), a.Label)
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
