package window

import "github.com/pebblemq/pebblemq/internal/store"

// Asking the engine for an id that is new, as nearly all are, costs microseconds
// that everyone else waits for. So the ids of a bucket are kept in memory, too, as
// long as there is some: of what is not among them the engine need not be asked.
const (
	recentBytes = 16 << 20 // for all windows of a store
	idBytes     = 48       // of an id in a map, about
)

type memory struct{ bytes int }

type memoryKey struct{}

func memoryOf(s *store.Store) *memory {
	return s.Local(memoryKey{}, func() any { return &memory{bytes: recentBytes} }).(*memory)
}

// recent is the ids of a bucket that began in this life of the store.
type recent struct {
	ids      map[ID]struct{}
	complete bool
}

func (m *memory) begin() *recent { return &recent{ids: make(map[ID]struct{}), complete: true} }

func (m *memory) add(r *recent, id ID) {
	if !r.complete {
		return
	}
	if m.bytes < idBytes {
		m.forget(r)
		return
	}
	before := len(r.ids)
	r.ids[id] = struct{}{}
	m.bytes -= (len(r.ids) - before) * idBytes
}

// forget makes the engine answer for the bucket.
func (m *memory) forget(r *recent) {
	m.bytes += len(r.ids) * idBytes
	*r = recent{}
}

// lacks reports that the id is surely not in the bucket.
func (r *recent) lacks(id ID) bool {
	if r == nil || !r.complete {
		return false
	}
	_, there := r.ids[id]
	return !there
}
