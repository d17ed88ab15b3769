package queue

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

// crash is what is known, after an end, of what was out before: whose lease still runs, and what may
// have killed the process. It also sees to it that this is known after the next end.
type crash struct {
	q        *Lane
	leased   func(*store.Turn, *Message) // see Options.Leased
	below    uint64                      // after an unclean end: these were possibly delivered
	primes   seqHeap
	frontier frontier

	unloaded uint64 // taken according to the disk, not in memory yet
	through  uint64 // of these, what is below is in memory
	end      uint64 // and nothing is from here on
}

// frontier is how it moves.
type frontier struct {
	step     uint64
	raising  bool   // it is on its way to the disk
	waited   bool   // for it
	raisedTo uint64 // the same, in the open group
}

// within reports whether a message may be handed out, and sees to it
// that the frontier moves in time.
func (k *crash) within(t *store.Turn, seq uint64) bool {
	q := k.q
	within := seq < q.meta.frontier
	if !within && k.frontier.raising && !k.frontier.waited {
		k.frontier.waited, k.frontier.step = true, min(2*k.frontier.step, maxFrontierStep)
	}
	if seq+k.frontier.step/2 >= q.meta.frontier && !k.frontier.raising {
		k.frontier.raising, k.frontier.waited = true, false
		t.Post(&raise{q: q, to: seq + k.frontier.step}, store.Sync)
	}
	return within
}

// raise is the Op that moves the frontier. Seal writes it, and only when that
// is on disk does it count.
type raise struct {
	q  *Lane
	to uint64
}

func (r *raise) Run(t *store.Turn) error {
	r.q.crash.frontier.raisedTo = r.to
	t.Touch(r.q)
	return nil
}

func (r *raise) Undo() {}

func (r *raise) Visible(t *store.Turn) {
	r.q.meta.frontier, r.q.crash.frontier.raising = r.to, false
	r.q.ready(t)
}

// accuse sorts a message that was just loaded.
func (k *crash) accuse(m *Message, l *loadedMessage) {
	m.Suspect = m.Seq < k.below
	m.prime = m.Suspect && (l.mark.out || l.mark.accused)
}

// next returns the next prime suspect. They go one at a time, until it has settled or
// survived.
func (k *crash) next() *Message {
	if k.q.solo != nil {
		return nil
	}
	return k.primes.first()
}

func (h *shared) goSolo(t *store.Turn, m *Message) {
	h.solo = m
	t.Arm(h.survived, t.Now().Add(soloTime))
}

// untried reports that a message is ready, but waits for the prime suspect that is out. It was out
// itself when the process died, and for whoever asks it still is.
func (k *crash) untried(m *Message) bool { return k.q.solo != nil && m.prime && m.Waits() }

func (k *crash) countUntried() (n uint64) {
	if k.q.solo == nil {
		return 0
	}
	for _, m := range k.primes {
		if k.untried(m) {
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
