package queue

import (
	"slices"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// lateGap is a stretch of an index by time that could not be read.
type lateGap struct {
	from Position
	err  error
}

func lateGaps(gaps []store.Gap) (late []lateGap, err error) {
	for _, g := range gaps {
		due, seq, err := decodeDueKey(g.From)
		if err != nil {
			return nil, err
		}
		late = append(late, lateGap{Position{Due: due, Seq: seq}, g.Err})
	}
	return late, nil
}

// miss notes delayed messages that were passed over. All says that no others are
// left.
func (l *delays) miss(t *store.Turn, gaps []lateGap, all bool) {
	q := l.q
	for _, g := range gaps {
		if !slices.ContainsFunc(l.gaps, func(o lateGap) bool { return o.from == g.from }) {
			l.gaps = append(l.gaps, g)
		}
		if q.bad.first("delayed " + g.from.String()) {
			q.s.Log().Error("delayed messages cannot be read and stay in their queue, the others go on",
				"queue", q.name, "due_from", time.Unix(0, g.from.Due), "error", g.err)
		}
		if !store.IsDamage(g.err) {
			q.bad.tryAgain(t)
		}
	}
	switch {
	case len(l.gaps) == 0:
		l.lost = 0
	case all:
		l.lost = q.meta.delayed
	default:
		l.lost = min(max(l.lost, uint64(len(l.gaps))), q.meta.delayed-min(q.meta.delayed, 1))
	}
}

// left is how many delayed messages can be read.
func (l *delays) left() uint64 { return l.q.meta.delayed - min(l.q.meta.delayed, l.lost) }

// earliest returns the earlier of a due time and those that were passed over.
func (l *delays) earliest(due int64) int64 {
	for _, g := range l.gaps {
		due = sooner(due, g.from.Due)
	}
	return due
}

// readAgain has those be read again that may be readable now.
func (l *delays) readAgain() {
	m := &l.q.meta
	l.gaps = slices.DeleteFunc(l.gaps, func(g lateGap) bool {
		again := !store.IsDamage(g.err)
		if again && (l.left() == 0 || g.from.Due < m.nextDue) {
			m.nextDue, l.nextSeq = g.from.Due, 0
		}
		return again
	})
	l.lost = min(l.lost, uint64(len(l.gaps)))
}
