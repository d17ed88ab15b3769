package store

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// Kind is the first byte of every key. The four bytes after it are the id of the object that the
// key belongs to, big-endian. The rest is the layer's own: see each layer's keys.go, and
// docs/FORMAT.md for all of them.
//
//	┌──────┬───────────────┬──────────────────────┐
//	│ kind │ object id     │ the layer's fields   │
//	│ 1 B  │ 4 B           │ ordered, big-endian  │
//	└──────┴───────────────┴──────────────────────┘
//
// The kinds below 0x10 are the kernel's; most of those carry no object id.
type Kind byte

// The kinds, all of them. Their numbers are part of the disk format.
const (
	KindMeta    Kind = 0x00 // the kernel's own records
	KindCatalog Kind = 0x01 // names, ids and stored configurations
	KindApp     Kind = 0x02 // the application's keyspace
	KindPayload Kind = 0x03 // payloads that several queues share
	KindHolding Kind = 0x04 // how many of them an object refers to

	KindLogBatch    Kind = 0x10 // log: record batches
	KindLogMeta     Kind = 0x11 // log: partition start, size
	KindLogCommit   Kind = 0x12 // log: committed offsets of groups
	KindLogProducer Kind = 0x13 // log: what idempotent producers have appended
	KindLogWindow   Kind = 0x14 // log: answers to message ids
	KindLogIndex    Kind = 0x15 // log: where the newest record of a key is

	KindWorkMessage Kind = 0x20 // workqueue: segments of messages
	KindWorkState   Kind = 0x22 // workqueue: what is settled or delivered of a segment
	KindWorkMeta    Kind = 0x23 // workqueue: depth, bytes, cursors
	KindWorkBinding Kind = 0x24 // workqueue: bindings of an exchange
	KindWorkDelay   Kind = 0x25 // workqueue: messages by due time
	KindWorkExpiry  Kind = 0x26 // workqueue: messages by the end of their time to live
	KindWorkWindow  Kind = 0x27 // workqueue: answers to message ids
	KindWorkJob     Kind = 0x28 // workqueue: periodic jobs
	KindWorkDelayID Kind = 0x2c // workqueue: delayed messages by message id
	KindWorkUnique  Kind = 0x2d // workqueue: unique keys of messages
	KindWorkRedrive Kind = 0x2e // workqueue: redrives of a queue

	KindVisMessage Kind = 0x30 // visibility: segments of messages
	KindVisState   Kind = 0x31 // visibility: what is deleted or received of a segment
	KindVisMeta    Kind = 0x32 // visibility: depth, bytes, cursors
	KindVisDelay   Kind = 0x33 // visibility: messages by due time
	KindVisWindow  Kind = 0x34 // visibility: answers to deduplication ids
	KindVisExpiry  Kind = 0x35 // visibility: messages by the end of their retention
	KindVisParked  Kind = 0x36 // visibility: messages that wait for their group
	KindVisPin     Kind = 0x38 // visibility: groups and the priority that they have
	KindVisHold    Kind = 0x39 // visibility: groups that wait for a delayed message
	KindVisDelayID Kind = 0x3c // visibility: delayed messages by id
	KindVisRedrive Kind = 0x3d // visibility: redrives of a queue

	KindIdemRecord Kind = 0x40 // idempotency: claims and results
	KindIdemExpiry Kind = 0x41 // idempotency: records by expiry
	KindIdemMeta   Kind = 0x42 // idempotency: counters, fencing token
)

// The kernel's own records.
//
//	00 'c'  clean mark: present while the store is closed in good order
//	00 'i'  next object id, 4 B
//	00 's' seq 8 B  the last operation of a group; the highest counts
var (
	keyClean  = []byte{byte(KindMeta), 'c'}
	keyNextID = []byte{byte(KindMeta), 'i'}
	keySeq    = []byte{byte(KindMeta), 's'}
)

// Key begins a key of an object; append the layer's fields to it.
func Key(k Kind, id uint32, room int) []byte {
	b := make([]byte, 5, 5+room)
	b[0] = byte(k)
	binary.BigEndian.PutUint32(b[1:], id)
	return b
}

// Span returns the bounds of all keys of one kind of an object.
func Span(k Kind, id uint32) (lo, hi []byte) {
	lo = Key(k, id, 0)
	return lo, PrefixEnd(lo)
}

// PrefixEnd returns the smallest key greater than every key that begins with
// prefix, or nil if there is none.
func PrefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// MaxName is the longest name of a queue, topic, exchange or group, in bytes.
const MaxName = 255

// CheckName refuses names that are empty, over long, not UTF-8 or contain control characters.
// The error names the sort of object as what says.
func CheckName(what, name string) error {
	switch {
	case name == "":
		return Invalid("%s name is empty", what)
	case len(name) > MaxName:
		return TooLarge(fmt.Sprintf("%s name %.20q…", what, name), int64(len(name)), MaxName)
	case !utf8.ValidString(name):
		return Invalid("%s name %q is not UTF-8", what, name)
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f {
			return Invalid("%s name %q contains a control character", what, name)
		}
	}
	return nil
}
