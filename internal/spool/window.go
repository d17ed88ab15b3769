package spool

import "github.com/pebblemq/pebblemq/internal/store"

// Limits of the window.
const (
	windowMessages = 2048 // of each spool, whatever the others have
	windowBytes    = 512 << 10
	chunkMessages  = 1024 // read from disk at a time, if no more is free
	chunkBytes     = windowBytes

	freeBytes    = 32 << 20 // more, for all spools of a store
	messageBytes = 256      // what a message takes up beside its data
)

// free is the memory that the windows of a store's spools share. A queue that
// is in use, and whose consumers are a moment behind, should not have to read
// from disk what was just put; and a hundred thousand that are not in use should
// not need much. So each has a small window of its own, and takes more while
// there is some.
type free struct{ bytes int }

type freeKey struct{}

func freeOf(s *store.Store) *free {
	return s.Local(freeKey{}, func() any { return &free{bytes: freeBytes} }).(*free)
}

// room reports whether the window may grow.
func (q *Spool) room() bool {
	return q.window.len() < q.messages() && q.winBytes < q.bytes() || q.free.bytes > 0
}

// low reports that the window has room for a chunk, and wants it soon.
func (q *Spool) low() bool {
	return q.window.len() < q.messages()/4 && q.winBytes < q.bytes()/4
}

// chunk is how much a load is to bring in. Most of its cost is in its beginning.
func (q *Spool) chunk() (messages, bytes int) {
	if q.free.bytes < freeBytes/4 {
		return q.messages() / 2, q.bytes()
	}
	return 8 * chunkMessages, 8 * chunkBytes
}

// enqueue adds a ready message at the end of the window.
func (q *Spool) enqueue(m *Message) {
	q.window.push(m)
	q.winBytes += len(m.Data)
	q.free.bytes -= len(m.Data) + messageBytes
}

// dequeue removes the first message of the window.
func (q *Spool) dequeue() *Message {
	m := q.window.pop()
	q.winBytes -= len(m.Data)
	q.free.bytes += len(m.Data) + messageBytes
	return m
}

// emptyWindow forgets the window.
func (q *Spool) emptyWindow() {
	q.free.bytes += q.winBytes + q.window.len()*messageBytes
	q.window, q.winBytes = ring{}, 0
}

// mayLeave reports whether the first of the window may leave it: to be taken, or to
// step aside.
func (q *Spool) mayLeave(t *store.Turn, m *Message) bool {
	if q.groups.blocks(m) {
		return !q.groups.holdsBack(t, m)
	}
	return q.withinFrontier(t, m.Seq)
}

// front returns the number that the front of the line has, below which nothing stands in it.
func (q *Spool) front() uint64 {
	if q.window.len() > 0 {
		return q.window.front().Seq
	}
	return q.loaded
}

// upcoming returns the message that is next at its place, primes aside.
func (q *Spool) upcoming() (m *Message) {
	q.skipGone()
	if n := len(q.ahead); n > 0 {
		return q.ahead[n-1]
	}
	if q.window.len() > 0 {
		m = q.window.front()
	}
	if len(q.returned) > 0 && q.returned[0].Seq < q.front() {
		m = q.returned[0]
	}
	return m
}

// passes lets m pass the line if it may, and reports whether it does.
func (q *Spool) passes(t *store.Turn, m *Message, fromDisk bool) bool {
	return q.groups != nil && q.groups.line.passes(t, m, fromDisk)
}
