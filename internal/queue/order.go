package queue

import (
	"slices"
	"sync/atomic"

	"github.com/pebblemq/pebblemq/internal/store"
)

// order is what a lane has on disk: its messages, in segments, and what has become of them.
//
//	put ──▶ pending ──the group is sealed──▶ known ──all are settled──▶ deleted
//	                                          │  ▲
//	               none of it is in memory    ▼  │ a read brings one in
//	                                         on disk only
//
// A segment is known as long as one of its messages is in memory, or its state has yet to be
// written. What a reader has found may be older than that, so nothing is forgotten while somebody
// reads, not even that a segment is deleted.
//
// Invariants:
//
//   - A segment on disk that is not known has the state that is on disk.
//   - A message in memory has its segment, and is the member at its place there.
type order struct {
	q        *Lane
	pending  []*segment // of the open group
	recent   []*segment // of the group sealed last, which the engine may not have applied
	known    index
	changed  []*segment // whose state is to be written with the open group
	late     late
	idle     []*segment // known, maybe without need
	dropped  uint64     // everything below was deleted as a range
	deadSize int        // bytes settled since
	draft    draft

	forgotten atomic.Uint64 // how many were known, for those who read to look only
}

// late is what is written with the next group that is synced.
type late struct {
	store.Sealed
	q        *Lane
	segments []*segment
	settled  tally  // messages that are gone, and not according to the disk
	low      uint64 // none of these is below
}

func newOrder(q *Lane) order {
	return order{q: q, known: newIndex(), late: late{q: q, low: none}}
}

// put adds a message to what is pending.
func (o *order) put(t *store.Turn, m *Message) {
	s := o.last()
	if s == nil || len(s.members) == segmentMessages || s.size >= segmentBytes {
		s = &segment{q: o.q, first: m.Seq}
		o.pending = append(o.pending, s)
	}
	size := m.entryLen()
	s.members, m.segment = append(s.members, m), s
	s.live, s.inMemory = s.live+1, s.inMemory+1
	s.size += size
	t.Promise(size + segmentHeadLen)
}

// last returns the pending segment that takes what comes next.
func (o *order) last() *segment {
	if n := len(o.pending); n > 0 {
		return o.pending[n-1]
	}
	return nil
}

// undoPut takes the last put back.
func (o *order) undoPut(m *Message) {
	s := m.segment
	s.members[len(s.members)-1] = nil
	s.members = s.members[:len(s.members)-1]
	s.live, s.inMemory, s.size = s.live-1, s.inMemory-1, s.size-m.entryLen()
	if len(s.members) == 0 {
		o.pending[len(o.pending)-1] = nil
		o.pending = o.pending[:len(o.pending)-1]
	}
}

// settle notes that a message is gone.
func (o *order) settle(t *store.Turn, m *Message) {
	if s := m.segment; s.sealed {
		s.settled.set(int(m.Seq - s.first))
		s.touch(t)
	}
}

// settleLater is settle for what a crash may take back. Most segments are gone by the time that
// their state is written.
func (o *order) settleLater(t *store.Turn, m *Message) {
	s := m.segment
	if !s.sealed {
		return
	}
	s.settled.set(int(m.Seq - s.first))
	gone := tally{1, m.size()}
	s.unwritten.more(gone)
	o.late.settled.more(gone)
	o.late.low = min(o.late.low, m.Seq)
	s.touchLate(t)
}

// count counts a message off its segment.
func (o *order) count(m *Message) {
	m.segment.live, m.segment.inMemory = m.segment.live-1, m.segment.inMemory-1
}

// uncount takes that back.
func (o *order) uncount(m *Message) {
	m.segment.live, m.segment.inMemory = m.segment.live+1, m.segment.inMemory+1
}

// undoSettle takes settle or settleLater back.
func (o *order) undoSettle(m *Message) {
	s := m.segment
	if !s.sealed {
		return
	}
	s.settled.clear(int(m.Seq - s.first))
	if m.later {
		gone := tally{1, m.size()}
		s.unwritten.less(gone)
		o.late.settled.less(gone)
	}
}

// settleUnread notes that a message is gone which is on disk only.
func (o *order) settleUnread(t *store.Turn, l *loadedMessage) {
	s := o.learn(l.segment)
	s.settled.set(int(l.seq - s.first))
	s.live--
	s.touch(t)
}

// mark has the state of a message written with the group.
func (o *order) mark(t *store.Turn, m *Message) {
	if s := m.segment; s.sealed {
		s.touch(t)
	} else {
		s.wanted = true
	}
}

// markLater has it written before a delivery counts as durable. Most messages are settled
// by then.
func (o *order) markLater(t *store.Turn, m *Message) { m.segment.touchLate(t) }

// Seal has everything written that waited for a synced group.
func (l *late) Seal(t *store.Turn) {
	for i, s := range l.segments {
		l.segments[i], s.late = nil, false
		switch {
		case s.dropped:
		case s.sealed:
			s.touch(t)
		default:
			s.wanted = true
		}
	}
	l.segments, l.low = l.segments[:0], none
	t.Touch(l.q) // which writes all of it, after this
}

// join makes a message a member of its segment, because it comes into memory.
func (o *order) join(m *Message) {
	s := o.learn(m.segment)
	if s.members == nil {
		s.members = make([]*Message, s.last-s.first+1)
	}
	m.segment = s
	s.members[m.Seq-s.first] = m
	s.inMemory++
	if i, marked := s.absent.find(m.Seq); marked {
		s.absent = slices.Delete(s.absent, i, i+1)
	}
}

// inMemory returns a message that is in memory, or nil.
func (o *order) inMemory(seq uint64) *Message {
	s := o.segment(seq)
	if s == nil || s.members == nil {
		return nil
	}
	if m := s.members[seq-s.first]; m != nil && m.here() {
		return m
	}
	return nil
}

// segment returns what is known of the segment that has a number, or nil.
func (o *order) segment(seq uint64) *segment {
	if s := o.known.at(seq); s != nil {
		return s
	}
	return o.pendingAt(seq)
}

// firstInMemory returns the first message in a range that is in memory, or nil.
func (o *order) firstInMemory(r span) *Message {
	for seq := r.from; seq < r.to; seq++ {
		s := o.segment(seq)
		switch {
		case s == nil:
		case s.inMemory == 0:
			seq = s.end() - 1
		default:
			if m := o.inMemory(seq); m != nil {
				return m
			}
		}
	}
	return nil
}

// messages calls f with each message that is in memory, in order.
func (o *order) messages(f func(*Message)) {
	for _, s := range o.inOrder() {
		for _, m := range s.members {
			if m != nil && m.here() {
				f(m)
			}
		}
	}
}

// messagesIn does so with those in a range, which may reach far.
func (o *order) messagesIn(r span, f func(*Message)) {
	if r.to-r.from > searchMost {
		o.messages(func(m *Message) {
			if r.from <= m.Seq && m.Seq < r.to {
				f(m)
			}
		})
		return
	}
	for m := o.firstInMemory(r); m != nil; m = o.firstInMemory(span{m.Seq + 1, r.to}) {
		f(m)
	}
}

// firstLive returns the number of the first message in memory that is not settled, of those below a
// bound, or the bound. Nothing that is not in memory is below that.
func (o *order) firstLive(bound uint64) uint64 {
	bound = o.known.firstLive(bound)
	for _, s := range o.pending {
		bound = min(bound, s.firstLive())
	}
	return bound
}

// gone reports that a message which was read is settled, though the disk may not say so yet.
func (o *order) gone(l *loadedMessage) bool {
	if l.segment == nil || !l.segment.sealed {
		return l.gone
	}
	s := o.known.at(l.segment.last)
	return l.gone || s != nil && s.settled.has(int(l.seq-s.first))
}

// markOf returns the mark of a message that is not in memory. What was read may be older than what
// is known.
func (o *order) markOf(l *loadedMessage) mark {
	s := l.segment
	if !s.sealed {
		return l.mark
	}
	if known := o.known.at(s.last); known != nil {
		s = known
	}
	return s.absent.of(l.seq)
}

// leave takes a message out of memory that is still there on disk.
func (o *order) leave(m *Message) {
	s := m.segment
	s.inMemory--
	if !s.sealed {
		return // it is needed until then; see seal
	}
	s.members[m.Seq-s.first] = nil
	o.setAbsent(m, m.mark())
	o.mayForget(s)
}

// setAbsent notes the mark of a message that is not in memory.
func (o *order) setAbsent(m *Message, k mark) {
	s := m.segment
	at, marked := s.absent.find(m.Seq)
	if marked {
		s.absent = slices.Delete(s.absent, at, at+1)
	}
	if (k != mark{}) {
		s.absent = slices.Insert(s.absent, at, seqMark{m.Seq, k})
	}
}

// learn returns what is known of a segment that was read, which is that from now on if it was
// nothing.
func (o *order) learn(s *segment) *segment {
	if !s.sealed {
		return s
	}
	if known := o.known.at(s.last); known != nil {
		return known
	}
	o.known.add(s)
	return s
}

// mayForget forgets a segment that needs not be known any more.
func (o *order) mayForget(s *segment) {
	switch {
	case !s.dropped && (s.inMemory > 0 || !s.sealed || s.changed || s.late):
	case o.reads():
		o.idle = append(o.idle, s)
	case o.known.at(s.last) == s:
		o.known.remove(s)
		o.forgotten.Add(1)
	}
}

// reads reports that somebody reads messages to bring them into memory.
func (o *order) reads() bool {
	q := o.q
	return q.loader.loading || q.expiry.sweeping || q.retention.sweeping || q.bad.reading || q.groups != nil && q.groups.loading
}

// forgetIdle comes at the end of a read.
func (o *order) forgetIdle() {
	if o.reads() {
		return
	}
	idle := o.idle
	o.idle = nil
	for _, s := range idle {
		o.mayForget(s)
	}
}

// seal writes what has changed into the group that is about to go.
func (o *order) seal(t *store.Turn) {
	clear(o.recent)
	o.recent = o.recent[:0]
	for i, s := range o.pending {
		o.pending[i] = nil
		if s.write(t) {
			o.known.add(s)
			o.recent = append(o.recent, s)
			o.mayForget(s)
		}
	}
	o.pending = o.pending[:0]
	for i, s := range o.changed {
		o.changed[i], s.changed = nil, false
		s.update(t)
	}
	o.changed = o.changed[:0]
}

// pendingAt returns the segment of the open group that has a number, or nil.
func (o *order) pendingAt(seq uint64) *segment {
	for _, s := range o.pending {
		if s.first <= seq && seq-s.first < uint64(len(s.members)) {
			return s
		}
	}
	return nil
}

// recentAt returns the segment of the group sealed last that has a number, or nil.
func (o *order) recentAt(seq uint64) *segment {
	if at, found := find(o.recent, seq); found {
		return o.recent[at]
	}
	return nil
}

// Settled ranges are dropped in bulk once they reach one of these.
const (
	dropMessages = 16384
	dropBytes    = 4 << 20
)

// dropRange removes a settled range in bulk, which lets the engine delete whole
// tables instead of compacting tombstones. It ends at the first stretch that cannot be read, of
// which a segment may reach far.
func (o *order) dropRange(t *store.Turn) {
	low := o.q.meta.low
	if low <= o.dropped || low-o.dropped < dropMessages && o.deadSize < dropBytes {
		return
	}
	o.deleteTo(t, o.dropped, low)
	o.dropped, o.deadSize = low, 0
}

// isKnown reports that a message that was read is in memory, or gone.
func (o *order) isKnown(l *loadedMessage) bool {
	return o.inMemory(l.seq) != nil || o.gone(l)
}
