package queue

import (
	"slices"

	"github.com/pebblemq/pebblemq/internal/store"
)

// line is what waits in memory for whoever comes next: a window of what is in order, and what came back.
type line struct {
	q        *Lane
	window   window
	returned seqHeap    // at their old places
	ahead    []*Message // before all others, the last one first; see Message.Ahead
	back     []*Message // given back since the last round began, and perhaps not visible
}

// next does, groups aside.
func (l *line) next(t *store.Turn) *Message {
	q := l.q
	if m := q.crash.next(); m != nil {
		return m
	}
	if l.low() {
		q.loader.start(t)
	}
	if n := len(l.ahead); n > 0 {
		return l.ahead[n-1]
	}
	front, back := l.window.front(), l.returned.first()
	switch {
	case back != nil && (front == nil && back.Seq < q.loaded || front != nil && back.Seq < front.Seq):
		return l.nextReturned(t)
	case front == nil: // what came back, if anything, was fetched ahead of older ones, which come in now
		return nil
	case !l.mayLeave(t, front):
		return nil
	}
	return front
}

// leaveAhead takes a message from among those that go first.
func (l *line) leaveAhead(m *Message) {
	at := slices.Index(l.ahead, m)
	l.ahead = slices.Delete(l.ahead, at, at+1)
}

// nextReturned returns the first of those that were returned. One that cannot be read
// is set aside.
func (l *line) nextReturned(t *store.Turn) *Message {
	if m := l.returned.first(); l.q.whole(t, m) {
		return m
	}
	return l.next(t)
}

// oldest returns the message that is the next to be delivered, or else the first one, primes among them.
func (l *line) oldest() *Message {
	if n := len(l.ahead); n > 0 {
		return l.ahead[n-1]
	}
	first := l.window.front()
	for _, h := range []seqHeap{l.returned, l.q.crash.primes} {
		if m := h.first(); m != nil && (first == nil || m.Seq < first.Seq) {
			first = m
		}
	}
	return first
}

// room reports whether the window may grow.
func (l *line) room() bool {
	q := l.q
	return l.window.n < q.messages() && l.window.bytes < q.bytes() || l.window.free.bytes > 0
}

// low reports that the window has room for a chunk, and wants it soon.
func (l *line) low() bool {
	q := l.q
	return l.window.n < q.messages()/4 && l.window.bytes < q.bytes()/4
}

// chunk is how much a load is to bring in. Most of its cost is in its beginning.
func (l *line) chunk() (messages, bytes int) {
	q := l.q
	if l.window.free.bytes < freeBytes/4 {
		return q.messages() / 2, q.bytes()
	}
	return 8 * chunkMessages, 8 * chunkBytes
}

// mayLeave reports whether the first of the window may leave it: to be taken, or to
// step aside.
func (l *line) mayLeave(t *store.Turn, m *Message) bool {
	q := l.q
	if q.groups.blocks(m) {
		return !q.groups.holdsBack(t, m)
	}
	return q.crash.within(t, m.Seq)
}

// front returns the number that the front of the line has, below which nothing stands in it.
func (l *line) front() uint64 {
	if m := l.window.front(); m != nil {
		return m.Seq
	}
	return l.q.loaded
}

// upcoming returns the message that is next at its place, primes aside.
func (l *line) upcoming() *Message {
	if n := len(l.ahead); n > 0 {
		return l.ahead[n-1]
	}
	if m := l.returned.first(); m != nil && m.Seq < l.front() {
		return m
	}
	return l.window.front()
}
