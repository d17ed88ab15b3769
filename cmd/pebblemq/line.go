package main

import (
	"time"

	"github.com/pebblemq/pebblemq/idempotency"
	"github.com/pebblemq/pebblemq/log"
	"github.com/pebblemq/pebblemq/visibility"
	"github.com/pebblemq/pebblemq/workqueue"
)

// dumpFormat is the version of the lines.
const dumpFormat = 1

// line is a line of a dump. Exactly one field is set. The first line has Format, the last one End. An
// object comes before what it holds. Durations are in nanoseconds.
type line struct {
	Format            int                    `json:"format,omitempty"`
	Topic             *topicLine             `json:"topic,omitempty"`
	Record            *recordLine            `json:"record,omitempty"`
	Group             *groupLine             `json:"group,omitempty"`
	VisibilityQueue   *visibilityQueueLine   `json:"visibilityQueue,omitempty"`
	VisibilityMessage *visibilityMessageLine `json:"visibilityMessage,omitempty"`
	Namespace         *namespaceLine         `json:"namespace,omitempty"`
	Key               *keyLine               `json:"key,omitempty"`
	Broker            *brokerLine            `json:"broker,omitempty"`
	Message           *messageLine           `json:"message,omitempty"`
	Job               *jobLine               `json:"job,omitempty"`
	Entry             *entryLine             `json:"entry,omitempty"`
	End               *endLine               `json:"end,omitempty"`
}

type topicLine struct {
	Name   string          `json:"name"`
	Config log.TopicConfig `json:"config"`
}

type recordLine struct {
	Topic string `json:"topic"`
	recordRow
}

type groupLine struct {
	Topic     string          `json:"topic"`
	Name      string          `json:"name"`
	Config    log.GroupConfig `json:"config"`
	Positions []positionLine  `json:"positions"`
}

// positionLine says where a group stands in a partition. Offsets begin at 0 when they are loaded, so
// it counts the records that the group is done with.
type positionLine struct {
	Partition int    `json:"partition"`
	Next      int64  `json:"next"`
	Done      int64  `json:"done"` // records of the dump below Next
	Metadata  string `json:"metadata,omitempty"`
}

type visibilityQueueLine struct {
	Name   string                 `json:"name"`
	Config visibility.QueueConfig `json:"config"`
}

type visibilityMessageLine struct {
	Queue      string               `json:"queue"`
	ID         string               `json:"id"`
	Group      string               `json:"group,omitempty"`
	Priority   uint8                `json:"priority,omitempty"`
	DedupeID   string               `json:"dedupeID,omitempty"`
	Body       payload              `json:"body"`
	Attributes map[string]attribute `json:"attributes,omitempty"`
	Due        time.Time            `json:"due,omitzero"` // of a delayed message
	Sent       time.Time            `json:"sent"`
	Receives   int                  `json:"receives,omitempty"`
	Death      *death               `json:"death,omitempty"`
}

type attribute struct {
	Type  visibility.AttributeType `json:"type"` // 1 String, 2 Number, 3 Binary
	Label string                   `json:"label,omitempty"`
	Value payload                  `json:"value"`
}

type namespaceLine struct {
	Name   string             `json:"name"`
	Config idempotency.Config `json:"config"`
}

type keyLine struct {
	Namespace   string    `json:"namespace"`
	Key         payload   `json:"key"`
	Failed      bool      `json:"failed,omitempty"` // Result is the text of the final error
	Result      payload   `json:"result"`
	Fingerprint payload   `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
}

type brokerLine struct {
	Name     string              `json:"name"`
	Topology *workqueue.Topology `json:"topology"`
	Paused   []string            `json:"paused,omitempty"` // queues
}

type messageLine struct {
	Broker     string    `json:"broker"`
	Queue      string    `json:"queue"`
	Exchange   string    `json:"exchange,omitempty"`
	RoutingKey string    `json:"routingKey,omitempty"`
	Due        time.Time `json:"due,omitzero"` // of a delayed message
	Expires    time.Time `json:"expires,omitzero"`
	properties
	Deliveries int     `json:"deliveries,omitempty"`
	Deaths     []death `json:"deaths,omitempty"` // the latest first
}

// death says why a message is a dead letter.
type death struct {
	Queue  string    `json:"queue"`
	Reason string    `json:"reason"`
	Count  int       `json:"count"`
	Time   time.Time `json:"time"`
	Error  string    `json:"error,omitempty"`
}

// properties are what a message of a work queue has by itself.
type properties struct {
	Body            payload           `json:"body"`
	Headers         map[string]string `json:"headers,omitempty"`
	MessageID       string            `json:"messageID,omitempty"`
	CorrelationID   string            `json:"correlationID,omitempty"`
	ReplyTo         string            `json:"replyTo,omitempty"`
	Type            string            `json:"type,omitempty"`
	ContentType     string            `json:"contentType,omitempty"`
	ContentEncoding string            `json:"contentEncoding,omitempty"`
	AppID           string            `json:"appID,omitempty"`
	Timestamp       time.Time         `json:"timestamp,omitzero"`
	CC              []string          `json:"cc,omitempty"`
	UniqueKey       string            `json:"uniqueKey,omitempty"`
	Priority        uint8             `json:"priority,omitempty"`
}

func propertiesOf(m workqueue.Message) properties {
	return properties{
		m.Body, m.Headers, m.MessageID, m.CorrelationID, m.ReplyTo, m.Type, m.ContentType, m.ContentEncoding, m.AppID,
		m.Timestamp, m.CC, m.UniqueKey, m.Priority,
	}
}

func (p properties) message() workqueue.Message {
	return workqueue.Message{
		Body: p.Body, Headers: p.Headers, MessageID: p.MessageID, CorrelationID: p.CorrelationID, ReplyTo: p.ReplyTo,
		Type: p.Type, ContentType: p.ContentType, ContentEncoding: p.ContentEncoding, AppID: p.AppID,
		Timestamp: p.Timestamp, CC: p.CC, UniqueKey: p.UniqueKey, Priority: p.Priority,
	}
}

type jobLine struct {
	Broker   string        `json:"broker"`
	Name     string        `json:"name"`
	Every    time.Duration `json:"every"`
	Next     time.Time     `json:"next"`
	Exchange string        `json:"exchange,omitempty"`
	Key      string        `json:"key"`
	TTL      time.Duration `json:"ttl,omitempty"`
	Delay    time.Duration `json:"delay,omitempty"`
	BCC      []string      `json:"bcc,omitempty"`
	properties
}

type entryLine struct {
	Key   payload `json:"key"`
	Value payload `json:"value"`
}

type endLine struct {
	Lines int64 `json:"lines"` // before this one
}
