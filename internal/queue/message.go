package queue

import "container/heap"

// Message is a message in memory. There may be millions, so it has no room to spare.
type Message struct {
	Content // the deliveries include the present one; Data is not to be changed

	Seq   uint64 // its place in the queue
	Until Moment // end of the lease, if it has one
	First Moment // for the layer: of the first delivery; kept on disk
	Since Moment // for the layer: of the last delivery; kept on disk
	side  *side  // of few
	Slot  int32  // for the layer: its place in a heap
	slot  int32  // its place in the heap that it waits in
	Print uint32 // for the layer: what it wants to know of the data of a Lean one

	Lane     byte
	Ahead    bool     // goes before all others when it is Returned; not of a lane with groups
	Suspect  bool     // may have killed the process before this one
	at       location // see move
	before   location // of the Settle under way
	prime    bool     // was out when the process died
	forgiven bool     // by the Return under way
	waiting  bool     // is out with someone who has not seen it; see Queue.Prefetch
	later    bool     // the Settle under way may be written later
	counted  bool     // as in flight, of its group
	indexed  bool     // is in memory although the index of what is spilled has it

	segment *segment // that it lies in
	group   *group   // if it is or was out, or is parked
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
func (m *Message) Waits() bool { return m.at.waits() }

// Taken reports whether the message is out with someone.
func (m *Message) Taken() bool { return m.at == out }

// delivered reports whether there is anything to know of its deliveries.
func (m *Message) delivered() bool { return m.mark() != mark{} }

// mark is what is to be known of its deliveries.
func (m *Message) mark() mark {
	isOut, count := m.at == out, m.Count
	if isOut && m.waiting {
		isOut, count = false, count-1
	}
	return mark{
		out: isOut, accused: m.prime && !isOut, count: count,
		until: int64(m.Until), first: int64(m.First), since: int64(m.Since), note: m.Note(),
	}
}

// seqHeap orders messages by their place. Each knows its slot.
type seqHeap []*Message

func (h seqHeap) Len() int           { return len(h) }
func (h seqHeap) Less(i, j int) bool { return h[i].Seq < h[j].Seq }

func (h seqHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = int32(i), int32(j)
}

func (h *seqHeap) Push(x any) {
	m := x.(*Message)
	m.slot = int32(len(*h))
	*h = append(*h, m)
}

// first returns the first message, or nil.
func (h seqHeap) first() *Message {
	if len(h) == 0 {
		return nil
	}
	return h[0]
}

func (h *seqHeap) remove(m *Message) { heap.Remove(h, int(m.slot)) }

func (h *seqHeap) Pop() any {
	old := *h
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return m
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

func (r *ring) pop() *Message {
	m := r.buf[r.head]
	r.buf[r.head] = nil
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	return m
}

// leanFrom is how many messages of a lane are out before the data of further ones
// is not kept in memory.
const leanFrom = 16 << 10

// fill gives a lean message its data again.
func (m *Message) fill(data []byte) { m.Data, m.lean = data, 0 }
