package queue

import (
	"encoding/binary"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// A message may hold a unique key: of all that are in the queue, ready, delayed or
// taken, it is then the only one with that key. What says so is a record under the
// key that leads back to the message, and is written and deleted in the same Ops as
// that, so that a crash finds both or neither. It costs no memory.
//
//	Put, PutDelayed ──▶ held ──Settle, Purge──▶ free
//
// Delayed messages have their records apart (slot 1), because a purge spares them:
// it drops the records of slot 0 as one range and writes those of what it has kept.
// A message that is given back holds its key all the time.
//
// Invariant: a message whose Content has a Unique key has the record, and no other one has
// that key. The layer asks Holder before it puts one.

// UniqueKey is a hash of the layer's key; zero is none.
type UniqueKey [16]byte

func (k UniqueKey) set() bool { return k != UniqueKey{} }

func uniqueSpan(kind store.Kind, id uint32, slot byte) []byte {
	return append(store.Key(kind, id, 1+len(UniqueKey{})), slot)
}

func uniqueKey(kind store.Kind, id uint32, slot byte, k UniqueKey) []byte {
	return append(uniqueSpan(kind, id, slot), k[:]...)
}

// encode is the value of a unique record.
func (p Position) encode(slot byte) []byte {
	v := append(make([]byte, 0, 18), version, p.Lane)
	if slot == slotDelayed {
		v = binary.BigEndian.AppendUint64(v, uint64(p.Due))
	}
	return binary.BigEndian.AppendUint64(v, p.Seq)
}

func decodePosition(slot byte, v []byte) (p Position, err error) {
	fixed := 2 + 8*(1+int(slot))
	if err := checkVersion("unique record", v, fixed); err != nil {
		return p, err
	}
	if len(v) != fixed {
		return p, damaged("unique record", v)
	}
	p.Lane = v[1]
	if slot == slotDelayed {
		p.Due = int64(binary.BigEndian.Uint64(v[2:]))
	}
	p.Seq = binary.BigEndian.Uint64(v[fixed-8:])
	return p, nil
}

// claim has a message that is put hold its key.
func (h *shared) claim(t *store.Turn, c *Content, slot byte, at Position) {
	if c.Unique.set() {
		h.keyed = true
		t.Set(uniqueKey(h.layout.Unique, h.object, slot, c.Unique), at.encode(slot))
	}
}

// release frees the key of a message that goes.
func (h *shared) release(t *store.Turn, c *Content, slot byte) {
	if c.Unique.set() {
		t.Delete(uniqueKey(h.layout.Unique, h.object, slot, c.Unique))
	}
}

// freeKeys drops the records of what a purge drops. It comes before the lanes, which
// write those of what they keep.
func (h *shared) freeKeys(t *store.Turn, delayedToo bool) {
	if !h.keyed {
		return
	}
	slots := []byte{slotEntries, slotDelayed}
	if !delayedToo {
		slots = slots[:1]
	}
	for _, slot := range slots {
		lo := uniqueSpan(h.layout.Unique, h.object, slot)
		t.DeleteRange(lo, store.PrefixEnd(lo))
	}
}

// Holder returns the data of the message that holds a key, or nil if nobody does. It
// writes the record again, so that the fsync which the caller waits for covers the
// answer.
func (q *Queue) Holder(t *store.Turn, k UniqueKey) (data []byte, err error) {
	st := q.Stats()
	if st.Ready+st.Taken > 0 {
		data, err = q.holder(t, slotEntries, k)
	}
	if data == nil && err == nil && st.Delayed > 0 {
		data, err = q.holder(t, slotDelayed, k)
	}
	return data, err
}

func (q *Queue) holder(t *store.Turn, slot byte, k UniqueKey) ([]byte, error) {
	key := uniqueKey(q.layout.Unique, q.object, slot, k)
	record, err := t.Probe(key)
	if record == nil || err != nil {
		return nil, err
	}
	at, err := decodePosition(slot, record)
	if err != nil {
		return nil, err
	}
	t.Set(key, record)
	c, err := q.contentAt(t, slot, at)
	if err == nil && c.Unique != k {
		err = fmt.Errorf("%w: unique key %x of a queue leads to another message", store.ErrCorrupt, k)
	}
	return c.Data, err
}

// contentAt reads what a unique key leads to.
func (q *Queue) contentAt(t *store.Turn, slot byte, at Position) (c Content, err error) {
	if slot == slotDelayed {
		v, err := t.Get(dueKey(q.layout.Delayed, place{q.object, at.Lane}, at.Due, at.Seq))
		if err != nil {
			return c, err
		}
		return decodeDelayed(v)
	}
	if int(at.Lane) >= len(q.byLane) || q.byLane[at.Lane] == nil {
		return c, nil
	}
	lane := q.byLane[at.Lane]
	if m := lane.order.inMemory(at.Seq); m != nil && m.lean == 0 {
		return m.Content, nil
	}
	l := lane.order.find(t, at.Seq)
	return l.Content, l.err
}
