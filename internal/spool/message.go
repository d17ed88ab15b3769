package spool

import (
	"container/heap"
	"sort"
)

// Message is a message in memory. There may be millions, so it has no room to spare.
type Message struct {
	Content // the deliveries include the present one; Data is not to be changed

	Seq   uint64 // its place in the queue
	Until Moment // end of the lease, if it has one
	First Moment // for the layer: of the first delivery; kept on disk
	Since Moment // for the layer: of the last delivery; kept on disk
	side  *side  // of few
	Slot  int32  // for the layer: its place in a heap
	Print uint32 // for the layer: what it wants to know of the data of a Lean one

	segment *segment // that it lies in
	group   *group   // if it is or was out, or is parked

	Lane     byte
	Ahead    bool // goes before all others when it is Returned; not of a spool with groups
	Suspect  bool // may have killed the process before this one
	state    state
	prime    bool  // was out when the process died
	before   state // the Settle under way
	forgiven bool  // by the Return under way
	waiting  bool  // is out with someone who has not seen it; see Lanes.Prefetch
	later    bool  // the Settle under way may be written later
	counted  bool  // as in flight, of its group
	over     bool  // settled for all to see
	popped   bool  // left where it waited because it was gone
	aside    bool  // stands among the returned, to be passed over there
	indexed  bool  // is in memory although the index of what is spilled has it
}

// side is what few messages have.
type side struct {
	holder any
	note   string
}

// Holder is for the layer: who has the message.
func (m *Message) Holder() any {
	if m.side == nil {
		return nil
	}
	return m.side.holder
}

// Hold sets the Holder.
func (m *Message) Hold(by any) {
	if m.side == nil {
		if by == nil {
			return
		}
		m.side = &side{}
	}
	m.side.holder = by
}

// Note is for the layer; it is kept on disk with the next Return.
func (m *Message) Note() string {
	if m.side == nil {
		return ""
	}
	return m.side.note
}

// SetNote sets the Note.
func (m *Message) SetNote(note string) {
	if m.side == nil {
		if note == "" {
			return
		}
		m.side = &side{}
	}
	m.side.note = note
}

// Sequence is the number of the message in the order in which the queue's messages
// were put, whatever their lanes, from 1 on.
func (m *Message) Sequence() uint64 {
	if m.number != 0 {
		return m.number + 1
	}
	return m.Seq + 1
}

// Waits reports whether the message is there for whoever comes next.
func (m *Message) Waits() bool { return m.state == ready }

// Taken reports whether the message is out with someone.
func (m *Message) Taken() bool { return m.state == taken }

// delivered reports whether there is anything to know of its deliveries.
func (m *Message) delivered() bool { return m.mark() != mark{} }

// mark is what is to be known of its deliveries.
func (m *Message) mark() mark {
	out, count := m.state == taken, m.Count
	if out && m.waiting {
		out, count = false, count-1
	}
	return mark{
		out: out, accused: m.prime && !out, count: count,
		until: int64(m.Until), first: int64(m.First), since: int64(m.Since), note: m.Note(),
	}
}

// here reports whether the message is still in the queue, and in memory.
func (m *Message) here() bool { return m.state != gone && m.state != spilled }

type state uint8

const (
	ready     state = iota
	taken           // out with someone
	returning       // given back, not visible yet
	gone            // settled
	spilled         // forgotten here; another Message will stand for it
)

// seqHeap orders messages by their place.
type seqHeap []*Message

func (h seqHeap) Len() int           { return len(h) }
func (h seqHeap) Less(i, j int) bool { return h[i].Seq < h[j].Seq }
func (h seqHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *seqHeap) Push(x any)        { *h = append(*h, x.(*Message)) }

func (h *seqHeap) Pop() any {
	old := *h
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return m
}

// skipGone drops what was settled, or held, while it waited.
func (h *seqHeap) skipGone() {
	for len(*h) > 0 && ((*h)[0].state != ready || (*h)[0].aside) {
		m := heap.Pop(h).(*Message)
		m.aside, m.popped = false, m.state == gone && !m.aside
	}
}

// ring is a queue of messages that reuses its memory.
type ring struct {
	buf  []*Message // length is a power of two, or zero
	head int
	n    int
}

func (r *ring) len() int        { return r.n }
func (r *ring) front() *Message { return r.buf[r.head] }

func (r *ring) push(m *Message) {
	if r.n == len(r.buf) {
		grown := make([]*Message, max(16, 2*len(r.buf)))
		for i := range r.n {
			grown[i] = r.buf[(r.head+i)&(len(r.buf)-1)]
		}
		r.buf, r.head = grown, 0
	}
	r.buf[(r.head+r.n)&(len(r.buf)-1)] = m
	r.n++
}

// shrink forgets the last one.
func (r *ring) shrink() {
	r.n--
	r.buf[(r.head+r.n)&(len(r.buf)-1)] = nil
}

// find returns the message with that sequence number, or nil. They are in
// order.
func (r *ring) find(seq uint64) *Message {
	i := sort.Search(r.n, func(i int) bool { return r.at(i).Seq >= seq })
	if i == r.n || r.at(i).Seq != seq {
		return nil
	}
	return r.at(i)
}

func (r *ring) at(i int) *Message { return r.buf[(r.head+i)&(len(r.buf)-1)] }

func (r *ring) pop() *Message {
	m := r.buf[r.head]
	r.buf[r.head] = nil
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	return m
}
