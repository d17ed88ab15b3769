package queue

import (
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// segment is what is known of a segment.
type segment struct {
	q           *Lane
	first, last uint64
	members     []*Message // by their number from first on, those that are in memory
	settled     bitmap     // the same
	absent      marks      // of those that are not in memory
	inMemory    int
	live        int   // not settled
	written     int   // messages in its value
	size        int   // of that, in bytes
	unwritten   tally // were settled, and not according to the disk

	sealed    bool // is in a group, or on disk
	rewritten bool
	stated    bool // has a state on disk, or in the open group
	wanted    bool // its state is to be written with it
	changed   bool // see order
	late      bool // the same
	dropped   bool // is deleted
}

// touch has the state of a segment written with the group. The lane is touched, too.
func (s *segment) touch(t *store.Turn) {
	t.Touch(s.q)
	if s.changed {
		return
	}
	s.changed = true
	s.q.order.changed = append(s.q.order.changed, s)
	t.Promise(seqKeyLen + stateHeadLen + len(s.settled))
}

// touchLate has it written with the next group that is synced.
func (s *segment) touchLate(t *store.Turn) {
	l := &s.q.order.late
	t.TouchLate(l)
	if !s.late {
		s.late = true
		l.segments = append(l.segments, s)
	}
}

// firstLive returns the number of the first message that is not settled, or none.
func (s *segment) firstLive() uint64 {
	if s.sealed {
		if i := s.settled.firstClear(); i <= int(s.last-s.first) {
			return s.first + uint64(i)
		}
		return none
	}
	for _, m := range s.members {
		if m.at != gone {
			return m.Seq
		}
	}
	return none
}

// end is the number behind the last message.
func (s *segment) end() uint64 {
	if s.sealed {
		return s.last + 1
	}
	return s.first + uint64(len(s.members))
}

// write writes a segment, and reports false if all of it was settled before.
func (s *segment) write(t *store.Turn) bool {
	if s.live == 0 {
		s.dropped = true
		return false
	}
	start, first, last := s.first, none, uint64(0)
	for i, m := range s.members {
		if m.at != gone {
			first, last = min(first, start+uint64(i)), start+uint64(i)
		}
	}
	s.first, s.last, s.sealed = first, last, true
	s.members = s.members[first-start : last-start+1]
	s.settled = newBitmap(len(s.members))
	for i, m := range s.members {
		if m.at == gone {
			s.settled.set(i)
			s.members[i] = nil
		}
	}
	s.put(t)
	for i, m := range s.members {
		if m == nil || m.here() {
			continue
		}
		s.members[i] = nil
		if m.delivered() {
			s.absent = append(s.absent, seqMark{m.Seq, m.mark()})
		}
	}
	if s.wanted {
		s.writeState(t)
	}
	return true
}

// put writes the value of the segment: those of its members that are not settled, of which all
// are in memory.
func (s *segment) put(t *store.Turn) {
	q := s.q
	d := &q.order.draft
	for i, m := range s.members {
		if m != nil && !s.settled.has(i) {
			d.end(m.Seq, q.retention.append(d.body, &m.Content))
		}
	}
	s.written, s.size = len(d.seqs), d.len(s.first)
	k, v := t.SetDeferred(seqKeyLen, s.size)
	copy(k, seqKey(q.layout.Segment, q.place, s.last))
	d.encode(v, s.first, s.rewritten)
	d.reset()
}

// update writes what has become of a segment.
func (s *segment) update(t *store.Turn) {
	o := &s.q.order
	o.late.settled.less(s.unwritten)
	s.unwritten = tally{}
	switch {
	case s.dropped:
	case s.left() == 0:
		s.delete(t)
	default:
		s.thin(t)
		s.writeState(t)
		o.mayForget(s)
	}
}

// A segment of which less than one in sparse messages is left is written anew, if it is not small
// anyway. So the disk holds no more than sparse times what is there, and a small segment of each
// survivor.
const (
	sparse      = 4
	sparseBytes = 4 << 10
)

// thin writes a segment anew without what is settled, if that is most of it. What is left must be in
// memory, as it is unless nobody has come to it yet.
func (s *segment) thin(t *store.Turn) {
	left := s.left()
	if left*sparse > s.written || s.size < sparseBytes || len(s.members) == 0 {
		return
	}
	for i, m := range s.members {
		switch {
		case s.settled.has(i):
		case m == nil || m.lean > 0:
			return
		}
	}
	s.rewritten = true
	s.put(t)
}

func (s *segment) writeState(t *store.Turn) {
	st := segmentState{first: s.first, settled: s.settled}
	absent := s.absent
	for i, m := range s.members {
		if m == nil {
			continue
		}
		if s.settled.has(i) {
			s.members[i] = nil
			continue
		}
		for len(absent) > 0 && absent[0].seq < m.Seq {
			st.marks, absent = append(st.marks, absent[0]), absent[1:]
		}
		if m.delivered() {
			st.marks = append(st.marks, seqMark{m.Seq, m.mark()})
		}
	}
	st.marks = append(st.marks, absent...)
	t.Set(seqKey(s.q.layout.State, s.q.place, s.last), st.encode(int(s.last-s.first+1)))
	s.stated = true
}

// left returns how many messages of a sealed segment are not settled.
func (s *segment) left() int { return int(s.last-s.first+1) - s.settled.len() }

// delete removes a segment of which all is settled.
func (s *segment) delete(t *store.Turn) {
	key := seqKey(s.q.layout.Segment, s.q.place, s.last)
	if s.rewritten {
		t.Delete(key)
	} else {
		t.DeleteSingle(key)
	}
	if s.stated {
		t.Delete(seqKey(s.q.layout.State, s.q.place, s.last))
	}
	s.drop()
}

// drop forgets a segment that is deleted, unless somebody may have read it before.
func (s *segment) drop() {
	o := &s.q.order
	o.late.settled.less(s.unwritten)
	s.unwritten, s.dropped = tally{}, true
	o.mayForget(s)
}

// purge settles what is shown of a segment and not out.
func (s *segment) purge() {
	n := len(s.members)
	if s.sealed {
		n = int(s.last - s.first + 1)
	}
	for i := range n {
		if s.first+uint64(i) < s.q.shown && !s.isGone(i) {
			s.purgeMember(i)
		}
	}
	s.absent = slices.DeleteFunc(s.absent, func(m seqMark) bool { return m.seq < s.q.shown })
}

func (s *segment) purgeMember(i int) {
	var m *Message
	if s.members != nil {
		m = s.members[i]
	}
	if m != nil && m.at == out {
		return
	}
	s.live--
	if m != nil {
		if m.here() {
			s.inMemory--
		}
		m.at = gone
	}
	if s.sealed {
		s.settled.set(i)
		if m != nil {
			s.members[i] = nil
		}
	}
}

// isGone reports that a member was settled.
func (s *segment) isGone(i int) bool {
	if s.sealed {
		return s.settled.has(i)
	}
	return s.members[i].at == gone
}

// take notes what the value of a segment says.
func (s *segment) take(v *segmentValue) {
	s.first, s.rewritten = v.first, v.rewritten
	n := int(s.last - s.first + 1)
	s.settled = newBitmap(n)
	for i := range n {
		s.settled.set(i)
	}
	for _, m := range v.items {
		s.settled.clear(int(m.seq - s.first))
		s.live++
	}
	s.written = len(v.items)
}

// takeState notes what its state says.
func (s *segment) takeState(v []byte) error {
	st, err := decodeState(v, s.last)
	if err != nil {
		return err
	}
	if st.first != s.first {
		return damaged("state", v)
	}
	for i := range s.settled {
		s.settled[i] |= st.settled[i]
	}
	s.live, s.absent, s.stated = int(s.last-s.first+1)-s.settled.len(), st.marks, true
	return nil
}
