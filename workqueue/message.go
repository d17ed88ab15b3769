package workqueue

import (
	"errors"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits of a message.
const (
	MaxBodyBytes     = 1 << 20
	MaxHeaders       = 64
	MaxHeaderBytes   = 32 << 10 // names and values together
	MaxPropertyBytes = 255      // of each of the short properties and the routing key
	MaxExtraKeys     = 64       // of CC and BCC together
	MaxDelay         = 10 * 365 * 24 * time.Hour
	MaxBatch         = 10_000 // messages of one PublishBatch
)

// Message is what is published. Its bytes are copied before Publish returns.
type Message struct {
	// Body is any bytes, up to MaxBodyBytes; it may be empty.
	Body []byte
	// Headers go with the message, and a Headers exchange routes by them. In AMQP their values
	// have types; here names and values are UTF-8. Put other bytes into the Body, or encode
	// them.
	Headers map[string]string

	// MessageID identifies the message for Cancel, Find and DedupeWindow, and in the log. It
	// need not be unique else. Without one, the log has the message's place in the queue, such
	// as #7, which is another one after each retry.
	MessageID string
	// CorrelationID and ReplyTo are those of requests and replies; see Caller.
	CorrelationID string
	ReplyTo       string
	// The rest is for the application alone. All of these are UTF-8, up to
	// MaxPropertyBytes.
	Type            string
	ContentType     string
	ContentEncoding string
	AppID           string

	// Timestamp is kept to the microsecond. Zero means the time of publishing.
	Timestamp time.Time

	// CC and BCC are routing keys, UTF-8 as all of them, beside the one of the call: the
	// message goes wherever one of them leads, once to each place. CC is delivered with the
	// message and routes its dead letter too. Receivers do not see BCC. In AMQP they are
	// headers. Topics and visibility queues do not get them, and exchanges of the kinds Hash,
	// Headers and Random do not go by them.
	CC  []string
	BCC []string

	// UniqueKey limits a queue to one message with this key at a time. While one is ready,
	// delayed or unacknowledged, another is dropped and its publisher is told about the first;
	// see Duplicate.
	UniqueKey string

	// Priority decides who goes first in queues that have a MaxPriority.
	Priority uint8

	// TTL is how long the message may wait in a queue for a consumer, from its publishing or
	// from the end of its Delay. Then it becomes a dead letter with ReasonExpired, wherever it
	// stands in the queue. It is never delivered late. A consumer that has it may keep it, also
	// if Next has yet to return it (see ConsumeOptions.Prefetch), but giving it back does not
	// give it more time. A queue's MessageTTL counts if it is shorter. Zero is for ever; at
	// most MaxTTL, or NowOrNever, which is RabbitMQ's TTL of 0. It is rounded down to
	// microseconds, but not to zero. A dead letter has none any more.
	TTL time.Duration

	// Delay keeps the message from consumers for a time after it was
	// published; it then goes to the end of its queues. At most MaxDelay.
	Delay time.Duration

	// Mandatory makes Publish return ErrUnroutable when no queue would get the
	// message; otherwise such a message is accepted, counted and gone. It is
	// not delivered with the message.
	Mandatory bool
}

// properties lists the short texts in the order in which they are stored.
func (m *Message) properties() [8]*string {
	return [...]*string{
		&m.MessageID, &m.CorrelationID, &m.ReplyTo, &m.Type, &m.ContentType, &m.ContentEncoding, &m.AppID, &m.UniqueKey,
	}
}

var propertyNames = [...]string{
	"message MessageID", "message CorrelationID", "message ReplyTo", "message Type",
	"message ContentType", "message ContentEncoding", "message AppID",
	"message UniqueKey",
}

// propertyHeaders are their names in AMQP, which is what other layers get; it has none
// for the last.
var propertyHeaders = [...]string{
	"message-id", "correlation-id", "reply-to", "type", "content-type", "content-encoding", "app-id",
	"x-unique-key",
}

// envelope is a message with what the broker knows of it.
type envelope struct {
	Message
	exchange, key string
	deaths        []Death
}

// routed is the message as other layers take it. A header that would pass for
// something of the broker's gives way to it.
func (e *envelope) routed(delay time.Duration) *store.Routed {
	r := &store.Routed{ID: e.MessageID, Key: e.key, Body: e.Body, Time: e.Timestamp, Delay: delay}
	deaths := deathHeaders(e.deaths)
	for _, name := range e.headerNames() {
		if !slices.ContainsFunc(deaths, func(h store.RoutedHeader) bool { return h.Name == name }) {
			r.Headers = append(r.Headers, store.RoutedHeader{Name: name, Value: e.Headers[name]})
		}
	}
	for i, p := range e.properties() {
		if i > 0 && *p != "" { // the first is the ID
			r.Headers = append(r.Headers, store.RoutedHeader{Name: propertyHeaders[i], Value: *p})
		}
	}
	r.Headers = append(r.Headers, deaths...)
	return r
}

func (m *Message) check() error {
	if len(m.Body) > MaxBodyBytes {
		return store.TooLarge("message body in bytes", int64(len(m.Body)), MaxBodyBytes)
	}
	if m.Delay < 0 || m.Delay > MaxDelay {
		return store.Invalid("message Delay %v is not between 0 and %v", m.Delay, MaxDelay)
	}
	if err := checkTTL("message TTL", m.TTL); err != nil {
		return err
	}
	for i, p := range m.properties() {
		if err := checkShort(propertyNames[i], *p); err != nil {
			return err
		}
	}
	return errors.Join(m.checkKeys(), m.checkHeaders())
}

func (m *Message) checkKeys() error {
	if n := len(m.CC) + len(m.BCC); n > MaxExtraKeys {
		return store.TooLarge("number of keys in CC and BCC", int64(n), MaxExtraKeys)
	}
	for _, key := range m.CC {
		if err := checkShort("CC key", key); err != nil {
			return err
		}
	}
	for _, key := range m.BCC {
		if err := checkShort("BCC key", key); err != nil {
			return err
		}
	}
	return nil
}

func (m *Message) checkHeaders() error {
	if len(m.Headers) > MaxHeaders {
		return store.TooLarge("number of message headers", int64(len(m.Headers)), MaxHeaders)
	}
	size := 0
	for name, value := range m.Headers {
		switch {
		case name == "":
			return store.Invalid("a message header has no name")
		case !utf8.ValidString(name):
			return store.Invalid("name %q of a message header is not UTF-8", name)
		case !utf8.ValidString(value):
			return store.Invalid("message header %q is not UTF-8: put bytes into the body, or encode them", name)
		}
		size += len(name) + len(value)
	}
	if size > MaxHeaderBytes {
		return store.TooLarge("message headers in bytes", int64(size), MaxHeaderBytes)
	}
	return nil
}

// checkShort checks a property or a routing key.
func checkShort(what, s string) error {
	if len(s) > MaxPropertyBytes {
		return store.TooLarge(what+" in bytes", int64(len(s)), MaxPropertyBytes)
	}
	if !utf8.ValidString(s) {
		return store.Invalid("%s %q is not UTF-8", what, s)
	}
	return nil
}

// headerNames returns the names in order, so that equal messages have equal
// bytes.
func (m *Message) headerNames() []string {
	names := make([]string, 0, len(m.Headers))
	for name := range m.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Publishing is one message of a batch.
type Publishing struct {
	Key     string // to route it by
	Message Message
}
