package spool

import "github.com/pebblemq/pebblemq/internal/store"

// Patience has a lane go next that waits while n messages in a row were taken of
// higher ones; of several such lanes the highest. Zero is never. It is counted in
// memory.
func (q *Lanes) Patience(n int) { q.patience = n }

// pullOvertaken is pull of a lane whose patience is at its end, if there is one.
func (q *Lanes) pullOvertaken(t *store.Turn) (m *Message, is bool) {
	if q.patience == 0 {
		return nil, false
	}
	for i, lane := range q.open {
		if lane.overtaken < q.patience {
			continue
		}
		if m := lane.pull(t); m != nil || lane.coming() {
			q.overtake(m, q.open[i+1:])
			return m, true
		}
	}
	return nil, false
}

// overtake counts for the lower lanes that a message was taken, if it was.
func (q *Lanes) overtake(m *Message, lower []*Spool) {
	if q.patience == 0 || m == nil {
		return
	}
	q.of(m).overtaken = 0
	for _, lane := range lower {
		if lane.overtaken++; lane.Stats().Ready == 0 {
			lane.overtaken = 0
		}
	}
}
