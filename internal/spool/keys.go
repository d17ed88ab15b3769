package spool

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Layout names the kinds that a layer has set aside for its spools.
//
//	entry   kind id seq 8 B          ->  version 1 B | data
//	                                     or, if it shares a payload, 2 1 B | payload | data
//	mark    kind id seq 8 B          ->  version 1 B | out 1 B | count 4 B | until 8 B | first 8 B | since 8 B
//	delayed kind id due 8 B seq 8 B  ->  version 1 B | count 4 B | data, or 2 1 B | count 4 B | payload | data
//	meta    kind id                  ->  version 1 B | the numbers of meta, 8 B each, in order
//
// A payload is generation 4 B | number 4 B | size 4 B, and is held in slot 0, of a
// delayed message in slot 1. Numbers are big-endian, times are nanoseconds since 1970, 0 for none. A mark
// exists once a message has been delivered. Out is 1 while it is out, and 2 from
// then on if it was out when the process died, until it has been out again.
type Layout struct {
	Entry, Mark, Delayed, Meta store.Kind
}

// Kinds lists the kinds, to drop a spool with.
func (l Layout) Kinds() []store.Kind {
	return []store.Kind{l.Entry, l.Mark, l.Delayed, l.Meta}
}

const (
	version       = 1
	versionShared = 2
)

// slots of the payloads that a spool holds.
const (
	slotEntries = 0
	slotDelayed = 1
)

func seqKey(k store.Kind, id uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(store.Key(k, id, 8), seq)
}

func dueKey(k store.Kind, id uint32, due int64, seq uint64) []byte {
	key := binary.BigEndian.AppendUint64(store.Key(k, id, 16), uint64(due))
	return binary.BigEndian.AppendUint64(key, seq)
}

const (
	seqKeyLen = 5 + 8
	dueKeyLen = 5 + 16
	markLen   = 30
	metaLen   = 1 + 8*10
)

func decodeSeqKey(key []byte) (uint64, error) {
	if len(key) != seqKeyLen {
		return 0, damaged("key", key)
	}
	return binary.BigEndian.Uint64(key[5:]), nil
}

func decodeDueKey(key []byte) (due int64, seq uint64, err error) {
	if len(key) != dueKeyLen {
		return 0, 0, damaged("key", key)
	}
	return int64(binary.BigEndian.Uint64(key[5:])), binary.BigEndian.Uint64(key[13:]), nil
}

func damaged(what string, b []byte) error {
	return fmt.Errorf("%w: %s %x of a queue", store.ErrCorrupt, what, b[:min(len(b), 32)])
}

// checkVersion reads the first byte of a value.
func checkVersion(what string, v []byte, minLen int) error {
	switch {
	case len(v) < 1:
		return damaged(what, v)
	case v[0] != version:
		return fmt.Errorf("%w: %s of a queue has version %d", store.ErrFormat, what, v[0])
	case len(v) < minLen:
		return damaged(what, v)
	}
	return nil
}

const payloadLen = 12

// payloadRoom is what a reference takes up in a value.
func payloadRoom(p store.Payload) int {
	if p.Shared() {
		return payloadLen
	}
	return 0
}

// appendHead begins a value: its version, fields of a fixed size, and the
// reference if there is one.
func appendHead(b []byte, p store.Payload, fields ...byte) []byte {
	if !p.Shared() {
		return append(append(b, version), fields...)
	}
	b = append(append(b, versionShared), fields...)
	b = binary.BigEndian.AppendUint32(b, p.Generation)
	b = binary.BigEndian.AppendUint32(b, p.Number)
	return binary.BigEndian.AppendUint32(b, p.Size)
}

// cutHead reads what appendHead wrote, with n bytes of fields.
func cutHead(what string, v []byte, n int) (fields []byte, p store.Payload, rest []byte, err error) {
	if len(v) > 0 && v[0] == versionShared {
		if len(v) < 1+n+payloadLen {
			return nil, p, nil, damaged(what, v)
		}
		b := v[1+n:]
		p.Generation, p.Number, p.Size = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		if !p.Shared() {
			return nil, p, nil, damaged(what, v)
		}
		return v[1 : 1+n], p, b[payloadLen:], nil
	}
	if err := checkVersion(what, v, 1+n); err != nil {
		return nil, p, nil, err
	}
	return v[1 : 1+n], p, v[1+n:], nil
}

func entryLen(p store.Payload, data []byte) int { return 1 + payloadRoom(p) + len(data) }

// encodeEntry fills dst, which has entryLen.
func encodeEntry(dst []byte, p store.Payload, data []byte) {
	copy(dst[len(appendHead(dst[:0], p)):], data)
}

func decodeEntry(v []byte) (p store.Payload, data []byte, err error) {
	_, p, data, err = cutHead("entry", v, 0)
	return p, data, err
}

func encodeDelayed(count uint32, p store.Payload, data []byte) []byte {
	v := make([]byte, 0, 5+payloadRoom(p)+len(data))
	return append(appendHead(v, p, binary.BigEndian.AppendUint32(nil, count)...), data...)
}

func decodeDelayed(v []byte) (count uint32, p store.Payload, data []byte, err error) {
	fields, p, data, err := cutHead("delayed entry", v, 4)
	if err != nil {
		return 0, p, nil, err
	}
	return binary.BigEndian.Uint32(fields), p, data, nil
}

// mark is what is known of the deliveries of a message.
type mark struct {
	out     bool
	accused bool // not out, but was when the process died, and not since
	count   uint32
	until   int64
	first   int64 // delivery, if the layer keeps it
	since   int64 // the latest delivery, if the layer keeps it
}

func (m mark) encode(dst []byte) {
	dst[0], dst[1] = version, 0
	switch {
	case m.out:
		dst[1] = 1
	case m.accused:
		dst[1] = 2
	}
	binary.BigEndian.PutUint32(dst[2:], m.count)
	binary.BigEndian.PutUint64(dst[6:], uint64(m.until))
	binary.BigEndian.PutUint64(dst[14:], uint64(m.first))
	binary.BigEndian.PutUint64(dst[22:], uint64(m.since))
}

func decodeMark(v []byte) (mark, error) {
	if err := checkVersion("mark", v, markLen); err != nil {
		return mark{}, err
	}
	if len(v) != markLen || v[1] > 2 {
		return mark{}, damaged("mark", v)
	}
	return mark{
		out:     v[1] == 1,
		accused: v[1] == 2,
		count:   binary.BigEndian.Uint32(v[2:]),
		until:   int64(binary.BigEndian.Uint64(v[6:])),
		first:   int64(binary.BigEndian.Uint64(v[14:])),
		since:   int64(binary.BigEndian.Uint64(v[22:])),
	}, nil
}

// meta is the record that is written along with every group that touches the
// spool, so that opening it needs nothing else.
type meta struct {
	next         uint64 // sequence number of the next message
	low          uint64 // nothing is left below
	frontier     uint64
	entries      uint64 // ready, taken, and those not shown yet
	bytes        uint64 // of their data
	delayed      uint64
	delayedBytes uint64
	nextDue      int64  // of the earliest delayed message, or earlier
	delaySeq     uint64 // number of the next delayed message
	taken        uint64 // of entries, out
}

func (m meta) encode() []byte {
	v := append(make([]byte, 0, metaLen), version)
	for _, n := range [...]uint64{
		m.next, m.low, m.frontier, m.entries, m.bytes,
		m.delayed, m.delayedBytes, uint64(m.nextDue), m.delaySeq, m.taken,
	} {
		v = binary.BigEndian.AppendUint64(v, n)
	}
	return v
}

func decodeMeta(v []byte) (meta, error) {
	if err := checkVersion("meta record", v, metaLen); err != nil {
		return meta{}, err
	}
	if len(v) != metaLen {
		return meta{}, damaged("meta record", v)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(v[1+8*i:]) }
	m := meta{
		next: n(0), low: n(1), frontier: n(2), entries: n(3), bytes: n(4),
		delayed: n(5), delayedBytes: n(6), nextDue: int64(n(7)), delaySeq: n(8), taken: n(9),
	}
	if m.low > m.next || m.entries > m.next-m.low {
		return meta{}, damaged("meta record", v)
	}
	return m, nil
}

// moment is the inverse of nanos.
func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// nanos is a time as it is stored.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
