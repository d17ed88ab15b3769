package queue

import "github.com/pebblemq/pebblemq/internal/store"

// Limits of the window.
const (
	windowMessages = 2048 // of each lane, whatever the others have
	windowBytes    = 512 << 10
	chunkMessages  = 1024 // read from disk at a time, if no more is free
	chunkBytes     = windowBytes

	freeBytes    = 32 << 20 // more, for all lanes of a store
	messageBytes = 256      // what a message takes up beside its data
)

// free is the memory that the windows of a store's lanes share. A queue that
// is in use, and whose consumers are a moment behind, should not have to read
// from disk what was just put; and a hundred thousand that are not in use should
// not need much. So each has a small window of its own, and takes more while
// there is some.
type free struct{ bytes int }

type freeKey struct{}

func freeOf(s *store.Store) *free {
	return s.Local(freeKey{}, func() any { return &free{bytes: freeBytes} }).(*free)
}

// window is what is in memory of the line, straight from Show or from disk, in order.
type window struct {
	ring  ring // and some that have left it
	n     int  // that have not
	bytes int
	free  *free
}

func (w *window) len() int { return w.n }

// front returns the first message, or nil.
func (w *window) front() *Message {
	if w.n == 0 {
		return nil
	}
	return w.ring.front()
}

// push adds a message at the end.
func (w *window) push(m *Message) {
	w.ring.push(m)
	w.account(1, len(m.Data))
}

func (w *window) account(n, bytes int) {
	w.n, w.bytes = w.n+n, w.bytes+bytes
	w.free.bytes -= bytes + n*messageBytes
}

// leave is called when a message is about to leave. Most are the first.
func (w *window) leave(m *Message) {
	if w.n == 0 {
		return // the queue was closed
	}
	w.account(-1, -len(m.Data))
	m.at = gone // or anything but inWindow
	for w.ring.len() > 0 && w.ring.front().at != inWindow {
		w.ring.pop()
	}
	if n := w.ring.len(); n > 2*w.n+chunkMessages {
		for range n {
			if m := w.ring.pop(); m.at == inWindow {
				w.ring.push(m)
			}
		}
	}
}

// empty forgets all of it.
func (w *window) empty() {
	w.account(-w.n, -w.bytes)
	w.ring = ring{}
}
