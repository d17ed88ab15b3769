package window

import "github.com/pebblemq/pebblemq/internal/store"

// Clear forgets every id.
func (w *Window) Clear(t *store.Turn) {
	if w.empty {
		return
	}
	t.DeleteRange(w.bucketKey(w.oldest), w.bucketKey(w.newest+1))
	w.forget(w.oldest, w.newest+1)
	w.empty = true
	t.Disarm(w.timer)
}
