package queue

import (
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Layout names the kinds that a layer has set aside for its lanes.
//
//	segment kind id lane 1 B seq 8 B          ->  messages up to that number, see segmentvalue.go
//	state   kind id lane 1 B seq 8 B          ->  what has become of these, see state.go
//	delayed kind id lane 1 B due 8 B seq 8 B  ->  version 1 B | flags 1 B | count 4 B | payload | expires | data
//	parked  kind id lane 1 B group 8 B seq 8 B ->  nothing; dropped when the lane is opened, see groups.go
//	expiry  kind id lane 1 B expires 8 B seq 8 B -> nothing
//	stray   kind id lane 1 B born 8 B seq 8 B -> nothing; see retention.go
//	delayed id kind id lane 1 B hash 8 B due 8 B seq 8 B -> nothing; the hash begins the SHA-256 of the layer's id
//	unique  kind id slot 1 B key 16 B         ->  version 1 B | lane 1 B | due 8 B (of slot 1) | seq 8 B
//	pin     kind id group                     ->  version 1 B | lane 1 B | messages 8 B; see pin.go
//	meta    kind id lane 1 B                  ->  version 1 B | the numbers of meta, 8 B each, in order
//
// A message in a segment is version 1 B | flags 1 B | payload | expires | data.
// Flag 1 says that there is a payload: generation 4 B | number 4 B | size 4 B. It
// is held in slot 2 * lane, of a delayed message in slot 2 * lane + 1. Flag 2 says
// that there is an end of the time to live, 8 B, and flag 4 that there is a unique
// key, 16 B, which the unique record of slot 0 leads back from, or of slot 1 while
// the message is delayed. Flag 8 says that there is a time of birth, 8 B, and flag 16
// that the message is in the index of strays. Flag 32 says that there is a number of
// the whole queue, 8 B.
//
// Numbers are big-endian, times are nanoseconds since 1970, 0 for none.
type Layout struct {
	Segment, State, Delayed, Meta store.Kind
	Parked                        store.Kind // of lanes with groups
	Expiry                        store.Kind // of lanes whose messages expire
	Stray                         store.Kind // of lanes with a retention
	DelayedID                     store.Kind // of lanes with Options.ID
	Unique                        store.Kind // of lanes whose messages may have unique keys
	Pin                           store.Kind // of lanes that keep groups in order
}

// Kinds lists the kinds, to drop a lane with.
func (l Layout) Kinds() []store.Kind {
	kinds := []store.Kind{l.Segment, l.State, l.Delayed, l.Meta}
	if l.Parked != 0 {
		kinds = append(kinds, l.Parked)
	}
	if l.Expiry != 0 {
		kinds = append(kinds, l.Expiry)
	}
	if l.Stray != 0 {
		kinds = append(kinds, l.Stray)
	}
	if l.DelayedID != 0 {
		kinds = append(kinds, l.DelayedID)
	}
	if l.Unique != 0 {
		kinds = append(kinds, l.Unique)
	}
	if l.Pin != 0 {
		kinds = append(kinds, l.Pin)
	}
	return kinds
}

const version = 1

// Flags of a message.
const (
	flagShared  = 1
	flagExpires = 2
	flagUnique  = 4
	flagBorn    = 8
	flagStray   = 16
	flagNumber  = 32
	flagsKnown  = 2*flagNumber - 1
)

// slots of the payloads that a lane holds.
const (
	slotEntries = 0
	slotDelayed = 1
)

// place is a lane in the key space.
type place struct {
	id   uint32
	lane byte
}

// laneKey begins a key of a lane; alone it is that of its meta record.
func laneKey(k store.Kind, p place, room int) []byte {
	return append(store.Key(k, p.id, 1+room), p.lane)
}

func seqKey(k store.Kind, p place, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(laneKey(k, p, 8), seq)
}

func dueKey(k store.Kind, p place, due int64, seq uint64) []byte {
	key := binary.BigEndian.AppendUint64(laneKey(k, p, 16), uint64(due))
	return binary.BigEndian.AppendUint64(key, seq)
}

// idKey is that of a delayed message in the index by ids. The lane is that of p.
func idKey(k store.Kind, p place, hash uint64, at Position) []byte {
	key := binary.BigEndian.AppendUint64(laneKey(k, p, 24), hash)
	key = binary.BigEndian.AppendUint64(key, uint64(at.Due))
	return binary.BigEndian.AppendUint64(key, at.Seq)
}

const (
	laneKeyLen = 5 + 1
	seqKeyLen  = laneKeyLen + 8
	dueKeyLen  = laneKeyLen + 16
	idKeyLen   = dueKeyLen + 8
	metaLen    = 1 + 8*14
)

func decodeSeqKey(key []byte) (uint64, error) {
	if len(key) != seqKeyLen {
		return 0, damaged("key", key)
	}
	return binary.BigEndian.Uint64(key[laneKeyLen:]), nil
}

func decodeDueKey(key []byte) (due int64, seq uint64, err error) {
	if len(key) != dueKeyLen {
		return 0, 0, damaged("key", key)
	}
	return int64(binary.BigEndian.Uint64(key[laneKeyLen:])), binary.BigEndian.Uint64(key[laneKeyLen+8:]), nil
}

func decodeIDKey(key []byte) (hash uint64, at Position, err error) {
	if len(key) != idKeyLen {
		return 0, at, damaged("key", key)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(key[laneKeyLen+8*i:]) }
	return n(0), Position{Lane: key[laneKeyLen-1], Due: int64(n(1)), Seq: n(2)}, nil
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

// Content is what a message consists of.
type Content struct {
	Data    []byte        // the layer's encoding, which belongs to the lane from Put on
	Payload store.Payload // that follows Data, if it is shared
	Count   uint32        // deliveries so far
	lean    uint32        // how long Data was, if it was let go of; see Lean
	stray   bool          // is in the index of strays
	Expires int64         // end of its time to live in nanoseconds since 1970, 0 for none
	Unique  UniqueKey     // that it holds as long as it is there, if any
	Born    int64         // when its retention began, if that is not what Options.Born says; of a Message, in any case
	number  uint64        // in the order of all lanes; 0 if there is one lane
}

// size is what counts as the message's: a shared payload counts in each queue.
func (c *Content) size() uint64 { return uint64(c.dataLen()) + uint64(c.Payload.Size) }

func (c *Content) dataLen() int { return len(c.Data) + int(c.lean) }

// headLen is the length of what a value has between its fields and its data.
func (c *Content) headLen() int {
	n := 0
	if c.Payload.Shared() {
		n += payloadLen
	}
	if c.Expires != 0 {
		n += 8
	}
	if c.Unique.set() {
		n += len(c.Unique)
	}
	if c.Born != 0 {
		n += 8
	}
	if c.number != 0 {
		n += 8
	}
	return n
}

// appendHead begins a value: version, flags, fields of a fixed size, and what the
// flags speak of.
func (c *Content) appendHead(b []byte, fields ...byte) []byte {
	b = append(append(b, version, 0), fields...)
	flags := &b[len(b)-len(fields)-1]
	if c.Expires != 0 {
		*flags |= flagExpires
	}
	if c.Unique.set() {
		*flags |= flagUnique
	}
	if c.Born != 0 {
		*flags |= flagBorn
	}
	if c.stray {
		*flags |= flagStray
	}
	if c.number != 0 {
		*flags |= flagNumber
	}
	if c.Payload.Shared() {
		*flags |= flagShared
		b = binary.BigEndian.AppendUint32(b, c.Payload.Generation)
		b = binary.BigEndian.AppendUint32(b, c.Payload.Number)
		b = binary.BigEndian.AppendUint32(b, c.Payload.Size)
	}
	if c.Expires != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(c.Expires))
	}
	if c.Unique.set() {
		b = append(b, c.Unique[:]...)
	}
	if c.Born != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(c.Born))
	}
	if c.number != 0 {
		b = binary.BigEndian.AppendUint64(b, c.number)
	}
	return b
}

// cutHead reads what appendHead wrote, with n bytes of fields; the rest is Data.
func cutHead(what string, v []byte, n int) (c Content, fields []byte, err error) {
	if err := checkVersion(what, v, 2+n); err != nil {
		return c, nil, err
	}
	flags, fields, rest := v[1], v[2:2+n], v[2+n:]
	if flags&^flagsKnown != 0 {
		return c, nil, damaged(what, v)
	}
	if flags&flagShared != 0 {
		if len(rest) < payloadLen {
			return c, nil, damaged(what, v)
		}
		c.Payload = store.Payload{
			Generation: binary.BigEndian.Uint32(rest), Number: binary.BigEndian.Uint32(rest[4:]), Size: binary.BigEndian.Uint32(rest[8:]),
		}
		if rest = rest[payloadLen:]; !c.Payload.Shared() {
			return c, nil, damaged(what, v)
		}
	}
	if flags&flagExpires != 0 {
		if c.Expires, rest, err = cutTime(what, v, rest); err != nil {
			return c, nil, err
		}
	}
	c.stray = flags&flagStray != 0
	if flags&flagUnique != 0 {
		if len(rest) < len(c.Unique) {
			return c, nil, damaged(what, v)
		}
		if rest = rest[copy(c.Unique[:], rest):]; !c.Unique.set() {
			return c, nil, damaged(what, v)
		}
	}
	if flags&flagBorn != 0 {
		if c.Born, rest, err = cutTime(what, v, rest); err != nil {
			return c, nil, err
		}
	}
	if flags&flagNumber != 0 {
		number, left, err := cutTime(what, v, rest)
		if err != nil {
			return c, nil, err
		}
		c.number, rest = uint64(number), left
	}
	c.Data = rest
	return c, fields, nil
}

// cutTime reads a time, or a number, that is not zero off the rest of a value.
func cutTime(what string, v, rest []byte) (int64, []byte, error) {
	if len(rest) < 8 {
		return 0, nil, damaged(what, v)
	}
	at := int64(binary.BigEndian.Uint64(rest))
	if at <= 0 {
		return 0, nil, damaged(what, v)
	}
	return at, rest[8:], nil
}

// entryLen is the length of a message in a segment.
func (c *Content) entryLen() int { return 2 + c.headLen() + c.dataLen() }

// encode returns the message as a segment has it.
func (c *Content) encode() []byte {
	return append(c.appendHead(make([]byte, 0, c.entryLen())), c.Data...)
}

func decodeEntry(v []byte) (Content, error) {
	c, _, err := cutHead("message", v, 0)
	return c, err
}

func (c *Content) encodeDelayed() []byte {
	v := make([]byte, 0, 6+c.headLen()+len(c.Data))
	return append(c.appendHead(v, binary.BigEndian.AppendUint32(nil, c.Count)...), c.Data...)
}

func decodeDelayed(v []byte) (Content, error) {
	c, fields, err := cutHead("delayed entry", v, 4)
	if err == nil {
		c.Count = binary.BigEndian.Uint32(fields)
	}
	return c, err
}

// meta is the record that is written along with every group that touches the
// lane, so that opening it needs nothing else.
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
	expires      int64  // nothing does so earlier; 0 if nothing does
	youngest     int64  // birth of the youngest that is no stray, ever
	oldest       int64  // nothing that is there was born earlier; 0 if nothing is there
	outlived     uint64 // were dropped at the end of their retention, ever
}

func (m meta) encode() []byte {
	v := append(make([]byte, 0, metaLen), version)
	for _, n := range [...]uint64{
		m.next, m.low, m.frontier, m.entries, m.bytes,
		m.delayed, m.delayedBytes, uint64(m.nextDue), m.delaySeq, m.taken, uint64(m.expires),
		uint64(m.youngest), uint64(m.oldest), m.outlived,
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
		delayed: n(5), delayedBytes: n(6), nextDue: int64(n(7)), delaySeq: n(8), taken: n(9), expires: int64(n(10)),
		youngest: int64(n(11)), oldest: int64(n(12)), outlived: n(13),
	}
	if m.low > m.next || m.entries > m.next-m.low {
		return meta{}, damaged("meta record", v)
	}
	return m, nil
}
