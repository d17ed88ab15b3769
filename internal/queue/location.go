package queue

import "container/heap"

// location is where a message is. It is at one place, and move alone changes that.
//
//	Put ──▶ unshown ──Show──▶ window ──┐
//	             │                     │    ahead │ returned │ tried ◀──┐
//	             ├─ passes the line ─▶ parked ◀──▶ offered              │
//	             │                     │  │                             │
//	             ▼                     ▼  ▼                             │
//	  load ◀── onDisk              out (Take) ──Return──▶ returning ────┘
//	                                │
//	   spilled ◀─ too many parked   └──Settle──▶ gone, from wherever it is
type location uint8

const (
	unshown  location = iota // put, and not visible
	inWindow                 // in line
	ahead                    // before all others
	returned                 // at its old place, among others that are not in line
	tried                    // one of those that may have killed the process; see crash.go
	parked                   // behind others of its group or tenant
	offered                  // the first of its group, beyond the front of the line

	out       // with someone
	returning // given back, and not visible

	onDisk  // not in memory, and counted so
	spilled // not in memory, and in the index of its group
	gone    // settled
)

// waits reports that nobody has the message and someone may get it.
func (l location) waits() bool { return l < out }

// here reports whether the message is still in the queue, and in memory.
func (m *Message) here() bool { return m.at < onDisk }

// move brings a message from the place where it is to another one, and does the books of both.
func (q *Lane) move(m *Message, to location) {
	from := m.at
	q.unplace(m)
	m.at = to
	switch to {
	case inWindow:
		q.line.window.push(m)
	case ahead:
		q.line.ahead = append(q.line.ahead, m)
	case returned:
		heap.Push(&q.line.returned, m)
	case tried:
		heap.Push(&q.crash.primes, m)
	case parked:
		q.groups.enter(m)
	case offered:
		heap.Push(&q.groups.passing.ahead, m)
	case out:
		q.out.more(tally{1, m.size()})
	case returning:
		q.returning++
	case onDisk:
		q.bad.onDisk.more(tally{1, m.size()})
	}
	switch wasHere := from < onDisk; {
	case to == gone:
		q.meta.entries--
		q.meta.bytes -= m.size()
		q.order.count(m)
	case from == gone:
		q.meta.entries++
		q.meta.bytes += m.size()
		q.order.uncount(m)
	case wasHere && !m.here():
		q.order.leave(m)
	case !wasHere && m.here():
		q.order.join(m)
	}
}

// unplace takes a message from where it is.
func (q *Lane) unplace(m *Message) {
	switch m.at {
	case inWindow:
		q.line.window.leave(m)
	case ahead:
		q.line.leaveAhead(m)
	case returned:
		q.line.returned.remove(m)
	case tried:
		q.crash.primes.remove(m)
	case parked:
		q.groups.exit(m)
	case offered:
		q.groups.passing.ahead.remove(m)
	case out:
		q.out.less(tally{1, m.size()})
	case returning:
		q.returning--
	case onDisk:
		q.cameIn(m)
	}
}

// cameIn notes that a message is in memory now.
func (q *Lane) cameIn(m *Message) {
	q.bad.onDisk.less(tally{1, m.size()})
	q.bad.stretches.cut(span{m.Seq, m.Seq + 1})
	if q.expiry.passed.has(m.Seq) {
		q.expiry.passed.cut(span{m.Seq, m.Seq + 1})
		q.expiry.left.less(tally{1, m.size()})
	}
}
