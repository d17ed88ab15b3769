package idempotency

import (
	"bytes"
	"context"
	"iter"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// State is what a key is in. A key that is absent has none.
type State uint8

// The states.
const (
	InProgress  State = iota + 1 // a handler runs, or its lease counts after a crash
	Interrupted                  // one ran and its end is not known; the next call runs
	Completed                    // its result is stored
	Failed                       // its final error is stored
)

var stateNames = [...]string{"absent", "in progress", "interrupted", "completed", "failed"}

// String returns the state in words.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// Entry is a key and what is known of it. Its slices are copies.
type Entry struct {
	Key         []byte
	State       State
	Token       uint64    // of the run; 0 if it was a transaction
	Expires     time.Time // zero unless Completed or Failed
	Fingerprint []byte
	Result      []byte // text of the error if Failed
}

// Entries walks the keys that begin with prefix, in order, as they are when it is
// called; nil is all of them. Expired ones are left out. An error ends the walk.
// It holds back the engine's cleaning up while it goes on, so do not dwell.
func (k *Namespace) Entries(ctx context.Context, prefix []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		w, err := k.newWalk(ctx, prefix)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer w.close()
		for ok := w.it.First(); ok; ok = w.it.Next() {
			if err = ctx.Err(); err != nil {
				break
			}
			var e Entry
			if e, err = w.entry(); err != nil {
				break
			}
			if e.State != 0 && !yield(e, nil) {
				return
			}
		}
		if err == nil {
			err = w.close()
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// walk is an Entries under way.
type walk struct {
	n       *keys
	view    *store.Snapshot
	it      *store.Iter
	now     time.Time
	claims  map[uint64]bool // tokens in progress
	newest  uint64          // those beyond were given out later, and are too
	dead    uint64          // those up to here are under a lease
	closed  bool
	closing error
}

func (k *Namespace) newWalk(ctx context.Context, prefix []byte) (*walk, error) {
	w := &walk{n: k.n, claims: make(map[uint64]bool), now: k.s.Now()}
	err := k.answer(ctx, func() {
		for _, c := range k.n.claims {
			w.claims[c.token] = !c.abandoned.Load()
		}
		w.newest = k.n.meta.token
		if k.n.dead != nil {
			w.dead = k.n.dead.token
		}
	})
	if err != nil {
		return nil, err
	}
	if w.view, err = k.s.Snapshot(ctx); err != nil {
		return nil, err
	}
	lo := recordKey(k.n.id, prefix)
	if w.it, err = w.view.Iter(lo, store.PrefixEnd(lo)); err != nil {
		w.view.Close()
		return nil, err
	}
	return w, nil
}

// close may be called again.
func (w *walk) close() error {
	if !w.closed {
		w.closed = true
		w.closing = w.it.Close()
		w.view.Close()
	}
	return w.closing
}

// entry returns the key that the walk stands on; one without a state is to be
// left out.
func (w *walk) entry() (Entry, error) {
	v, err := w.it.Value()
	if err != nil {
		return Entry{}, err
	}
	r, err := decodeRecord(bytes.Clone(v))
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Key: bytes.Clone(w.it.Key()[len(recordKey(0, nil)):]), Token: r.token, Fingerprint: r.fingerprint, Result: r.result}
	switch {
	case r.state == claimed && (w.claims[r.token] || r.token <= w.dead || r.token > w.newest):
		e.State = InProgress
	case r.state == claimed:
		e.State = Interrupted
	case !r.live(w.now):
		return Entry{}, nil
	case r.state == completed:
		e.State = Completed
	default:
		e.State = Failed
	}
	if r.state != claimed {
		e.Expires = time.Unix(0, r.expiry)
	}
	return e, nil
}
