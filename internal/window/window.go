package window

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// bucketsPerLength is how finely a window is cut.
const bucketsPerLength = 4

// Window is that of one object. Its methods but Ready are called under the baton,
// once Ready has returned.
type Window struct {
	s      *store.Store
	what   string // that has it, for errors
	kind   store.Kind
	id     uint32
	length time.Duration
	step   time.Duration
	ready  atomic.Bool

	// Under the baton from here on. Buckets are numbered by time.
	oldest, newest int64
	empty          bool      // then time still does not fall behind newest
	began          time.Time // the newest bucket, or earlier
	since          time.Time // that, of the machine's clock
	recent         map[int64]*recent
	memory         *memory
	timer          *store.Timer
	closed         bool
}

// New returns the window of an object, which errors call what. All its life it must
// have the same length, which is positive.
func New(s *store.Store, what string, kind store.Kind, id uint32, length time.Duration) *Window {
	w := &Window{
		s: s, what: what, kind: kind, id: id, length: length, step: max(1, length/bucketsPerLength),
		oldest: 0, newest: minBucket, empty: true, recent: make(map[int64]*recent), memory: memoryOf(s),
	}
	w.timer = store.NewTimer(w.sweep)
	return w
}

const minBucket = -1 << 62

// Ready finds out what is on disk, at the first use. It needs no more than the first
// bucket and the last: if they cannot be read, it takes a span that holds them.
func (w *Window) Ready(ctx context.Context) error {
	if w.ready.Load() {
		return nil
	}
	first, last, found, err := w.bounds(ctx)
	if err != nil {
		return err
	}
	return w.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if w.ready.Load() || w.closed { // another caller was faster
			return nil
		}
		if found {
			w.oldest, w.empty = first, false
			w.begin(last, w.start(last))
			w.arm(t)
		}
		w.ready.Store(true)
		return nil
	}), store.NoSync)
}

// bounds reads the first bucket and the last.
func (w *Window) bounds(ctx context.Context) (first, last int64, found bool, err error) {
	lo, hi := store.Span(w.kind, w.id)
	it, err := w.s.Iter(ctx, lo, hi)
	if err != nil {
		return 0, 0, false, err
	}
	var damage error
	if found = it.First(); found {
		if first, err = decodeKey(it.Key()); err == nil && it.Last() {
			last, err = decodeKey(it.Key())
		}
	}
	if damage = it.Close(); damage == nil || err != nil {
		return first, last, found, errors.Join(err, damage)
	}
	w.s.Log().Error("message ids that are known cannot be read, others go on", "of", w.what, "error", damage)
	return w.bucket(time.Unix(0, 0)), w.bucket(w.s.Now()), true, nil
}

// Look returns the answer that was put with an id, if that still counts. It writes
// the answer again, so that the fsync which its caller waits for covers it. If it
// cannot be read whether the id is known, Look returns ErrCorrupt or ErrUnreadable.
func (w *Window) Look(t *store.Turn, id ID) (answer []byte, found bool, err error) {
	if w.empty {
		return nil, false, nil
	}
	now := w.now(t)
	for b := w.newest; b >= max(w.oldest, w.bucket(now.Add(-w.length))); b-- {
		if w.recent[b].lacks(id) {
			continue
		}
		key := w.key(b, id)
		v, err := t.Probe(key)
		if err != nil {
			return nil, false, fmt.Errorf("message ids known to %s: %w", w.what, err)
		}
		if v == nil {
			continue
		}
		until, answer, err := decode(v)
		if err != nil || !until.After(now) {
			return nil, false, err
		}
		t.Set(key, v)
		return answer, true, nil
	}
	return nil, false, nil
}

// Put remembers an id from now on. It needs no undoing: the key goes with the rest
// of what a refused Op wrote.
func (w *Window) Put(t *store.Turn, id ID, answer []byte) {
	now := w.now(t)
	b := w.bucket(now)
	if b > w.newest {
		w.begin(b, now)
		w.recent[b] = w.memory.begin()
	}
	if w.empty {
		w.oldest, w.empty = b, false
		w.arm(t)
	}
	if r := w.recent[b]; r != nil {
		w.memory.add(r, id)
	}
	t.Set(w.key(b, id), encode(now.Add(w.length), answer))
}

// Close ends the window in memory, because the object goes, and its keys with it.
func (w *Window) Close(t *store.Turn) {
	w.closed, w.empty = true, true
	t.Disarm(w.timer)
	w.forget(minBucket, w.newest+1)
}

// begin makes a bucket the newest, in which it is a given time now, or later.
func (w *Window) begin(b int64, now time.Time) {
	w.newest, w.began, w.since = b, now.Round(0), time.Now() // what clocks show is compared
}

// now is the time, which does not run backwards. A clock that was set back is not asked until it
// has caught up: as much time goes by as does for the machine.
func (w *Window) now(t *store.Turn) time.Time {
	now := t.Now()
	if !now.Before(w.began) {
		return now
	}
	return w.began.Add(max(0, time.Since(w.since)))
}

// start returns when a bucket begins.
func (w *Window) start(b int64) time.Time { return time.Unix(0, b*int64(w.step)) }

func (w *Window) bucket(at time.Time) int64 {
	n, step := at.UnixNano(), int64(w.step)
	b := n / step
	if n%step < 0 {
		b--
	}
	return b
}

// arm has the oldest bucket dropped when its last id has expired.
func (w *Window) arm(t *store.Turn) {
	t.Arm(w.timer, w.start(w.oldest+1).Add(w.length))
}

// sweep is what the timer calls.
func (w *Window) sweep(t *store.Turn) {
	if w.empty {
		return
	}
	live := min(w.bucket(w.now(t).Add(-w.length)), w.newest+1)
	if live > w.oldest {
		t.DeleteRange(w.bucketKey(w.oldest), w.bucketKey(live))
		w.forget(w.oldest, live)
		w.oldest = live
	}
	if w.empty = w.oldest > w.newest; !w.empty {
		w.arm(t)
	}
}

// forget gives the memory of buckets in [lo, hi) back.
func (w *Window) forget(lo, hi int64) {
	for b, r := range w.recent {
		if lo <= b && b < hi {
			w.memory.forget(r)
			delete(w.recent, b)
		}
	}
}
