package visibility

import (
	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// A queue with priorities is a lane for each, and a receive takes from the highest that has
// something. Returned messages keep their old place among equals. Sequence numbers are those of
// the queue, over all priorities.
//
// In a FIFO queue a group has one priority at a time, that of its first message in the queue.
// The order within the group is strict, so a message never overtakes others of its group. See
// pin.go of the queue core. Fair shares are those among the messages of one priority.

// laneFor returns the priority of a message that comes from another queue: its own, or
// the highest that there is here.
func (q *Queue) laneFor(t *store.Turn, m *queue.Message, data []byte) byte {
	wanted := min(m.Lane, q.config().MaxPriority)
	lane, err := q.core.Pin(t, wanted, data)
	if err != nil {
		q.s.Log().Error("group of a dead letter", "queue", q.name, "error", err)
		return wanted
	}
	return lane
}
