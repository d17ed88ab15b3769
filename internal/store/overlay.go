package store

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// overlay answers point reads from a batch that the engine has not applied
// yet. It reads the batch's own encoding, and only as far as someone asks, so
// a group in which nothing is looked up pays nothing for it.
type overlay struct {
	keys   map[string]pending
	ranges []span // deleted, before anything in keys
	done   int    // bytes of the batch that are indexed
}

type pending struct {
	value   []byte // aliases the batch
	deleted bool
}

// clone returns a copy of the value, or nil.
func (p pending) clone() []byte {
	if p.deleted {
		return nil
	}
	return append([]byte{}, p.value...)
}

type span struct{ lo, hi []byte }

func (s span) contains(key []byte) bool {
	return bytes.Compare(s.lo, key) <= 0 && bytes.Compare(key, s.hi) < 0
}

// get reports the newest write of key in an encoded batch; known is false if
// there is none.
func (o *overlay) get(repr, key []byte) (p pending, known bool) {
	o.catchUp(repr)
	if p, known = o.keys[string(key)]; known {
		return p, true
	}
	for _, r := range o.ranges {
		if r.contains(key) {
			return pending{deleted: true}, true
		}
	}
	return pending{}, false
}

func (o *overlay) catchUp(repr []byte) {
	o.done = max(o.done, batchrepr.HeaderLen)
	if o.keys == nil {
		o.keys = make(map[string]pending)
	}
	for r := batchrepr.Reader(repr[o.done:]); ; {
		kind, key, value, ok, _ := r.Next()
		if !ok {
			break
		}
		switch kind {
		case pebble.InternalKeyKindSet:
			o.keys[string(key)] = pending{value: value}
		case pebble.InternalKeyKindRangeDelete:
			o.deleteRange(span{lo: bytes.Clone(key), hi: bytes.Clone(value)})
		default:
			o.keys[string(key)] = pending{deleted: true}
		}
	}
	o.done = len(repr)
}

func (o *overlay) deleteRange(r span) {
	for k := range o.keys {
		if r.contains([]byte(k)) {
			delete(o.keys, k)
		}
	}
	o.ranges = append(o.ranges, r)
}

// forget drops the index when the batch it was read from is cut back.
func (o *overlay) forget() { *o = overlay{} }
