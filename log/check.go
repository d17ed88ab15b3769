package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

func init() {
	store.RegisterCheck(store.ClassTopic, checkTopic)
	store.RegisterCheck(store.ClassGroup, checkGroup)
}

// topicCheck is the check of a topic under way.
type topicCheck struct {
	a      *store.Audit
	id     uint32
	config TopicConfig
	coders *coders
	parts  []partCheck
}

// partCheck is what was found of one partition.
//
// A batch that is lost, or cannot be decoded, is replaced by an empty one that stands for
// the same offsets. Readers pass it, as if its records were compacted away, and no offset is
// given to another record.
type partCheck struct {
	start startRecord
	found bool   // the start record
	tail  tail   // of the batches
	first uint64 // base of the first batch
	any   bool   // there are batches
	known uint64 // the highest offset that other records speak of, plus one
	holes []span // offsets whose records are lost
}

// checkTopic is the store.Check of a topic.
func checkTopic(a *store.Audit, o *store.Object) error {
	is, err := decodeConfig(o)
	if err != nil {
		a.Wrong(nil, "%v", err)
		return nil
	}
	c := &topicCheck{a: a, id: o.ID, config: is.Config, coders: newCoders(), parts: make([]partCheck, is.Config.Partitions)}
	for i := range c.parts {
		c.parts[i].tail = emptyTail()
	}
	for _, step := range []func() error{c.checkStarts, c.checkBatches, c.checkGroups, c.checkProducers, c.checkWindow, c.checkIndex, c.checkEnds} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// part returns the partition of a key, or nil if the topic does not have it.
func (c *topicCheck) part(key []byte) *partCheck {
	if len(key) < 9 {
		return nil
	}
	i := binary.BigEndian.Uint32(key[5:])
	if i >= uint32(len(c.parts)) {
		return nil
	}
	return &c.parts[i]
}

func (c *topicCheck) checkStarts() error {
	return c.a.WalkKind(store.KindLogMeta, c.id, func(key, v []byte) error {
		p := c.part(key)
		if p == nil || len(key) != 9 {
			return c.a.Drop(key, "start of a partition that the topic does not have")
		}
		from, err := decodeStart(v)
		if err != nil {
			return c.a.Drop(key, "start of partition %d: %v", binary.BigEndian.Uint32(key[5:]), err)
		}
		p.start, p.found, p.known = from, true, max(from.start, from.tidy)
		return nil
	})
}

func (c *topicCheck) checkBatches() error {
	return c.a.WalkKind(store.KindLogBatch, c.id, func(key, v []byte) error {
		p := c.part(key)
		last, err := decodeBatchKey(key)
		if p == nil || err != nil {
			return c.a.Drop(key, "batch of a partition that the topic does not have")
		}
		if last < p.start.cleared {
			return c.a.Drop(key, "batch up to offset %d was trimmed: all below %d were", last, p.start.cleared)
		}
		return c.checkBatch(p, key, v, last)
	})
}

// checkBatch checks the next batch of a partition.
func (c *topicCheck) checkBatch(p *partCheck, key, v []byte, last uint64) error {
	from := binary.BigEndian.Uint32(key[5:])
	h, bad := decodeHeader(v, last)
	var err error
	if bad == nil {
		bad, err = c.checkRecords(from, h, last, v)
	}
	if err != nil {
		return err
	}
	if bad != nil {
		base := last
		if p.any {
			base = p.tail.next
		}
		if p.any && base > last {
			return c.a.Drop(key, "partition %d: batch up to offset %d cannot be decoded: %v", from, last, bad)
		}
		p.holes = append(p.holes, span{base, last + 1})
		p.follow(header{base: base, maxTime: p.tail.maxTime, retainTime: p.tail.retainTime, bytes: p.tail.bytes}, last)
		return c.a.Put(key, emptyBatch(base, p.tail), "partition %d: batch up to offset %d cannot be decoded: %v", from, last, bad)
	}
	if p.any && h.base < p.tail.next {
		return c.a.Drop(key, "partition %d: batch of offsets %d to %d overlaps the one before, which ends at %d", from, h.base, last, p.tail.next-1)
	}
	if p.any && h.base > p.tail.next {
		p.holes = append(p.holes, span{p.tail.next, h.base})
		err = c.a.Put(batchKey(c.id, from, h.base-1), emptyBatch(p.tail.next, p.tail),
			"partition %d: offsets %d to %d are missing", from, p.tail.next, h.base-1)
	}
	if p.any && (h.maxTime < p.tail.maxTime || h.retainTime < p.tail.retainTime || h.bytes < p.tail.bytes) {
		h.maxTime, h.retainTime, h.bytes = max(h.maxTime, p.tail.maxTime), max(h.retainTime, p.tail.retainTime), max(h.bytes, p.tail.bytes)
		fixed := bytes.Clone(v)
		h.encode(fixed)
		err = errors.Join(err, c.a.Put(key, fixed, "partition %d: the running times or bytes of the batch up to offset %d go back", from, last))
	}
	p.follow(h, last)
	return err
}

// follow makes a batch the last one.
func (p *partCheck) follow(h header, last uint64) {
	if !p.any {
		p.first, p.any = h.base, true
	}
	p.tail = tail{next: last + 1, maxTime: h.maxTime, retainTime: h.retainTime, bytes: h.bytes}
}

// hole reports whether the record at an offset is lost.
func (p *partCheck) hole(offset uint64) bool {
	return p.any && offset >= p.tail.next || slices.ContainsFunc(p.holes, func(s span) bool { return s.lo <= offset && offset < s.hi })
}

// emptyBatch stands for the offsets from base up to that of its key, of which no record
// is left.
func emptyBatch(base uint64, before tail) []byte {
	h := header{sparse: true, base: base, maxTime: before.maxTime, retainTime: before.retainTime, bytes: before.bytes}
	v := make([]byte, headerLen)
	h.encode(v)
	return v
}

// checkRecords decodes the records of a batch. Bad is what is wrong with them.
func (c *topicCheck) checkRecords(from uint32, h header, last uint64, v []byte) (bad, err error) {
	cur, bad := newCursor(c.coders, h, last, v)
	var heads headerRoom
	for ; bad == nil && cur.left > 0; bad = cur.drop() {
		body, _, bad := cutRecord(cur.rest)
		if bad != nil {
			return bad, nil
		}
		var r Record
		if bad = decodeRecord(body, &r, &heads); bad != nil {
			return bad, nil
		}
		if err := c.checkKey(&r, from, cur.at); err != nil {
			return nil, err
		}
	}
	if bad == nil && len(cur.rest) > 0 {
		bad = corrupt("%d bytes behind the records", len(cur.rest))
	}
	return bad, nil
}

// newestGone reports that the newest record of a key may have been in another partition, and be
// gone with its entry.
func (c *topicCheck) newestGone(from uint32) bool {
	for i := range c.parts {
		if i != int(from) && (c.config.Compact || c.parts[i].start.start > 0) {
			return true
		}
	}
	return false
}

// checkKey makes sure that the index leads to a record, or to a newer one of its key.
// The entry of a tombstone is removed before the tombstone is.
func (c *topicCheck) checkKey(r *Record, from uint32, offset uint64) error {
	if !c.config.IndexKeys || r.Key == nil || offset < c.parts[from].start.start {
		return nil
	}
	key := indexKey(c.id, r.Key)
	v, err := c.a.Get(key)
	if err != nil || v == nil && (r.Value == nil || !c.a.Lossy() && c.newestGone(from)) {
		return err
	}
	at, err := decodeIndex(v)
	if v == nil || err != nil || at.Partition == int(from) && uint64(at.Offset) < offset {
		return c.a.Put(key, encodeIndex(from, offset), "partition %d: the record at offset %d is not in the index by key", from, offset)
	}
	return nil
}

// give notes that an offset was given to a record.
func (p *partCheck) give(offset uint64) { p.known = max(p.known, offset+1) }

func (c *topicCheck) checkGroups() error {
	for _, g := range c.a.List(store.ClassGroup, groupName(c.id, "")) {
		err := c.a.WalkKind(store.KindLogCommit, g.ID, func(key, v []byte) error {
			p := c.part(key)
			if p == nil || len(key) != 9 {
				return c.a.Drop(key, "group %q has committed an offset of a partition that the topic does not have", g.Name[4:])
			}
			done, err := decodeProgress(v)
			if err != nil {
				return c.a.Drop(key, "group %q: %v", g.Name[4:], err)
			}
			if done.next > 0 {
				p.give(done.next - 1)
			}
			if n := len(done.above); n > 0 {
				p.give(done.above[n-1].hi - 1)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *topicCheck) checkProducers() error {
	return c.a.WalkKind(store.KindLogProducer, c.id, func(key, v []byte) error {
		if isEpoch(key) {
			if _, err := decodeEpoch(v); err != nil {
				return c.a.Drop(key, "producer %q: %v", key[9:], err)
			}
			return nil
		}
		p := c.part(key)
		if p == nil {
			return c.a.Drop(key, "producer of a partition that the topic does not have")
		}
		past, err := decodeProduced(v)
		if err != nil {
			return c.a.Drop(key, "producer %q: %v", key[9:], err)
		}
		for _, b := range past.batches {
			if b.count > 0 {
				p.give(b.base + uint64(b.count) - 1)
			}
		}
		return nil
	})
}

func (c *topicCheck) checkWindow() error {
	return window.Examine(c.a, store.KindLogWindow, c.id, c.config.DedupeWindow, func(answer []byte) error {
		list, err := decodePositions(answer)
		for _, at := range list {
			if at.Partition >= len(c.parts) {
				return corrupt("position in partition %d", at.Partition)
			}
			c.parts[at.Partition].give(uint64(at.Offset))
		}
		return err
	})
}

// checkIndex checks that the entries lead to offsets that were given to records. Those
// below the start say nothing.
func (c *topicCheck) checkIndex() error {
	lost := make(map[string]Position) // keys whose newest record is lost, with the newest that is left
	err := c.a.WalkKind(store.KindLogIndex, c.id, func(key, v []byte) error {
		at, err := decodeIndex(v)
		if err == nil && at.Partition >= len(c.parts) {
			err = corrupt("partition %d", at.Partition)
		}
		if err != nil {
			return c.a.Drop(key, "index of key %q: %v", key[5:], err)
		}
		p := &c.parts[at.Partition]
		p.give(uint64(at.Offset))
		if p.hole(uint64(at.Offset)) {
			lost[string(key[5:])] = Nowhere
		}
		return nil
	})
	if err != nil || len(lost) == 0 {
		return err
	}
	return c.reindex(lost)
}

// reindex finds the newest records of keys that are left.
func (c *topicCheck) reindex(lost map[string]Position) error {
	err := c.a.WalkKind(store.KindLogBatch, c.id, func(key, v []byte) error {
		last, err := decodeBatchKey(key)
		if err != nil || c.part(key) == nil {
			return nil
		}
		h, err := decodeHeader(v, last)
		if err != nil {
			return nil
		}
		cur, err := newCursor(c.coders, h, last, v)
		for ; err == nil && cur.left > 0; err = cur.drop() {
			body, _, err := cutRecord(cur.rest)
			if err != nil {
				return nil
			}
			k, _ := keyOf(body)
			if _, is := lost[string(k)]; is && k != nil {
				lost[string(k)] = Position{Partition: int(binary.BigEndian.Uint32(key[5:])), Offset: int64(cur.at)}
			}
		}
		return nil
	})
	for key, at := range lost {
		entry := indexKey(c.id, []byte(key))
		if at == Nowhere {
			err = errors.Join(err, c.a.Drop(entry, "index of key %q leads to a record that is missing", key))
			continue
		}
		err = errors.Join(err, c.a.Put(entry, encodeIndex(uint32(at.Partition), uint64(at.Offset)),
			"index of key %q leads to a record that is missing, and not to the newest that is left", key))
	}
	return err
}

// checkEnds compares the ends of each partition with what other records say of it.
func (c *topicCheck) checkEnds() error {
	for i := range c.parts {
		p, number := &c.parts[i], uint32(i)
		if p.any && p.first > p.start.start {
			moved := startRecord{start: p.first, cleared: p.first, tidy: max(p.start.tidy, p.first)}
			err := c.a.Put(partitionKey(store.KindLogMeta, c.id, number), moved.encode(),
				"partition %d: offsets %d to %d are missing at its start", i, p.start.start, p.first-1)
			if err != nil {
				return err
			}
		}
		if p.known <= p.tail.next {
			continue
		}
		base := p.tail.next
		if !p.any {
			base = min(p.start.start, p.known-1)
		}
		err := c.a.Put(batchKey(c.id, number, p.known-1), emptyBatch(base, p.tail),
			"partition %d: offsets up to %d were given to records, and the last that is there is %d", i, p.known-1, int64(p.tail.next)-1)
		if err != nil {
			return err
		}
	}
	return nil
}

// checkGroup is the store.Check of a group. Its offsets are checked with the topic.
func checkGroup(a *store.Audit, o *store.Object) error {
	if _, err := decodeGroup(o); err != nil {
		a.Wrong(nil, "%v", err)
	}
	return nil
}
