package workqueue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// MaxExpires is the longest QueueConfig.Expires.
const MaxExpires = 10 * 365 * 24 * time.Hour

func (c *QueueConfig) checkLifetime() error {
	if c.Expires < 0 || c.Expires > MaxExpires {
		return store.Invalid("Expires %v is not between 0 and %v", c.Expires, MaxExpires)
	}
	return checkDedupe(c.DedupeWindow)
}

// DeleteIf says under which conditions a queue is deleted.
type DeleteIf struct {
	Unused bool // it has no consumers; else ErrInUse
	Empty  bool // it holds no message, be it ready, delayed, unacknowledged or unreadable; else ErrNotEmpty
}

// Delete removes the queue with its messages and bindings, durably. Its consumers end with
// ErrQueueDeleted. It works on a queue that cannot be read, too. As in RabbitMQ, a queue may be
// deleted that is the place of others' dead letters: they wait for another then, see
// DeadLetter.
func (q *Queue) Delete(ctx context.Context) error { return q.DeleteIf(ctx, DeleteIf{}) }

// DeleteIf is Delete under conditions, which are tested in the same step.
func (q *Queue) DeleteIf(ctx context.Context, c DeleteIf) error {
	return q.b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if err := q.queue.alive(); err != nil {
			return err
		}
		if err := errors.Join(q.queue.ownedBy(q.b), q.queue.deletable(c)); err != nil {
			return err
		}
		q.b.t.dropQueue(t, q.queue)
		return nil
	}}, store.Sync)
}

func (q *declaredQueue) deletable(c DeleteIf) error {
	if n := len(q.consumers); c.Unused && n > 0 {
		return fmt.Errorf("%w: queue %q has %d consumers", ErrInUse, q.name, n)
	}
	if c.Empty && q.damage != nil {
		return q.damage
	}
	if n := q.core.Stats(); c.Empty && n.Ready+n.Taken+n.Delayed+n.Unreadable > 0 {
		return fmt.Errorf("%w: queue %q has %d messages ready, %d unacknowledged, %d delayed, %d unreadable",
			ErrNotEmpty, q.name, n.Ready, n.Taken, n.Delayed, n.Unreadable)
	}
	return nil
}

// DeleteExclusive deletes the exclusive queues of this handle, as the end of a
// connection does in AMQP. The handle itself can be used on.
func (b *Broker) DeleteExclusive(ctx context.Context) error {
	return b.s.Do(ctx, store.FreeingFunc{OpFunc: b.dropExclusive}, store.Sync)
}

func (b *Broker) dropExclusive(t *store.Turn) error {
	for _, q := range b.t.queues {
		if q.owner == b {
			b.t.dropQueue(t, q)
		}
	}
	return nil
}

// ownedBy refuses a handle if the queue is exclusive to another one.
func (q *declaredQueue) ownedBy(b *Broker) error {
	if q.owner != nil && q.owner != b {
		return fmt.Errorf("%w: queue %q is exclusive to another handle", ErrInUse, q.name)
	}
	return nil
}

// live begins the time that a queue has until it is used.
func (q *declaredQueue) live(t *store.Turn) {
	if q.config.Expires == 0 {
		return
	}
	q.used = t.Now()
	q.expiry = store.NewTimer(q.expire)
	t.Arm(q.expiry, q.used.Add(q.config.Expires))
}

// expire deletes a queue that was not used. Uses only note the time, they do not
// arm the timer: that would be dear for what happens once per Get.
func (q *declaredQueue) expire(t *store.Turn) {
	if len(q.consumers) > 0 || q.core.Stats().Taken > 0 {
		q.used = t.Now()
	}
	if at := q.used.Add(q.config.Expires); at.After(t.Now()) {
		t.Arm(q.expiry, at)
		return
	}
	q.topology.dropQueue(t, q)
}

// left is called when a consumer has gone.
func (q *declaredQueue) left(t *store.Turn) {
	if q.used = t.Now(); q.config.AutoDelete && len(q.consumers) == 0 {
		t.Post(store.FreeingFunc{OpFunc: func(t *store.Turn) error {
			if !q.deleted && len(q.consumers) == 0 {
				q.topology.dropQueue(t, q)
			}
			return nil
		}}, store.NoSync)
	}
}

// dropQueue removes a queue with its messages and bindings, and ends its
// consumers.
func (t *topology) dropQueue(turn *store.Turn, q *declaredQueue) {
	t.unbindAll(turn, destination{store.ClassQueue, q.name})
	q.deleted = true
	q.changed.Fire() // for a Get that waits for what was about to become ready
	q.core.Close(turn)
	if q.expiry != nil {
		turn.Disarm(q.expiry)
	}
	if q.overdue != nil {
		turn.Disarm(q.overdue)
	}
	if q.stuck.timer != nil {
		turn.Disarm(q.stuck.timer)
		delete(t.stuck, q)
	}
	q.held(func(d *Delivery) {
		if d.consumer != nil {
			d.consumer.interrupt(d)
		}
	})
	for _, c := range q.consumers {
		c.end(ErrQueueDeleted)
	}
	q.consumers, q.turns = nil, turns{}
	turn.Drop(q.object, append(closeWindow(turn, q.window), append(layout.Kinds(), store.KindWorkRedrive)...)...)
	delete(t.queues, q.name)
	t.lostDead(q.name)
}
