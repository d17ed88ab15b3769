package log

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Limits of what Append takes. Beyond them it returns ErrTooLarge.
const (
	DefaultRecordBytes = 1 << 20   // key, value and headers of a record, unless the topic says otherwise
	MaxRecordBytes     = 32 << 20  // what a topic may raise that to
	MaxHeaders         = 256       // headers of a record
	MaxHeaderBytes     = 64 << 10  // names and values of a record's headers
	MaxBatchBytes      = 16 << 20  // keys, values and headers of one call, unless it has one larger record
	MaxBatchRecords    = 128 << 10 // records of one call
	MaxPartitions      = 4096      // of a topic
	maxOffset          = math.MaxInt64
)

// Record is an entry of a log.
type Record struct {
	// Key chooses the partition, the same for equal keys; nil is no key. A nil
	// Key and an empty one differ, as in Kafka.
	Key []byte
	// Value is the payload. A nil Value and an empty one differ: nil marks a
	// deletion for readers that keep the latest value of each key.
	Value []byte
	// Headers are kept in order, with equal names.
	Headers []Header
	// Timestamp is when the event happened, by default when it is appended; a
	// topic of AppendTime sets it itself, whatever it is here. It is kept to the nanosecond, between the years 1678 and 2262, and read
	// back in UTC.
	Timestamp time.Time

	// Partition and Offset are where the record is. They are set by reading;
	// Append ignores them.
	Partition int
	Offset    int64

	tenure *tenure // under which a Member received it
	gap    uint64  // how many offsets before it the member has none to deliver of
}

// Header is a named annotation of a record. A nil Value and an empty one differ.
type Header struct {
	Name  string
	Value []byte
}

// Flags of an encoded record.
const (
	hasKey     = 1 << 0
	hasValue   = 1 << 1
	hasHeaders = 1 << 2
)

// An encoded record; lengths and counts are uvarints:
//
//	length | time 8 B | flags 1 B | [key length, key] | [header count, headers] | [value]
//
// Length is that of everything after it, so the value needs none. A header is
// name length, name, value length + 1 (0 for nil), value.
const recordFixed = 8 + 1

// recordOverhead is more than what encoding adds to any payload.
const recordOverhead = 64 + 2*MaxHeaders*binary.MaxVarintLen32

// nanoTime bounds the times that fit into an int64 of nanoseconds.
var (
	firstTime = time.Unix(0, math.MinInt64)
	lastTime  = time.Unix(0, math.MaxInt64)
)

func uvarintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// payload returns the size that limits are about.
func (r *Record) payload() (total, headers int) {
	for i := range r.Headers {
		headers += len(r.Headers[i].Name) + len(r.Headers[i].Value)
	}
	return len(r.Key) + len(r.Value) + headers, headers
}

// check validates a record of a topic that takes records of limit bytes, and
// returns its payload size.
func (r *Record) check(limit int) (payload int, err error) {
	total, headers := r.payload()
	switch {
	case len(r.Headers) > MaxHeaders:
		return 0, store.TooLarge("number of headers", int64(len(r.Headers)), MaxHeaders)
	case headers > MaxHeaderBytes:
		return 0, store.TooLarge("headers in bytes", int64(headers), MaxHeaderBytes)
	case total > limit:
		return 0, store.TooLarge("record in bytes", int64(total), int64(limit))
	case !r.Timestamp.IsZero() && (r.Timestamp.Before(firstTime) || r.Timestamp.After(lastTime)):
		return 0, store.Invalid("timestamp %v is out of range", r.Timestamp)
	}
	return total, nil
}

// body returns the size of an encoded record without its length.
func (r *Record) body() int {
	n := recordFixed + len(r.Value)
	if r.Key != nil {
		n += uvarintLen(len(r.Key)) + len(r.Key)
	}
	if len(r.Headers) > 0 {
		n += uvarintLen(len(r.Headers))
		for i := range r.Headers {
			h := &r.Headers[i]
			n += uvarintLen(len(h.Name)) + len(h.Name) + uvarintLen(len(h.Value)+1) + len(h.Value)
		}
	}
	return n
}

// encodedLen returns the size of an encoded record.
func (r *Record) encodedLen() int {
	n := r.body()
	return uvarintLen(n) + n
}

// appendRecord encodes a record at the end of dst.
func appendRecord(dst []byte, r *Record, nanos int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.body()))
	dst = binary.BigEndian.AppendUint64(dst, uint64(nanos))
	at := len(dst)
	dst = append(dst, 0)
	if r.Key != nil {
		dst[at] |= hasKey
		dst = binary.AppendUvarint(dst, uint64(len(r.Key)))
		dst = append(dst, r.Key...)
	}
	if len(r.Headers) > 0 {
		dst[at] |= hasHeaders
		dst = appendHeaders(dst, r.Headers)
	}
	if r.Value != nil {
		dst[at] |= hasValue
		dst = append(dst, r.Value...)
	}
	return dst
}

func appendHeaders(dst []byte, headers []Header) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(headers)))
	for i := range headers {
		h := &headers[i]
		dst = binary.AppendUvarint(dst, uint64(len(h.Name)))
		dst = append(dst, h.Name...)
		if h.Value == nil {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(h.Value))+1)
		dst = append(dst, h.Value...)
	}
	return dst
}

var errRecord = fmt.Errorf("%w: log: malformed record", store.ErrCorrupt)

// cutRecord splits the body of the first record off.
func cutRecord(b []byte) (body, rest []byte, err error) {
	if len(b) > 0 && b[0] < 0x80 && int(b[0]) < len(b) && b[0] >= recordFixed {
		n := 1 + int(b[0])
		return b[1:n:n], b[n:], nil
	}
	n, size := binary.Uvarint(b)
	if size <= 0 || n < recordFixed || n > uint64(len(b)-size) {
		return nil, nil, errRecord
	}
	end := size + int(n)
	return b[size:end:end], b[end:], nil
}

// recordTime reads only the time of a record.
func recordTime(body []byte) int64 { return int64(binary.BigEndian.Uint64(body)) }

// decodeRecord reads a body that cutRecord has returned. Key, Value and headers
// alias it.
func decodeRecord(body []byte, r *Record, heads *headerRoom) error {
	r.Timestamp = time.Unix(0, recordTime(body)).UTC()
	flags := body[8]
	body = body[recordFixed:]
	r.Key, r.Value, r.Headers = nil, nil, nil
	if flags&^(hasKey|hasValue|hasHeaders) != 0 {
		return errRecord
	}
	var err error
	if flags&hasKey != 0 {
		if r.Key, body, err = cutBytes(body); err != nil {
			return err
		}
	}
	if flags&hasHeaders != 0 {
		if r.Headers, body, err = heads.decode(body); err != nil {
			return err
		}
	}
	if flags&hasValue != 0 {
		r.Value = body
	} else if len(body) != 0 {
		return errRecord
	}
	return nil
}

func cutBytes(b []byte) (field, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, errRecord
	}
	end := size + int(n)
	return b[size:end:end], b[end:], nil
}

// headerRoom makes headers cheap to decode: they are cut from larger slices, and
// a name that the record before had too is not copied again. The names are kept
// apart from the headers, which belong to whoever got the record.
type headerRoom struct {
	room []Header
	last []string
}

const headerChunk = 256

func (h *headerRoom) decode(b []byte) (headers []Header, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n == 0 || n > uint64(len(b)-size)/2 {
		return nil, nil, errRecord
	}
	b = b[size:]
	headers = h.take(int(n))
	for i := range headers {
		var name []byte
		if name, b, err = cutBytes(b); err != nil {
			return nil, nil, err
		}
		headers[i].Name = h.name(i, name)
		if len(b) > 0 && b[0] == 0 {
			b = b[1:]
			continue
		}
		n, size := binary.Uvarint(b)
		if size <= 0 || n == 0 || n-1 > uint64(len(b)-size) {
			return nil, nil, errRecord
		}
		end := size + int(n-1)
		headers[i].Value, b = b[size:end:end], b[end:]
	}
	return headers, b, nil
}

func (h *headerRoom) take(n int) []Header {
	if n > len(h.room) {
		h.room = make([]Header, max(n, min(headerChunk, 16*n)))
	}
	headers := h.room[:n:n]
	h.room = h.room[n:]
	return headers
}

// name returns the name of the header at place i of a record.
func (h *headerRoom) name(i int, name []byte) string {
	if i == len(h.last) {
		h.last = append(h.last, "")
	}
	if h.last[i] != string(name) {
		h.last[i] = string(name)
	}
	return h.last[i]
}

// Topic returns the name of the topic of a record that a Member or a Subscription has
// returned; it is empty for others.
func (r Record) Topic() string {
	if r.tenure == nil {
		return ""
	}
	return r.tenure.claim.g.topic.name
}

// Clone returns a copy that shares no memory with r, so that keeping it does not
// keep the buffer that r was read with.
func (r Record) Clone() Record {
	r.Key, r.Value, r.Headers = slices.Clone(r.Key), slices.Clone(r.Value), slices.Clone(r.Headers)
	for i := range r.Headers {
		r.Headers[i].Value = slices.Clone(r.Headers[i].Value)
	}
	return r
}
