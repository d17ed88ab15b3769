package workqueue

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/store"
)

// The pause before another try to read the record of a queue, at first and at most.
const (
	reopenPause    = 100 * time.Millisecond
	reopenPauseMax = time.Minute
)

// openSpool brings the messages of a queue back. If the queue's record cannot be read,
// the queue refuses every use but its deletion, and the broker goes on without it.
func (q *declaredQueue) openSpool(ctx context.Context) {
	s := q.topology.s
	q.core, q.damage = queue.Open(ctx, s, layout, q.object.ID, q.config.MaxPriority, q.options())
	if q.damage != nil {
		s.Log().Error("queue cannot be used, the others go on", "broker", q.topology.name, "queue", q.name, "error", q.damage)
		q.core = queue.New(s, layout, q.object.ID, q.config.MaxPriority, q.options()) // is not used
	}
	q.limit()
}

// begin starts the queue, or reads its record again.
func (q *declaredQueue) begin(t *store.Turn) {
	if q.damage == nil {
		q.core.Start(t)
		q.live(t)
		q.redrives.Resume(t)
		return
	}
	q.core.Close(t)
	if !store.IsDamage(q.damage) {
		t.Spawn(q.reopen)
	}
}

// reopen reads the record of the queue until that succeeds or shows damage.
func (q *declaredQueue) reopen(ctx context.Context) {
	for wait := reopenPause; store.Pause(ctx, wait); wait = min(2*wait, reopenPauseMax) {
		lanes, err := queue.Open(ctx, q.topology.s, layout, q.object.ID, q.config.MaxPriority, q.options())
		if err != nil && !store.IsDamage(err) {
			continue
		}
		_ = q.topology.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
			if q.damage = err; q.deleted || err != nil {
				return nil
			}
			q.core = lanes
			q.limit()
			q.begin(t)
			q.ready(t)
			return nil
		}), store.NoSync) // fails with the store only
		return
	}
}
