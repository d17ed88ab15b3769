package visibility

import (
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// full reports that as many messages are in flight as may be.
func (q *Queue) full() bool {
	return q.config().MaxInFlight > 0 && q.core.Stats().Taken >= uint64(q.config().MaxInFlight)
}

// left is called when a message in flight was deleted: there may be room.
func (q *Queue) left(t *store.Turn) {
	if q.config().MaxInFlight > 0 {
		q.serve(t)
	}
}

func (q *Queue) tooMany() error {
	return fmt.Errorf("%w: %d of %s, which QueueConfig.MaxInFlight says", ErrInFlightLimit, q.config().MaxInFlight, named(q.name))
}
