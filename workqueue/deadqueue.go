package workqueue

import (
	"context"
	"strings"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// DeadRetention is how long the dead-letter queue that a queue makes itself keeps a message.
const DeadRetention = 14 * 24 * time.Hour

var _ = [1]struct{}{}[DeadRetention-worker.DeadRetention] // the two are equal

// maxDeadOwner is the longest name of a queue that may make one.
const maxDeadOwner = store.MaxName - len(worker.DeadSuffix)

// makesDead reports whether the queue makes a dead-letter queue when it needs one. That of an
// exclusive queue would outlive it.
func (c *QueueConfig) makesDead() bool { return c.DeadLetter == nil && !c.DropDead && !c.Exclusive }

// deadPlace returns where a dead letter goes; nil is nowhere. A message that has expired, or
// that a full queue drops, has not failed.
func (q *declaredQueue) deadPlace(reason string) *DeadLetter {
	if q.config.makesDead() && (reason == ReasonRejected || reason == ReasonDeliveryLimit) {
		return &DeadLetter{Key: q.name + worker.DeadSuffix}
	}
	return q.config.DeadLetter
}

// makeDead creates the queue's own dead-letter queue if it needs one that is not there.
func (q *declaredQueue) makeDead(t *store.Turn) error {
	name := q.name + worker.DeadSuffix
	if q.config.makesDead() && q.topology.queues[name] == nil {
		plan, err := planQueue(name, &QueueConfig{DeliveryLimit: NoDeliveryLimit, MessageTTL: DeadRetention, DropDead: true})
		if err != nil {
			return err
		}
		plan.reserve = true // a full disk can be emptied by rejecting what is on it
		if _, err := q.topology.createQueue(t, plan); err != nil {
			return err
		}
		q.topology.s.Log().Warn("first message that failed for good: the dead-letter queue was created",
			"broker", q.topology.name, "queue", q.name, "dead_letter_queue", name, "retention", DeadRetention)
	}
	q.hasDead.Store(true)
	return nil
}

// readyDead is makeDead in an operation of its own: an operation that may be a part of a
// transaction, and be taken back with it, must not create a queue.
func (q *declaredQueue) readyDead(ctx context.Context) error {
	if q.hasDead.Load() {
		return nil
	}
	return q.topology.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if q.deleted {
			return q.alive()
		}
		return q.makeDead(t)
	}}, store.NoSync)
}

// lostDead notes that a queue is gone which may have been the dead-letter queue of another.
func (t *topology) lostDead(name string) {
	if owner := t.queues[strings.TrimSuffix(name, worker.DeadSuffix)]; owner != nil {
		owner.hasDead.Store(false)
	}
}
