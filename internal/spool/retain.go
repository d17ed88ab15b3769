package spool

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// A spool may keep its messages for a time only (Options.Born and Retention), also
// those that are out. An index of when each ends, as there is for a time to live,
// would make every message dear: one more key to write and to delete, for the few
// that are not settled long before. But all are kept for the same time, and nearly
// all stand in the order of their birth. So it is enough to know when the first
// one was born; when it ends, the spool is walked from there to the first that
// stays.
//
// What is older than one before it, because it was delayed, comes from another
// queue, or the clock was set back, is in the index (Content.Expires, which is its
// birth then), and in none but these does Expires count for a message.
//
// Invariant: a message without Expires that is not gone was not born before
// meta.oldest, stands at walked or later, and is not older than any such message
// before it.

// date says in the index, or in the order, when a message that is being put ends.
func (q *Spool) date(c *Content) {
	if q.expiry.born == nil || c.Expires != 0 {
		return
	}
	at := q.expiry.born(c.Data)
	if at < q.meta.newest {
		c.Expires = at
		return
	}
	q.meta.newest = at
	if q.meta.oldest == 0 {
		q.meta.oldest = at
	}
}

// Born returns since when a message has been kept, in nanoseconds since 1970, or the
// end of its time to live if it has that instead; 0 is never.
func (q *Spool) Born(m *Message) int64 { return q.bornOf(&m.Content) }

func (q *Spool) bornOf(c *Content) int64 {
	if c.Expires != 0 || q.expiry.born == nil {
		return c.Expires
	}
	return q.expiry.born(c.Data)
}

// Over reports whether the time of a message is over.
func (q *Spool) Over(m *Message, now time.Time) bool {
	at := q.Born(m)
	return at != 0 && at <= q.expiry.over(now)
}

// over returns when what ends now was born.
func (e *expiry) over(now time.Time) int64 { return now.UnixNano() - int64(e.retention) }

// Retain changes for how long messages are kept, those that are there too.
func (q *Spool) Retain(t *store.Turn, d time.Duration) {
	q.expiry.retention = d
	q.armExpiry(t)
}

// Drop settles a message whose time is over, and counts that.
func (q *Spool) Drop(t *store.Turn, m *Message) {
	q.Settle(t, m)
	q.meta.expired++
}

// walkable reports that there is something to walk through.
func (q *Spool) walkable() bool { return q.meta.oldest != 0 && q.expiry.walked < q.shown }

// walk is the part of a sweep that goes through the spool.
type walk struct {
	on       bool
	from, to uint64
	newest   int64  // of what was put by then
	left     int64  // when the first that stays was born; 0 if none does
	through  uint64 // everything below has been looked at
}

func (q *Spool) planWalk() walk {
	return walk{from: max(q.expiry.walked, q.meta.low), to: q.shown, newest: q.meta.newest}
}

// readWalk reads what is over, in order.
func (s *sweep) readWalk(entries, marks *store.Iter) error {
	w, q := &s.walk, s.q
	if w.on, w.through = true, w.to; w.from >= w.to {
		return nil
	}
	marks.Seek(seqKey(q.layout.Mark, q.place, w.from))
	for ok := entries.Seek(seqKey(q.layout.Entry, q.place, w.from)); ok; ok = entries.Next() {
		m, err := q.readEntry(entries, marks)
		if err != nil {
			return err
		}
		if m.seq >= w.to {
			return nil
		}
		if m.damaged || m.Expires != 0 {
			continue
		}
		at := q.bornOf(&m.Content)
		if at > s.over || s.full() {
			w.left, w.through = at, m.seq
			return nil
		}
		s.add(ending{loadedMessage: m, at: at, walked: true})
	}
	return nil
}

// walked notes how far a walk came.
func (q *Spool) walkedTo(w walk) {
	if !w.on {
		return
	}
	q.expiry.walked, q.meta.oldest = w.through, w.left
	if w.left == 0 && q.meta.next > w.to { // put since then
		q.meta.oldest = w.newest
	}
}
