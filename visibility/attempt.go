package visibility

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// AttemptWindow is how long a receive can be repeated by its AttemptID.
const AttemptWindow = 5 * time.Minute

// attempts are the receives that can be repeated, by their ID. Each message that
// was received in one has it as its Holder. An attempt is forgotten as soon as
// one of its messages changes, so there are no more than there are messages in
// flight.
type attempts map[string]*attempt

type attempt struct {
	id       string
	at       time.Time
	messages []*queue.Message
	got      []handout // without the data
}

// keep makes it possible to repeat what w got.
func (a *attempts) keep(w *waiter, messages []*queue.Message, now time.Time) {
	if w.attempt == "" || w.timeout == 0 || len(w.got) == 0 {
		return
	}
	if *a == nil {
		*a = make(attempts)
	}
	kept := &attempt{id: w.attempt, at: now, messages: messages, got: make([]handout, len(w.got))}
	for i, h := range w.got {
		h.data = nil
		kept.got[i] = h
		messages[i].Hold(kept)
	}
	(*a)[w.attempt] = kept
}

// repeat gives w what the receive of the same ID got, if it can be repeated.
func (a attempts) repeat(t *store.Turn, w *waiter) bool {
	kept := a[w.attempt]
	if kept == nil {
		return false
	}
	if !kept.whole(t.Now()) {
		delete(a, w.attempt)
		return false
	}
	for i, h := range kept.got {
		h.data = kept.messages[i].Data
		w.got = append(w.got, h)
	}
	return true
}

// whole reports that nothing has happened to any of its messages.
func (a *attempt) whole(now time.Time) bool {
	if now.Sub(a.at) >= AttemptWindow {
		return false
	}
	for i, h := range a.got {
		m := a.messages[i]
		if m.Holder() != a || !m.Taken() || m.Count != h.count || m.Until != queue.At(h.until) || !h.until.After(now) {
			return false
		}
	}
	return true
}

// changed forgets the attempt that something has happened to a message of.
func (a attempts) changed(holder any) {
	if kept, ok := holder.(*attempt); ok && a[kept.id] == kept {
		delete(a, kept.id)
	}
}
