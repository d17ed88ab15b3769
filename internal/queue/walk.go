package queue

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// walkMessages is how many messages step aside in one turn of the baton.
const walkMessages = 256

// walk is the Op that lets blocked messages at the front of the line step aside, so that
// others may go which stand behind them. A Take that has looked at enough of them leaves the
// rest to it. It takes its turn again and again: the line may be of millions, and no turn is to
// be long.
//
//	Take finds the front blocked ──▶ walk ──▶ walk ──▶ … ──▶ the front is open ──▶ Ready
//	                                  │ ▲
//	               the window is empty▼ │ a load came in, or a pause is over
//	                                 waits
//
// Each comes from a goroutine. What an Op posts may be run in the same turn.
type walk struct {
	of   *walker
	more bool
}

// walker walks the line of a lane with groups.
type walker struct {
	g       *groups
	walking bool // has its turn soon
	seeking bool // goes on when it can
}

// seek has the line walked, if it is not already.
func (w *walker) seek(t *store.Turn) {
	w.seeking = true
	if !w.walking {
		w.walking = t.Spawn(w.walk)
	}
}

// walk walks until the walk is over or has to wait.
func (w *walker) walk(ctx context.Context) {
	for more := true; more && ctx.Err() == nil; {
		op := &walk{of: w}
		w.g.q.loader.persist(ctx, func(context.Context, func(error) bool) (store.Op, error) { return op, nil })
		more = op.more
	}
}

// goOn goes on with a walk that waited.
func (w *walker) goOn(t *store.Turn) {
	if w.seeking {
		w.seek(t)
	}
}

// Frees lets it in on a disk that is nearly full: it is what consumers wait for.
func (w *walk) Frees() {}
func (w *walk) Undo()  {}

func (w *walk) Run(t *store.Turn) error {
	q := w.of.g.q
	for range walkMessages {
		if w.more = !q.closed && w.of.seeking && w.of.past(t); !w.more {
			break
		}
	}
	if !q.closed {
		t.Touch(q) // which forgets what has been passed
	}
	w.of.walking = w.more
	return nil
}

func (w *walk) Visible(t *store.Turn) {
	if q := w.of.g.q; !q.closed && !w.of.walking {
		q.ready(t)
	}
}

// past has the message at the front of the line step aside, and reports false if there is
// none, or none that is to. Then the walk is over, unless it has to wait.
func (w *walker) past(t *store.Turn) bool {
	g, q := w.g, w.g.q
	m := q.line.upcoming()
	if q.line.low() {
		q.loader.start(t)
	}
	switch {
	case m == nil && q.loaded < q.shown: // and goes on when they are loaded
		return false
	case m == nil || m.at != inWindow || !g.blocks(m) || g.fair && g.passing.single(m):
		w.seeking = false
		return false
	case g.holdsBack(t, m): // and goes on after the pause
		return false
	}
	k := g.find(m)
	if g.park(t, k, m); g.fair && len(k.parked) == 0 { // spilled, and it may go as soon as nobody else has anything
		g.wantMore(t, k)
	}
	return true
}
