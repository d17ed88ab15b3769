package main

import (
	"bytes"
	"time"

	"github.com/pebblemq/pebblemq/log"
)

// home is the partition of a key, as Kafka's documentation has it.
func home(key []byte, partitions int) int {
	return int(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is the hash of Kafka's partitioner.
func murmur2(data []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for len(data) >= 4 {
		k := (uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24) * m
		h = h*m ^ (k^k>>24)*m
		data = data[4:]
	}
	for i := len(data) - 1; i >= 0; i-- {
		h ^= uint32(data[i]) << (8 * i)
	}
	if len(data) > 0 {
		h *= m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// put notes that a record is at a place.
func (t *ltopic) put(c *client, m *lrecord, where log.Position) {
	if where.Partition >= len(t.parts) {
		c.fail("%s is in partition %d, of which nobody knows", m, where.Partition)
		return
	}
	part := t.parts[where.Partition]
	switch old := part.at(where.Offset); {
	case m.offset >= 0 && (m.part != where.Partition || m.offset != where.Offset):
		c.fail("%s is at %d/%d", m, where.Partition, where.Offset)
	case m.part >= 0 && m.part != where.Partition:
		c.fail("%s, with key %q, belongs to partition %d, and is in %d", m, m.key, m.part, where.Partition)
	case old != nil && old != m && !old.mayBeGone:
		c.fail("%s is in the place of %s", m, old)
	case !m.mayBeHere:
		c.fail("%s was refused or lost, and is at %d/%d", m, where.Partition, where.Offset)
	case m.offset < 0 && where.Offset < m.call.floor[part]:
		c.fail("%s is at offset %d of %s, which had %d records when it was appended", m, where.Offset, part, m.call.floor[part])
	case old != nil && old != m:
		old.fate = gone
	}
	m.part, m.offset = where.Partition, where.Offset
	part.reach(where.Offset + 1)
	part.placed[where.Offset] = m
	delete(t.loose, m)
	if m.fate != here {
		m.fate = here
		if m.call.nosync {
			c.lose(func() { m.mayBeGone = true })
		}
	}
}

// at returns the record at an offset, nil if it is not known.
func (part *lpartition) at(offset int64) *lrecord {
	if offset >= 0 && offset < int64(len(part.placed)) {
		return part.placed[offset]
	}
	return nil
}

// reach notes that a partition has this many offsets.
func (part *lpartition) reach(end int64) {
	for int64(len(part.placed)) < end {
		part.placed = append(part.placed, nil)
	}
}

// match finds the record that was read, and compares it with what was appended.
func (part *lpartition) match(c *client, p *logPart, r log.Record) *lrecord {
	m := p.byID[idOf(r)]
	switch {
	case m == nil || m.topic != part.topic:
		c.fail("%s has at offset %d a record that nobody has appended: %q", part, r.Offset, r.Value)
		return nil
	case r.Partition != part.n:
		c.fail("%s of %s says that it is of partition %d", m, part, r.Partition)
		return nil
	}
	part.topic.put(c, m, log.Position{Partition: part.n, Offset: r.Offset})
	m.visible = true
	switch {
	case !bytes.Equal(r.Value, m.value) || (r.Value == nil) != (m.value == nil):
		c.fail("%s has another value", m)
	case !bytes.Equal(r.Key, m.key) || (r.Key == nil) != (m.key == nil):
		c.fail("%s has key %q, not %q", m, r.Key, m.key)
	case r.Timestamp.Before(m.stamp.first) || r.Timestamp.After(m.stamp.last):
		c.fail("%s has timestamp %s, not %s to %s", m, r.Timestamp, m.stamp.first, m.stamp.last)
	}
	m.stamp = at(r.Timestamp)
	return m
}

// idOf is the name of a record that was read.
func idOf(r log.Record) string {
	for _, h := range r.Headers {
		if h.Name == "id" {
			return string(h.Value)
		}
	}
	return ""
}

// weight is how much a record may take, uncompressed.
func (m *lrecord) weight() int64 { return int64(len(m.id) + len(m.key) + len(m.value) + 200) }

// mayExpire reports that retention may remove a record.
func (m *lrecord) mayExpire(now time.Time) bool {
	limit := m.topic.config.RetentionTime
	if limit == 0 {
		return false
	}
	stamp := m.stamp.first
	if m.call.when.first.Before(stamp) { // one from the future counts as of its append
		stamp = m.call.when.first
	}
	return latest(now).Sub(stamp) > limit
}

// mostStart is where a partition may begin by now.
func (part *lpartition) mostStart() int64 {
	now := wall()
	for at := part.start.most; at < int64(len(part.placed)); at++ {
		if m := part.placed[at]; m != nil && !m.mayExpire(now) {
			break
		}
		if part.topic.config.RetentionTime > 0 {
			part.start.most = at + 1
		}
	}
	part.start.most = max(part.start.most, part.mostByBytes())
	waiting := part.topic.waiting(part) // counts, too
	if c := part.topic.config; part.trims > 0 || waiting > 0 && (c.RetentionBytes > 0 || c.RetentionTime > 0) {
		return int64(len(part.placed) + waiting)
	}
	return part.start.most
}

// mostByBytes is where a partition may begin because of its RetentionBytes.
func (part *lpartition) mostByBytes() int64 {
	left := part.topic.config.RetentionBytes
	if left == 0 {
		return 0
	}
	for at := int64(len(part.placed)) - 1; at >= part.start.most; at-- {
		if m := part.placed[at]; m != nil {
			left -= m.weight()
		} else {
			return at + 1 // it may be large
		}
		if left <= 0 {
			return at
		}
	}
	return 0
}

// mayBeCompacted reports that the record at an offset may be gone although the partition begins
// before it.
func (part *lpartition) mayBeCompacted(offset int64) bool {
	m := part.at(offset)
	t, now := part.topic, latest(wall())
	switch {
	case !t.compacts:
		return false
	case m == nil:
		return true
	case now.Sub(m.call.when.first) < t.config.MinCompactionLag && now.Sub(m.stamp.first) < t.config.MinCompactionLag:
		return false
	case m.value == nil && now.Sub(m.call.when.first) >= t.config.TombstoneRetention:
		return true
	}
	for _, o := range t.keys[string(m.key)] {
		if o != m && o.mayBeHere && (o.offset < 0 || o.offset > m.offset) {
			return true
		}
	}
	return false
}

// lateness is how much longer than documented something may take.
const lateness = 10 * time.Second

// mustBeGone reports that the time of a tombstone was over at some time, and that it should have been removed
// by itself.
func (m *lrecord) mustBeGone(now time.Time) bool {
	t := m.topic
	if m.value != nil || !t.compacts || m.call.ended == 0 {
		return false
	}
	since := now.Sub(later(later(m.call.when.last, m.stamp.last), later(t.young, t.wellSince())))
	return since > t.outstays()
}

// isNewest reports that a record may be in the newest batch of its partition, which is
// not compacted as long as it is young.
func (part *lpartition) isNewest(m *lrecord) bool {
	patience := max(part.topic.config.TombstoneRetention/48, time.Second) + lateness
	if m.call.ended != 0 && wall().Sub(m.call.when.last) > patience && part.topic.waiting(part) == 0 {
		return false
	}
	for at := int64(len(part.placed)) - 1; at > m.offset; at-- {
		o := part.placed[at]
		if o == nil || !o.visible {
			continue
		}
		return m.call.nosync || m.call.ended == 0 || o.call.begun < m.call.ended
	}
	return true
}

// isYoung reports that a record may be left alone by a compaction. What the record comes after may
// be of a later time, if the clock was set back in between.
func (m *lrecord) isYoung() bool {
	return wall().Sub(latest(later(m.call.when.last, m.stamp.last))) <= m.topic.config.MinCompactionLag
}

// mustBeCompacted reports that a record is superseded, and that a compaction that begins now
// removes it. What the newest batch supersedes stays for a time.
func (part *lpartition) mustBeCompacted(m *lrecord, begun uint64) bool {
	t := part.topic
	if part.isNewest(m) || m.isYoung() {
		return false
	}
	for _, o := range t.keys[string(m.key)] {
		if o.fate == here && o.part == m.part && o.offset > m.offset && o.call.ended != 0 && o.call.ended < begun && o.visible && !part.isNewest(o) && !o.isYoung() {
			return true
		}
	}
	return false
}
