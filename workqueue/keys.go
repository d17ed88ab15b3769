package workqueue

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// The messages of a queue are a spool (see internal/spool/keys.go) of this
// layout; data is the encoding below.
//
//	binding 24 broker id | exchange length 1 B | exchange | class 1 B | name length 1 B | name | key
//	        ->  version 1 B | id of the destination 4 B
//
//	data    version 1 B | priority 1 B | timestamp in µs 8 B | exchange | routing key | 7 properties |
//	        number of headers (varint) | name, value of each | body
//
// A text is its length (varint) and its bytes; the body goes to the end, or is a
// payload that several queues share.
// Exchanges and queues are in the catalog under broker id 4 B | name.
var layout = spool.Layout{
	Entry: store.KindWorkMessage, Mark: store.KindWorkMark, Delayed: store.KindWorkDelay, Meta: store.KindWorkMeta,
}

const version = 1

func bindingKey(broker uint32, b binding) []byte {
	k := store.Key(store.KindWorkBinding, broker, 3+len(b.exchange)+len(b.to.name)+len(b.key))
	k = append(append(k, byte(len(b.exchange))), b.exchange...)
	k = append(append(k, byte(b.to.class), byte(len(b.to.name))), b.to.name...)
	return append(k, b.key...)
}

func encodeDestinationID(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{version}, id)
}

// decodeBinding also returns the id that the destination had when it was bound.
func decodeBinding(k, v []byte) (b binding, id uint32, err error) {
	if len(v) > 0 && v[0] != version {
		return b, 0, fmt.Errorf("%w: binding has version %d", store.ErrFormat, v[0])
	}
	if len(v) != 5 || len(k) < 5 {
		return b, 0, damaged("binding", k)
	}
	d := decoder{rest: k[5:]}
	b.exchange = d.short()
	b.to = destination{class: store.Class(d.byte()), name: d.short()}
	b.key = string(d.rest)
	if _, known := places[b.to.class]; d.bad || !known {
		return binding{}, 0, damaged("binding", k)
	}
	return b, binary.BigEndian.Uint32(v[1:]), nil
}

func damaged(what string, b []byte) error {
	return fmt.Errorf("%w: %s %x of a broker", store.ErrCorrupt, what, b[:min(len(b), 32)])
}

// encodeMessage returns the stored form of a message, whose end is the body.
func encodeMessage(exchange, key string, m *Message) []byte {
	size := 10 + len(exchange) + len(key) + len(m.Body) + 12*binary.MaxVarintLen16
	props := m.properties()
	for _, p := range props {
		size += len(*p)
	}
	for name, value := range m.Headers {
		size += len(name) + len(value) + 2*binary.MaxVarintLen32
	}
	b := make([]byte, 0, size)
	b = append(b, version, m.Priority)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Timestamp.UnixMicro()))
	b = appendText(appendText(b, exchange), key)
	for _, p := range props {
		b = appendText(b, *p)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Headers)))
	for _, name := range m.headerNames() {
		b = appendText(appendText(b, name), m.Headers[name])
	}
	return append(b, m.Body...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeMessage reads the stored form. The body is not copied.
func decodeMessage(v []byte) (m Message, exchange, key string, err error) {
	if len(v) > 0 && v[0] != version {
		return m, "", "", fmt.Errorf("%w: message has version %d", store.ErrFormat, v[0])
	}
	if len(v) < 10 {
		return m, "", "", damaged("message", v)
	}
	m.Priority = v[1]
	m.Timestamp = time.UnixMicro(int64(binary.BigEndian.Uint64(v[2:])))
	d := decoder{rest: v[10:]}
	exchange, key = d.text(), d.text()
	for _, p := range m.properties() {
		*p = d.text()
	}
	if n := d.uvarint(); n > 0 && n <= uint64(len(d.rest)) {
		m.Headers = make(map[string]string, n)
		for range n {
			name := d.text()
			m.Headers[name] = d.text()
		}
	} else if n > 0 {
		d.bad = true
	}
	if d.bad {
		return Message{}, "", "", damaged("message", v)
	}
	m.Body = d.rest
	return m, exchange, key, nil
}

// decoder reads from the front of a value and remembers if it ran out.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) take(n uint64) string {
	if n > uint64(len(d.rest)) {
		d.bad = true
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) text() string { return d.take(d.uvarint()) }

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.bad = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) short() string { return d.take(uint64(d.byte())) }
