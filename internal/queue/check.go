package queue

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Checked tells Check what the layer's messages are like.
type Checked struct {
	Layout
	Highest byte                     // priority
	Decode  func(data []byte) error  // of a message; a shared payload is not in it
	Born    func(data []byte) int64  // as in Options
	ID      func(data []byte) []byte // as in Options
	Group   func(data []byte) []byte // as in Options; nil also if the lane is Fair
}

// Check is the store.Check of a lane. It compares everything that is derived from the
// messages with the messages: counters, marks, indexes, unique keys, groups and the
// copies of shared payloads.
//
// What may be left over is not reported: entries of the indexes by expiry and birth whose
// message was purged, and the index of what waits for its group.
func Check(a *store.Audit, id uint32, c Checked) (err error) {
	k := &check{Checked: c, a: a, object: id, seed: maphash.MakeSeed()}
	defer func() { err = errors.Join(err, k.close()) }()
	lo, hi := store.PayloadSpan()
	if k.payloads, err = a.Cursor(lo, hi); err != nil {
		return err
	}
	lanes, err := k.lanes()
	if err != nil {
		return err
	}
	for lane := range lanes {
		if err := k.lane(lane); err != nil {
			return err
		}
	}
	return errors.Join(k.unique(), k.checkPins())
}

// check is a Check under way.
type check struct {
	Checked
	a        *store.Audit
	object   uint32
	payloads store.AuditCursor
	cursors  []store.AuditCursor

	seed   maphash.Seed
	pinned uint64 // the sum of hashGroup over the messages
}

func (k *check) close() (err error) {
	err = k.payloads.Close()
	for _, c := range k.cursors {
		err = errors.Join(err, c.Close())
	}
	return err
}

// cursor is closed with the check.
func (k *check) cursor(kind store.Kind) (store.AuditCursor, error) {
	lo, hi := store.Span(kind, k.object)
	c, err := k.a.Cursor(lo, hi)
	if err == nil {
		k.cursors = append(k.cursors, c)
	}
	return c, err
}

// lanes returns those that have messages or counters. One that the queue does not have
// would keep it from being opened.
func (k *check) lanes() (map[byte]bool, error) {
	lanes := make(map[byte]bool)
	for _, kind := range []store.Kind{k.Meta, k.Segment, k.Delayed} {
		c, err := k.cursor(kind)
		if err != nil {
			return nil, err
		}
		for ok := c.First(); ok; {
			if len(c.Key()) < laneKeyLen {
				if err := k.a.Drop(c.Key(), "key %x is too short", c.Key()); err != nil {
					return nil, err
				}
				ok = c.Next()
				continue
			}
			lane := c.Key()[laneKeyLen-1]
			lanes[lane] = true
			end := store.PrefixEnd(laneKey(kind, place{k.object, lane}, 0))
			ok = c.Seek(end)
		}
	}
	for lane := range lanes {
		if lane > k.Highest {
			delete(lanes, lane)
			if err := k.dropLane(lane); err != nil {
				return nil, err
			}
		}
	}
	return lanes, nil
}

func (k *check) dropLane(lane byte) error {
	for _, kind := range []store.Kind{k.Meta, k.Segment, k.State, k.Delayed} {
		lo := laneKey(kind, place{k.object, lane}, 0)
		err := k.a.Walk(lo, store.PrefixEnd(lo), func(key, _ []byte) error {
			return k.a.Drop(key, "priority %d is above the highest, %d", lane, k.Highest)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// laneCheck compares one lane.
type laneCheck struct {
	*check
	place
	meta  meta
	found bool                 // the meta record
	held  [2]map[uint32]uint64 // copies, by slot and generation

	entries, bytes, delayed, delayedBytes uint64
	out                                   uint64 // marked so
	first, last                           uint64 // sequence numbers of entries
	firstDue                              int64
	lastDelayed                           uint64
	expires, oldest, youngest             int64
}

func (k *check) lane(lane byte) error {
	l := &laneCheck{
		check: k, place: place{k.object, lane},
		held: [2]map[uint32]uint64{make(map[uint32]uint64), make(map[uint32]uint64)},
	}
	if err := l.readMeta(); err != nil {
		return err
	}
	for _, step := range []func() error{l.checkSegments, l.checkStates, l.checkDelayed, l.checkIDs, l.checkMeta} {
		if err := step(); err != nil {
			return err
		}
	}
	for slot, held := range l.held {
		if err := l.a.Holds(store.Holder{ID: l.object, Slot: 2*uint16(lane) + uint16(slot)}, held); err != nil {
			return err
		}
	}
	return nil
}

func (l *laneCheck) span(kind store.Kind) (lo, hi []byte) {
	lo = laneKey(kind, l.place, 0)
	return lo, store.PrefixEnd(lo)
}

func (l *laneCheck) readMeta() error {
	key := laneKey(l.Meta, l.place, 0)
	v, err := l.a.Get(key)
	if err != nil || v == nil {
		return err
	}
	m, err := decodeMeta(v)
	if err != nil {
		return l.a.Drop(key, "counters: %v", err)
	}
	l.meta, l.found = m, true
	return nil
}

// content checks what a message and a delayed one have in common, and returns what is wrong with
// it, if anything is.
func (l *laneCheck) content(c *Content, slot int, err error) (wrong string, _ error) {
	if err == nil {
		err = l.Decode(c.Data)
	}
	if err != nil {
		return fmt.Sprintf("message cannot be decoded: %v", err), nil
	}
	if !c.Payload.Shared() {
		return "", nil
	}
	found, err := l.payloads.Finds(store.PayloadKey(c.Payload))
	if err != nil {
		return "", err
	}
	if !found {
		return fmt.Sprintf("the body of the message, payload %d of generation %d, is not there", c.Payload.Number, c.Payload.Generation), nil
	}
	l.held[slot][c.Payload.Generation]++
	return "", nil
}

// count adds a message to its group.
func (l *laneCheck) count(c *Content) {
	if l.Group == nil || l.Highest == 0 || l.Pin == 0 {
		return
	}
	if group := l.Group(c.Data); len(group) > 0 {
		l.pinned += l.hashGroup(group, l.place.lane)
	}
}

func (k *check) hashGroup(group []byte, lane byte) uint64 {
	return maphash.Bytes(k.seed, append([]byte{lane}, group...))
}

func (l *laneCheck) checkExpiry(c *Content, seq uint64) error {
	if c.Expires == 0 || l.Expiry == 0 {
		return nil
	}
	l.expires = sooner(l.expires, c.Expires)
	return l.indexed(dueKey(l.Expiry, l.place, c.Expires, seq), "message %d is not in the index by expiry", seq)
}

// indexed makes sure that there is an index entry.
func (l *laneCheck) indexed(key []byte, format string, args ...any) error {
	v, err := l.a.Get(key)
	if v != nil || err != nil {
		return err
	}
	return l.a.Put(key, nil, format, args...)
}

func (l *laneCheck) checkBirth(c *Content, seq uint64) error {
	if l.Born == nil {
		return nil
	}
	born := c.Born
	if born == 0 {
		born = l.Born(c.Data)
	}
	l.oldest = sooner(l.oldest, born)
	if !c.stray && born >= l.youngest {
		l.youngest = born
		return nil
	}
	c.stray = true
	return l.indexed(dueKey(l.Stray, l.place, born, seq), "message %d is not in the index by birth", seq)
}

// claims makes sure that a message with a unique key holds it.
func (l *laneCheck) claims(c *Content, slot byte, at Position) error {
	if !c.Unique.set() || l.Unique == 0 {
		return nil
	}
	key := uniqueKey(l.Unique, l.object, slot, c.Unique)
	v, err := l.a.Get(key)
	if err != nil || bytes.Equal(v, at.encode(slot)) {
		return err
	}
	return l.a.Put(key, at.encode(slot), "unique key %x does not lead to message %d, which has it", c.Unique, at.Seq)
}

func (l *laneCheck) checkDelayed() error {
	lo, hi := l.span(l.Delayed)
	return l.a.Walk(lo, hi, func(key, v []byte) error {
		due, seq, err := decodeDueKey(key)
		if err != nil {
			return l.a.Drop(key, "%v", err)
		}
		c, err := decodeDelayed(v)
		wrong, err := l.content(&c, slotDelayed, err)
		switch {
		case err != nil:
			return err
		case wrong != "":
			return l.a.Drop(key, "%s", wrong)
		}
		if l.delayed == 0 {
			l.firstDue = due
		}
		l.lastDelayed = max(l.lastDelayed, seq)
		l.delayed++
		l.delayedBytes += c.size()
		l.count(&c)
		at := Position{Lane: l.place.lane, Due: due, Seq: seq}
		if l.ID != nil {
			if id := l.ID(c.Data); len(id) > 0 {
				err = l.indexed(idKey(l.DelayedID, l.place, hashID(id), at), "delayed message %d is not in the index by id", seq)
			}
		}
		return errors.Join(err, l.claims(&c, slotDelayed, at))
	})
}

// checkIDs looks for entries of the index by id that lead nowhere.
func (l *laneCheck) checkIDs() error {
	if l.ID == nil || l.DelayedID == 0 {
		return nil
	}
	delayed, err := l.cursor(l.Delayed)
	if err != nil {
		return err
	}
	lo, hi := l.span(l.DelayedID)
	return l.a.Walk(lo, hi, func(key, _ []byte) error {
		_, at, err := decodeIDKey(key)
		if err != nil {
			return l.a.Drop(key, "%v", err)
		}
		found, err := delayed.Finds(dueKey(l.Delayed, l.place, at.Due, at.Seq))
		if err != nil || found {
			return err
		}
		return l.a.Drop(key, "index by id leads to delayed message %d, which is not there", at.Seq)
	})
}

// seqLeap is by how much the numbers of messages go on higher where the record that
// counted them is lost: the lost ones may be known outside, in a receipt.
const seqLeap = 1 << 32

// checkMeta compares the counters.
func (l *laneCheck) checkMeta() error {
	m := l.meta
	if !l.found {
		if l.entries == 0 && l.delayed == 0 {
			return nil
		}
		m.low = l.first
	}
	m.entries, m.bytes, m.delayed, m.delayedBytes = l.entries, l.bytes, l.delayed, l.delayedBytes
	if l.entries > 0 && m.next <= l.last {
		m.next = l.last + seqLeap
		m.frontier = max(m.frontier, l.last+1)
	}
	if l.delayed > 0 {
		if m.delaySeq <= l.lastDelayed {
			m.delaySeq = l.lastDelayed + seqLeap
		}
		if m.nextDue > l.firstDue || l.meta.delayed == 0 {
			m.nextDue = l.firstDue
		}
	}
	if l.expires != 0 {
		m.expires = sooner(m.expires, l.expires)
	}
	m.oldest = sooner(m.oldest, l.oldest)
	m.youngest = max(m.youngest, l.youngest)
	if l.found && m == l.meta {
		return nil
	}
	text := difference(l.meta, m)
	m.taken = l.out
	m.low = min(m.low, m.next)
	return l.a.Put(laneKey(l.Meta, l.place, 0), m.encode(), "counters of priority %d: %s", l.place.lane, text)
}

// difference names the counters that are not what they should be.
func difference(is, should meta) string {
	var text []string
	note := func(name string, a, b uint64) {
		if a != b {
			text = append(text, fmt.Sprintf("%s is %d, not %d", name, a, b))
		}
	}
	note("next", is.next, should.next)
	note("low", is.low, should.low)
	note("entries", is.entries, should.entries)
	note("bytes", is.bytes, should.bytes)
	note("delayed", is.delayed, should.delayed)
	note("delayed bytes", is.delayedBytes, should.delayedBytes)
	note("next due", uint64(is.nextDue), uint64(should.nextDue))
	note("next delayed", is.delaySeq, should.delaySeq)
	note("first expiry", uint64(is.expires), uint64(should.expires))
	note("youngest", uint64(is.youngest), uint64(should.youngest))
	note("oldest", uint64(is.oldest), uint64(should.oldest))
	return strings.Join(text, ", ")
}

// unique looks for unique keys that no message has.
func (k *check) unique() error {
	if k.Unique == 0 {
		return nil
	}
	return k.a.WalkKind(k.Unique, k.object, func(key, v []byte) error {
		if len(key) != len(uniqueSpan(k.Unique, k.object, 0))+len(UniqueKey{}) || key[5] > slotDelayed {
			return k.a.Drop(key, "%v", damaged("key", key))
		}
		slot, unique := key[5], UniqueKey(key[6:])
		at, err := decodePosition(slot, v)
		if err != nil {
			return k.a.Drop(key, "%v", err)
		}
		has, err := k.hasUnique(slot, at, unique)
		if err != nil || has {
			return err
		}
		return k.a.Drop(key, "unique key %x leads to message %d, which does not have it", unique, at.Seq)
	})
}

// hasUnique reports whether the message at a position has a unique key.
func (k *check) hasUnique(slot byte, at Position, unique UniqueKey) (bool, error) {
	if slot == slotDelayed {
		v, err := k.a.Get(dueKey(k.Delayed, place{k.object, at.Lane}, at.Due, at.Seq))
		if err != nil {
			return false, err
		}
		c, err := decodeDelayed(v)
		return err == nil && c.Unique == unique, nil
	}
	has := false
	err := k.messageAt(at, func(c Content) { has = c.Unique == unique })
	return has, err
}

// checkPins compares the records of groups with the messages. There may be millions of
// groups, so what is compared is a sum over all of them, unless it is wrong.
func (k *check) checkPins() error {
	if k.Group == nil || k.Highest == 0 || k.Pin == 0 {
		return nil
	}
	sum := uint64(0)
	err := k.a.WalkKind(k.Pin, k.object, func(key, v []byte) error {
		p, err := decodePin(v)
		if err != nil {
			return k.a.Drop(key, "group %q: %v", key[5:], err)
		}
		sum += p.messages * k.hashGroup(key[5:], p.lane)
		return nil
	})
	if err != nil || sum == k.pinned {
		return err
	}
	return k.repin()
}

// repin finds the groups whose records are wrong.
func (k *check) repin() error {
	groups := make(map[string]pin)
	add := func(key []byte, c Content, err error) error {
		if err != nil || k.Decode(c.Data) != nil {
			return nil // to be dropped
		}
		if group := k.Group(c.Data); len(group) > 0 {
			groups[string(group)] = pin{key[laneKeyLen-1], groups[string(group)].messages + 1}
		}
		return nil
	}
	err := errors.Join(
		k.a.WalkKind(k.Segment, k.object, func(key, v []byte) error {
			return k.messages(key, v, func(_ uint64, c Content, err error) error { return add(key, c, err) })
		}),
		k.a.WalkKind(k.Delayed, k.object, func(key, v []byte) error {
			c, err := decodeDelayed(v)
			return add(key, c, err)
		}),
		k.a.WalkKind(k.Pin, k.object, func(key, v []byte) error {
			group := string(key[5:])
			is, err := decodePin(v)
			should, known := groups[group]
			delete(groups, group)
			switch {
			case err != nil || is == should:
				return nil
			case !known:
				return k.a.Drop(key, "group %q has %d messages on record, and none in the queue", group, is.messages)
			}
			return k.a.Put(key, should.encode(), "group %q has %d messages of priority %d on record, %d of priority %d in the queue",
				group, is.messages, is.lane, should.messages, should.lane)
		}),
	)
	for group, p := range groups {
		key := append(store.Key(k.Pin, k.object, len(group)), group...)
		err = errors.Join(err, k.a.Put(key, p.encode(), "group %q has %d messages, which are not on record", group, p.messages))
	}
	return err
}
