package workqueue

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// The messages of a queue are lanes (see internal/queue/keys.go) of this
// layout; data is the encoding below.
//
//	binding 24 broker id | exchange length 1 B | exchange | class 1 B | name length 1 B | name | key length 1 B | key |
//	            name, form 1 B (0 nil, 1 text), text of each argument in the order of names
//	        ->  version 1 B | id of the destination 4 B | number, which grows as bindings are made 8 B
//
//	data    version 1 B | priority 1 B | timestamp in µs 8 B | TTL in µs (varint; MaxTTL + 1 is NowOrNever) | exchange | routing key |
//	        number of CC keys (varint) | each of them | 8 properties |
//	        number of headers (varint) | name, value of each |
//	        number of deaths (varint) | each of them | body
//	death   queue | reason | count (varint) | time in µs 8 B | TTL in µs (varint) | exchange | number of keys (varint) | keys |
//	        latest time in µs 8 B | error
//
// A text is its length (varint) and its bytes; the body goes to the end, or is a
// payload that several queues share.
// Exchanges and queues are in the catalog under broker id 4 B | name.
var layout = queue.Layout{
	Segment: store.KindWorkMessage, State: store.KindWorkState, Delayed: store.KindWorkDelay, Meta: store.KindWorkMeta,
	Expiry: store.KindWorkExpiry, DelayedID: store.KindWorkDelayID, Unique: store.KindWorkUnique,
}

const version = 1

func bindingKey(broker uint32, b binding) []byte {
	k := store.Key(store.KindWorkBinding, broker, 4+len(b.exchange)+len(b.to.name)+len(b.key)+len(b.arguments))
	k = append(append(k, byte(len(b.exchange))), b.exchange...)
	k = append(append(k, byte(b.to.class), byte(len(b.to.name))), b.to.name...)
	k = append(append(k, byte(len(b.key))), b.key...)
	return append(k, b.arguments...)
}

// span is that of the bindings of an exchange.
func (e *exchange) span(broker uint32) (lo, hi []byte) {
	lo = bindingKey(broker, binding{exchange: e.name})
	lo = lo[:len(lo)-3]                       // without a destination and a key
	return lo, append(slices.Clone(lo), 0xff) // no class of destinations is as high
}

// record is what is stored with a binding.
type record struct {
	id     uint32 // that the destination had when it was bound
	number uint64
}

func encodeRecord(r record) []byte {
	v := binary.BigEndian.AppendUint32([]byte{version}, r.id)
	return binary.BigEndian.AppendUint64(v, r.number)
}

func decodeBinding(k, v []byte) (b binding, made record, err error) {
	if len(v) > 0 && v[0] != version {
		return b, made, fmt.Errorf("%w: binding has version %d", store.ErrFormat, v[0])
	}
	if len(v) != 13 || len(k) < 5 {
		return b, made, damaged("binding", k)
	}
	d := decoder{rest: k[5:]}
	b.exchange = d.short()
	b.to = destination{class: store.Class(d.byte()), name: d.short()}
	b.key = d.short()
	b.arguments = string(d.rest)
	if _, known := places[b.to.class]; d.bad || !known {
		return binding{}, made, damaged("binding", k)
	}
	if _, err := decodeArguments(b.arguments); err != nil {
		return binding{}, made, err
	}
	return b, record{binary.BigEndian.Uint32(v[1:]), binary.BigEndian.Uint64(v[5:])}, nil
}

func damaged(what string, b []byte) error {
	return fmt.Errorf("%w: %s %x of a broker", store.ErrCorrupt, what, b[:min(len(b), 32)])
}

// encodeMessage returns the stored form of a message, whose end is the body.
func encodeMessage(e *envelope) []byte {
	size := 10 + len(e.exchange) + len(e.key) + len(e.Body) + 12*binary.MaxVarintLen16
	props := e.properties()
	for _, p := range props {
		size += len(*p)
	}
	for _, key := range e.CC {
		size += len(key) + binary.MaxVarintLen16
	}
	for name, value := range e.Headers {
		size += len(name) + len(value) + 2*binary.MaxVarintLen32
	}
	b := make([]byte, 0, size)
	b = append(b, version, e.Priority)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Timestamp.UnixMicro()))
	b = appendTTL(b, e.TTL)
	b = appendText(appendText(b, e.exchange), e.key)
	b = appendTexts(b, e.CC)
	for _, p := range props {
		b = appendText(b, *p)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Headers)))
	for _, name := range e.headerNames() {
		b = appendText(appendText(b, name), e.Headers[name])
	}
	b = binary.AppendUvarint(b, uint64(len(e.deaths)))
	for i := range e.deaths {
		b = appendDeath(b, &e.deaths[i])
	}
	return append(b, e.Body...)
}

// messageIDOf returns the MessageID of a stored message, or nothing.
func messageIDOf(data []byte) []byte {
	if len(data) < 10 || data[0] != version {
		return nil
	}
	d := decoder{rest: data[10:]}
	d.uvarint() // TTL
	d.cut(d.uvarint())
	d.cut(d.uvarint())
	for range d.count() {
		d.cut(d.uvarint())
	}
	return d.cut(d.uvarint())
}

func appendDeath(b []byte, d *Death) []byte {
	b = appendText(appendText(b, d.Queue), d.Reason)
	b = binary.AppendUvarint(b, uint64(d.Count))
	b = binary.BigEndian.AppendUint64(b, uint64(d.Time.UnixMicro()))
	b = appendTTL(b, d.TTL)
	b = appendText(b, d.Exchange)
	b = appendTexts(b, d.RoutingKeys)
	b = binary.BigEndian.AppendUint64(b, uint64(d.Latest.UnixMicro()))
	return appendText(b, d.Error)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeMessage reads the stored form. The body is not copied.
func decodeMessage(v []byte) (e envelope, err error) {
	if len(v) > 0 && v[0] != version {
		return e, fmt.Errorf("%w: message has version %d", store.ErrFormat, v[0])
	}
	if len(v) < 10 {
		return e, damaged("message", v)
	}
	e.Priority = v[1]
	e.Timestamp = time.UnixMicro(int64(binary.BigEndian.Uint64(v[2:])))
	d := decoder{rest: v[10:]}
	e.TTL = d.ttl()
	e.exchange, e.key, e.CC = d.text(), d.text(), d.texts()
	for _, p := range e.properties() {
		*p = d.text()
	}
	e.Headers = d.headers()
	for range d.count() {
		e.deaths = append(e.deaths, d.death())
	}
	if d.bad {
		return envelope{}, damaged("message", v)
	}
	e.Body = d.rest
	return e, nil
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

// ttlNow is NowOrNever as it is stored.
const ttlNow = uint64(MaxTTL/time.Microsecond) + 1

func appendTTL(b []byte, ttl time.Duration) []byte {
	if ttl == NowOrNever {
		return binary.AppendUvarint(b, ttlNow)
	}
	return binary.AppendUvarint(b, uint64(ttl.Microseconds()))
}

func (d *decoder) ttl() time.Duration {
	n := d.uvarint()
	switch {
	case n == ttlNow:
		return NowOrNever
	case n > ttlNow:
		d.bad = true
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

func (d *decoder) take(n uint64) string { return string(d.cut(n)) }

func (d *decoder) cut(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) text() string { return d.take(d.uvarint()) }

// count reads how many things of a byte or more follow.
func (d *decoder) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.bad = true
		return 0
	}
	return n
}

func (d *decoder) texts() (list []string) {
	for range d.count() {
		list = append(list, d.text())
	}
	return list
}

func (d *decoder) headers() map[string]string {
	n := d.count()
	if n == 0 {
		return nil
	}
	headers := make(map[string]string, n)
	for range n {
		name := d.text()
		headers[name] = d.text()
	}
	return headers
}

func (d *decoder) death() (x Death) {
	x.Queue, x.Reason, x.Count = d.text(), d.text(), int(d.uvarint())
	x.Time = d.time()
	x.TTL = d.ttl()
	x.Exchange = d.text()
	x.RoutingKeys = d.texts()
	x.Latest, x.Error = d.time(), d.text()
	return x
}

func (d *decoder) time() time.Time {
	if len(d.rest) < 8 {
		d.bad = true
		return time.Time{}
	}
	micros := int64(binary.BigEndian.Uint64(d.rest))
	d.rest = d.rest[8:]
	return time.UnixMicro(micros)
}

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
