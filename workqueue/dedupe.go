package workqueue

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// MaxDedupeWindow is the longest DedupeWindow of an exchange or queue.
const MaxDedupeWindow = 30 * 24 * time.Hour

func checkDedupe(length time.Duration) error {
	if length < 0 || length > MaxDedupeWindow {
		return store.Invalid("DedupeWindow %v is not between 0 and %v", length, MaxDedupeWindow)
	}
	return nil
}

// newWindow returns the window of an exchange or queue, or nil if it has none.
func newWindow(s *store.Store, o *store.Object, length time.Duration) *window.Window {
	if length == 0 {
		return nil
	}
	what := "exchange"
	if o.Class == store.ClassQueue {
		what = "queue"
	}
	return window.New(s, fmt.Sprintf("%s %q", what, o.Name[4:]), store.KindWorkWindow, o.ID, length)
}

// closeWindow ends a window and returns the kinds of keys that it leaves.
func closeWindow(t *store.Turn, w *window.Window) []store.Kind {
	if w == nil {
		return nil
	}
	w.Close(t)
	return []store.Kind{store.KindWorkWindow}
}

// seen finds out whether the exchange has the message already, and to how many
// places it led then.
func (o *publishOp) seen(t *store.Turn, w *window.Window) (routed int, repeated bool, err error) {
	if w == nil || o.message.MessageID == "" {
		return 0, false, nil
	}
	answer, repeated, err := w.Look(t, o.id())
	if err != nil || !repeated {
		return 0, false, err
	}
	n, size := binary.Uvarint(answer)
	if size != len(answer) || size == 0 {
		return 0, false, fmt.Errorf("%w: answer %x to message id %q", store.ErrCorrupt, answer, o.message.MessageID)
	}
	return int(n), true, nil
}

// remember makes the exchange remember the message from now on.
func (o *publishOp) remember(t *store.Turn, w *window.Window) {
	if w != nil && o.message.MessageID != "" {
		w.Put(t, o.id(), binary.AppendUvarint(nil, uint64(o.routed)))
	}
}

// lacking leaves only those destinations that do not have the message already, and makes the
// queues remember it. It runs before the body is stored, because no destination may need it.
func (o *publishOp) lacking(t *store.Turn, to []*end) ([]*end, error) {
	if o.message.MessageID == "" && o.message.UniqueKey == "" {
		return to, nil
	}
	rest := to[:0]
	for _, d := range to {
		if d.queue != nil {
			has, err := o.had(t, d.queue)
			if err != nil {
				return nil, err
			}
			if has {
				continue
			}
		}
		rest = append(rest, d)
	}
	return rest, nil
}

// had finds out whether a queue has the message already, or another in its place.
func (o *publishOp) had(t *store.Turn, q *declaredQueue) (bool, error) {
	known := q.window != nil && o.message.MessageID != ""
	if known {
		if _, repeated, err := q.window.Look(t, o.id()); err != nil || repeated {
			return repeated, err
		}
	}
	if o.message.UniqueKey != "" {
		if taken, err := o.outdone(t, q); err != nil || taken {
			return taken, err
		}
	}
	if known {
		q.window.Put(t, o.id(), nil)
	}
	return false, nil
}

// id is the hash of the message id. Most messages go where no window is, so it
// is not known before it is needed.
func (o *publishOp) id() window.ID {
	if o.hashed == (window.ID{}) {
		o.hashed = window.IDOf(o.message.MessageID)
	}
	return o.hashed
}
