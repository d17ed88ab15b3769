package visibility

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A queue is lanes under these kinds; see its keys.go for what surrounds the
// message below.
//
//	┌─────────┬───────┬──────┬───────────┬─────────────┬─────┬───────────────┬────────────┬──────┐
//	│ version │ flags │ sent │ group str │ dead letter │ id  │ dedupe id str │ attributes │ body │
//	│ 1 B     │ 1 B   │ 8 B  │ if flag 2 │ if flag 1   │ str │ if flag 4     │            │ rest │
//	└─────────┴───────┴──────┴───────────┴─────────────┴─────┴───────────────┴────────────┴──────┘
//
//	dead letter   moved 8 B | receives 4 B | deaths 4 B | reason 1 B | source queue str | last error str
//	reason        1 max receives | 2 expired | 3 max attempts | 4 rejected
//	attributes    number uvarint, then each: name str | type 1 B, 128 more with a label | label str, if there is one | value str
//	str           length uvarint | bytes
//
// The body is missing if the queue core's entry refers to a payload that is shared.
// Attributes are in the order of their names. Numbers are big-endian, times
// are nanoseconds since 1970. The group comes early because it is looked at
// often, and the dead letter part so that moving a message copies the rest as it
// is.
var layout = queue.Layout{
	Segment: store.KindVisMessage,
	State:   store.KindVisState,
	Delayed: store.KindVisDelay,
	Meta:    store.KindVisMeta,
	Parked:  store.KindVisParked,
	Stray:   store.KindVisExpiry,
	Pin:     store.KindVisPin,

	DelayedID: store.KindVisDelayID,
}

// reasons by their number, from 1.
var reasons = [...]string{ReasonMaxReceives, ReasonExpired, ReasonMaxAttempts, ReasonRejected}

const (
	messageVersion = 1
	flagDead       = 1
	flagGroup      = 2
	flagDedupe     = 4
	flagsKnown     = flagDead | flagGroup | flagDedupe
	labeled        = 128 // in the type of an attribute
	messageHead    = 1 + 1 + 8
)

// encodeMessage encodes a message that was checked.
func encodeMessage(id string, m *Message, sent time.Time) []byte {
	b := make([]byte, 0, messageHead+32+len(m.Group)+len(id)+len(m.DedupeID)+m.size()+8*len(m.Attributes))
	flags := byte(0)
	if m.DedupeID != "" {
		flags = flagDedupe
	}
	b = appendHead(b, flags, uint64(sent.UnixNano()), m.Group)
	b = appendString(b, id)
	if m.DedupeID != "" {
		b = appendString(b, m.DedupeID)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Attributes)))
	for _, name := range slices.Sorted(maps.Keys(m.Attributes)) {
		a := m.Attributes[name]
		b = appendString(b, name)
		if a.Label == "" {
			b = append(b, byte(a.Type))
		} else {
			b = appendString(append(b, byte(a.Type)|labeled), a.Label)
		}
		b = appendString(b, a.Value)
	}
	return append(b, m.Body...)
}

func appendHead[S ~string | ~[]byte](b []byte, flags byte, sent uint64, group S) []byte {
	if len(group) > 0 {
		flags |= flagGroup
	}
	b = binary.BigEndian.AppendUint64(append(b, messageVersion, flags), sent)
	if len(group) > 0 {
		b = appendString(b, group)
	}
	return b
}

// encodeDead returns an encoded message with what is to be known of its move
// to a dead-letter queue, instead of what it may say of an earlier one; to whose
// number of deaths it adds.
func encodeDead(data []byte, d *DeadLetterInfo) ([]byte, error) {
	f := fields{rest: data}
	flags, sent := f.head()
	group := f.group(flags)
	deaths := d.Deaths
	if flags&flagDead != 0 {
		if earlier := f.dead(); earlier != nil {
			deaths += earlier.Deaths
		}
	}
	if f.failed {
		return nil, damaged(data)
	}
	b := make([]byte, 0, len(data)+32+len(d.Queue))
	b = appendHead(b, flags|flagDead, sent, group)
	b = binary.BigEndian.AppendUint64(b, uint64(d.At.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(d.ReceiveCount))
	b = binary.BigEndian.AppendUint32(b, uint32(deaths))
	b = append(b, byte(1+slices.Index(reasons[:], d.Reason)))
	b = appendString(b, d.Queue)
	b = appendString(b, d.LastError)
	return append(b, f.rest...), nil
}

// decodeMessage decodes a message. Its result does not share data.
func decodeMessage(data []byte) (*Received, error) {
	if len(data) > 0 && data[0] != messageVersion {
		return nil, fmt.Errorf("%w: message of a queue has version %d", store.ErrFormat, data[0])
	}
	f := fields{rest: data}
	r := &Received{}
	flags, sent := f.head()
	r.SentAt = time.Unix(0, int64(sent))
	r.Group = string(f.group(flags))
	if flags&flagDead != 0 {
		r.DeadLetter = f.dead()
	}
	r.ID = string(f.string())
	r.DedupeID = f.dedupeID(flags)
	r.Attributes = f.attributes()
	if f.failed || flags&^flagsKnown != 0 {
		return nil, damaged(data)
	}
	r.Body = append([]byte{}, f.rest...)
	return r, nil
}

// idOf returns the ID of an encoded message, or nothing.
func idOf(data []byte) []byte {
	f := fields{rest: data}
	flags, _ := f.head()
	f.group(flags)
	if flags&flagDead != 0 {
		f.dead()
	}
	id := f.string()
	if f.failed {
		return nil
	}
	return id
}

// originOf returns the queue that an encoded message died in, or nothing.
func originOf(data []byte) string {
	f := fields{rest: data}
	flags, _ := f.head()
	f.group(flags)
	if flags&flagDead == 0 {
		return ""
	}
	d := f.dead()
	if f.failed {
		return ""
	}
	return d.Queue
}

func damaged(data []byte) error {
	return fmt.Errorf("%w: message %x of a queue", store.ErrCorrupt, data[:min(len(data), 32)])
}

func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// fields reads an encoded message from front to back. After a failure it
// returns zeroes.
type fields struct {
	rest   []byte
	failed bool
}

// bytes returns the next n bytes, or n zeroes of a short kind.
func (f *fields) bytes(n int) []byte {
	if f.failed || n < 0 || n > len(f.rest) {
		f.failed = true
		return make([]byte, 8)
	}
	b := f.rest[:n:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) uvarint() uint64 {
	n, size := binary.Uvarint(f.rest)
	if size <= 0 || size > 1 && f.rest[size-1] == 0 { // one encoding for each number
		f.failed = true
		return 0
	}
	f.rest = f.rest[size:]
	return n
}

func (f *fields) string() []byte {
	n := f.uvarint()
	if f.failed || n > uint64(len(f.rest)) {
		f.failed = true
		return nil
	}
	return f.bytes(int(n))
}

func (f *fields) head() (flags byte, sent uint64) {
	f.bytes(1) // version
	flags = f.bytes(1)[0]
	return flags, binary.BigEndian.Uint64(f.bytes(8))
}

// group is not empty if there is one.
func (f *fields) group(flags byte) []byte {
	if flags&flagGroup == 0 {
		return nil
	}
	group := f.string()
	f.failed = f.failed || len(group) == 0
	return group
}

// dedupeID is not empty if there is one.
func (f *fields) dedupeID(flags byte) string {
	if flags&flagDedupe == 0 {
		return ""
	}
	id := f.string()
	f.failed = f.failed || len(id) == 0
	return string(id)
}

func (f *fields) dead() *DeadLetterInfo {
	d := &DeadLetterInfo{}
	d.At = time.Unix(0, int64(binary.BigEndian.Uint64(f.bytes(8))))
	d.ReceiveCount = int(binary.BigEndian.Uint32(f.bytes(4)))
	d.Deaths = int(binary.BigEndian.Uint32(f.bytes(4)))
	reason := f.bytes(1)[0]
	d.Queue, d.LastError = string(f.string()), string(f.string())
	if reason < 1 || int(reason) > len(reasons) {
		f.failed = true
		return nil
	}
	d.Reason = reasons[reason-1]
	return d
}

func (f *fields) attributes() map[string]Attribute {
	n := f.uvarint()
	if f.failed || n == 0 {
		return nil
	}
	if n > uint64(len(f.rest)) { // each takes three bytes or more
		f.failed = true
		return nil
	}
	attributes := make(map[string]Attribute)
	last := ""
	for range n {
		name := string(f.string())
		kind := f.bytes(1)[0]
		a := Attribute{Type: AttributeType(kind &^ labeled)}
		if kind&labeled != 0 {
			a.Label = string(f.string())
			f.failed = f.failed || a.Label == ""
		}
		a.Value = append([]byte{}, f.string()...)
		if f.failed || name <= last || a.Type < String || a.Type > Binary {
			f.failed = true
			return nil
		}
		attributes[name], last = a, name
	}
	return attributes
}
