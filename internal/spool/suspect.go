package spool

import (
	"container/heap"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// frontierStep is how many messages may be handed out beyond the frontier that
// is known to be on disk. It bounds the suspects after a crash, and one fsync
// serves half of it.
const frontierStep = 4096

// withinFrontier reports whether a message may be handed out, and sees to it
// that the frontier moves in time.
func (q *Spool) withinFrontier(t *store.Turn, seq uint64) bool {
	if seq >= q.meta.frontier+frontierStep/2 && !q.raising {
		q.raising = true
		t.Post(&raise{q: q, to: seq}, store.Sync)
	}
	return seq < q.meta.frontier+frontierStep
}

// raise is the Op that moves the frontier. Seal writes it, and only when that
// is on disk does it count.
type raise struct {
	q  *Spool
	to uint64
}

func (r *raise) Run(t *store.Turn) error {
	r.q.raisedTo = r.to
	t.Touch(r.q)
	return nil
}

func (r *raise) Undo() {}

func (r *raise) Visible(t *store.Turn) {
	r.q.meta.frontier, r.q.raising = r.to, false
	r.q.ready(t)
}

// accuse sorts a message that was just loaded.
func (q *Spool) accuse(m *Message, mk mark) {
	m.Suspect = m.Seq < q.suspectBelow
	m.prime = m.Suspect && (mk.out || mk.accused)
}

// nextPrime hands the prime suspects out, one at a time until it has settled or
// survived.
func (q *Spool) nextPrime(t *store.Turn) *Message {
	for len(q.primes) > 0 && q.primes[0].state == gone {
		heap.Pop(&q.primes)
	}
	if len(q.primes) == 0 || q.solo != nil {
		return nil
	}
	q.solo = heap.Pop(&q.primes).(*Message)
	q.solo.prime = false
	t.Arm(q.survived, t.Now().Add(soloTime))
	return q.solo
}

// soloTime is how long a prime suspect is out alone. Who has not killed the
// process by then hardly will, and may take hours yet: the others do not wait
// for that.
const soloTime = 5 * time.Second

// letOn is what the timer calls.
func (q *Spool) letOn(t *store.Turn) {
	if q.solo != nil && q.through(q.solo) && !q.closed {
		q.ready(t)
	}
}

// through ends the wait for the prime suspect that is out, whatever came of
// it. It reports whether the next one may go.
func (q *Spool) through(m *Message) bool {
	if q.solo != m {
		return false
	}
	q.solo = nil
	return len(q.primes) > 0
}
