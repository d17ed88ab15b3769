package spool

import (
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// The frontier is raised this far beyond what is handed out. It bounds the
// suspects after a crash, and one fsync serves half of it. A queue that is emptied
// faster than that doubles its step each time it has to wait for the disk.
const (
	frontierStep    = 4096
	maxFrontierStep = 16 * frontierStep
)

// frontier is how it moves.
type frontier struct {
	step     uint64
	raising  bool   // it is on its way to the disk
	waited   bool   // for it
	raisedTo uint64 // the same, in the open group
}

// withinFrontier reports whether a message may be handed out, and sees to it
// that the frontier moves in time.
func (q *Spool) withinFrontier(t *store.Turn, seq uint64) bool {
	within := seq < q.meta.frontier
	if !within && q.frontier.raising && !q.frontier.waited {
		q.frontier.waited, q.frontier.step = true, min(2*q.frontier.step, maxFrontierStep)
	}
	if seq+q.frontier.step/2 >= q.meta.frontier && !q.frontier.raising {
		q.frontier.raising, q.frontier.waited = true, false
		t.Post(&raise{q: q, to: seq + q.frontier.step}, store.Sync)
	}
	return within
}

// raise is the Op that moves the frontier. Seal writes it, and only when that
// is on disk does it count.
type raise struct {
	q  *Spool
	to uint64
}

func (r *raise) Run(t *store.Turn) error {
	r.q.frontier.raisedTo = r.to
	t.Touch(r.q)
	return nil
}

func (r *raise) Undo() {}

func (r *raise) Visible(t *store.Turn) {
	r.q.meta.frontier, r.q.frontier.raising = r.to, false
	r.q.ready(t)
}

// accuse sorts a message that was just loaded.
func (q *Spool) accuse(m *Message, l *loadedMessage) {
	m.Suspect = m.Seq < q.suspectBelow
	m.prime = m.Suspect && (l.mark.out || l.mark.accused)
}

// nextPrime returns the next prime suspect. They go one at a time, until it has settled or
// survived.
func (q *Spool) nextPrime() *Message {
	if q.solo != nil {
		return nil
	}
	return q.primes.first()
}

func (q *Spool) goSolo(t *store.Turn, m *Message) {
	q.solo = m
	t.Arm(q.survived, t.Now().Add(soloTime))
}

// untried reports that a message is ready, but waits for the prime suspect that is out. It was out
// itself when the process died, and for whoever asks it still is.
func (q *Spool) untried(m *Message) bool { return q.solo != nil && m.prime && m.Waits() }

func (q *Spool) countUntried() (n uint64) {
	if q.solo == nil {
		return 0
	}
	for _, m := range q.primes {
		if q.untried(m) {
			n++
		}
	}
	return n
}

// soloTime is how long a prime suspect is out alone. A message held longer than soloTime is
// presumed harmless, so the others stop waiting for it.
const soloTime = 5 * time.Second

// letOn is what the timer calls.
func (h *shared) letOn(t *store.Turn) {
	if h.solo != nil {
		h.solo = nil
		h.ready(t)
	}
}

// through ends the wait for the prime suspect that is out, whatever came of
// it. It reports whether the next one may go, of whatever lane.
func (h *shared) through(m *Message) bool {
	if h.solo != m {
		return false
	}
	h.solo = nil
	return true
}
