package workqueue

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/redrive"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// Queue is a handle on a queue of a broker. All its methods are safe for concurrent use. It
// needs no closing. Once the queue is deleted they return ErrQueueDeleted, also if there is
// another one of its name by then.
type Queue struct {
	b     *Broker
	queue *declaredQueue
}

// Name returns the name of the queue.
func (q *Queue) Name() string { return q.queue.name }

// usable refuses a queue that was deleted, cannot be read, or is exclusive to another handle
// on the broker. It is called under the baton.
func (q *Queue) usable() error {
	if err := q.queue.alive(); err != nil {
		return err
	}
	if q.queue.damage != nil {
		return q.queue.damage
	}
	return q.queue.ownedBy(q.b)
}

// use is usable for the verbs that keep the queue from expiring.
func (q *Queue) use(t *store.Turn) error {
	err := q.usable()
	if err == nil {
		q.queue.used = t.Now()
	}
	return err
}

// look is usable for those who do not have the baton.
func (q *Queue) look(ctx context.Context) error {
	return q.b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error { return q.usable() }), store.NoSync)
}

// declaredQueue is a queue in memory. It is touched under the baton only.
type declaredQueue struct {
	name      string
	object    *store.Object
	config    QueueConfig
	topology  *topology
	core      *queue.Queue
	damage    error // why the queue cannot be used, if its record cannot be read
	end       *end  // once a message was routed here by name
	consumers []*Consumer
	cancelled []*Consumer  // which hold something yet
	got       heldList     // by Get, not settled
	active    *Consumer    // of a queue with SingleActive
	turns     turns        // of the consumers
	overdue   *store.Timer // for AckTimeout
	posted    bool
	handovers handovers
	changed   store.Signal // fires when there may be something to hand out
	deleted   bool
	paused    bool // hands out nothing

	totals QueueTotals

	offered map[*queue.Message]bool // to consumers, until the next dispatch; see offer

	stuck    stuckLetters
	redrives *redrive.Set

	window *window.Window // nil without DedupeWindow
	owner  *Broker        // if it is exclusive
	// hasDead says that the queue needs no dead-letter queue to be made. It is read without
	// the baton.
	hasDead atomic.Bool
	expiry  *store.Timer
	used    time.Time // last
}

func newQueue(ctx context.Context, t *topology, o *store.Object) (*declaredQueue, error) {
	is, err := decodeQueue(o)
	if err != nil {
		return nil, err
	}
	q := &declaredQueue{name: scopedName(o), object: o, config: is.Config, paused: is.State.Paused, topology: t}
	q.window = newWindow(t.s, o, q.config.DedupeWindow)
	q.openSpool(ctx)
	q.redrives = q.newRedrives()
	return q, q.redrives.Read(ctx)
}

// limit prepares the queue for its limits, and for the order of its priorities.
func (q *declaredQueue) limit() {
	q.core.Patience(q.config.MaxOvertakes)
	if q.config.limited() {
		q.core.Limited()
	}
}

func (q *declaredQueue) options() queue.Options {
	return queue.Options{Name: q.name, Ready: q.ready, Expired: q.buryExpired, Added: q.admit, ID: messageIDOf}
}

// Purge removes the messages that are ready, not those that are delayed or
// unacknowledged, and returns how many they were. Purge waits until all that was
// published or given back before, also NoSync, is ready.
func (q *Queue) Purge(ctx context.Context) (n int, err error) {
	if err = q.look(ctx); err != nil {
		return 0, err
	}
	if err = q.queue.core.CatchUp(ctx, q.queue.alive); err != nil {
		return 0, err
	}
	err = q.b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if err := q.usable(); err != nil {
			return err
		}
		n = q.queue.core.Purge(t, false)
		return nil
	}}, store.Default)
	return n, err
}

// QueueStats counts what is in a queue.
type QueueStats struct {
	Ready   uint64 // waiting for a consumer
	Unacked uint64 // delivered and not settled
	Stuck   Dead   // of Unacked, by reason: dead letters that have no place to go; see DeadLetter
	Delayed uint64 // waiting for their time
	// Unreadable is how many messages the queue holds and cannot read, because the disk
	// is damaged or fails. It counts some of them only when it comes to them.
	Unreadable uint64
	Bytes      uint64 // of all three as encoded, a body that queues share in each of them
	Consumers  int
	Paused     bool // by Pause
}

// Stats returns the counters of the queue, exact at one moment.
func (q *Queue) Stats(ctx context.Context) (st QueueStats, err error) {
	err = q.b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		if err := q.usable(); err != nil {
			return err
		}
		st = q.queue.stats()
		return nil
	}), store.Sync)
	return st, err
}

func (q *declaredQueue) stats() QueueStats {
	n := q.core.Stats()
	return QueueStats{
		Ready: n.Ready, Unacked: n.Taken, Stuck: q.stuck.dead, Delayed: n.Delayed, Unreadable: n.Unreadable, Bytes: n.Bytes,
		Consumers: len(q.consumers), Paused: q.paused,
	}
}
