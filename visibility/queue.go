package visibility

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/window"
)

// Queue is a handle on a queue. All its methods are safe for concurrent use.
// Opening a queue twice gives two handles on the same memory; a handle needs no
// closing.
type Queue struct {
	s    *store.Store
	name string
	id   uint32
	*sealer
	released bool // opened with ReleaseOnOpen

	// current changes under the baton; it is read without.
	current atomic.Pointer[QueueConfig]

	// Below is the queue's memory. It is touched under the baton only.
	//
	// Invariant: a message of this queue is in leases if and only if it is
	// taken; there are no two of the same sequence number.
	spool    *spool.Lanes
	leases   leaseHeap
	attempts attempts
	window   *window.Window // nil if it has none
	waiting  waiters
	dead     *Queue     // where dead letters go
	dropped  bool       // was deleted
	holdLost bool       // the hold of a group could not be read
	redrives []*Redrive // of which the last may be running; there are keptRedrives at most

	recalled store.Signal // fires when the spool may be Recalled and Swept, or the queue is gone
}

// OpenQueue opens the queue of that name, and creates it if there is none.
// The configuration must be the stored one, nil being the defaults; else it
// returns pebblemq.ErrConfigMismatch; LookupQueue opens it whatever it is. Creating
// is durable when it returns. A dead-letter queue that does not exist gives ErrUnknownQueue.
func OpenQueue(db *pebblemq.DB, name string, c *QueueConfig) (*Queue, error) {
	return OpenQueueOptions(db, name, c, nil)
}

// OpenQueueOptions is OpenQueue with options for this process.
func OpenQueueOptions(db *pebblemq.DB, name string, c *QueueConfig, o *Options) (*Queue, error) {
	if err := store.CheckName("queue", name); err != nil {
		return nil, err
	}
	config := c.withDefaults()
	if err := config.check(name); err != nil {
		return nil, err
	}
	secret := make([]byte, secretLen)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("visibility: make a secret for queue %q: %w", name, err)
	}
	s := bridge.Store(db)
	if err := s.Do(context.Background(), declare(name, config, secret), store.Sync); err != nil {
		return nil, err
	}
	return registryOf(s).open(context.Background(), name, o)
}

// LookupQueue opens an existing queue with the configuration it has. If there is none
// it returns ErrUnknownQueue.
func LookupQueue(db *pebblemq.DB, name string) (*Queue, error) {
	if err := store.CheckName("queue", name); err != nil {
		return nil, err
	}
	return registryOf(bridge.Store(db)).open(context.Background(), name, nil)
}

// declare creates a queue, or checks that it is as it is to be.
func declare(name string, config QueueConfig, secret []byte) store.QuietFunc {
	return func(t *store.Turn) error {
		if o, ok := t.Lookup(store.ClassVisQueue, name); ok {
			stored, err := decodeConfig(name, o.Config)
			if err != nil {
				return err
			}
			return stored.config().differ(name, config)
		}
		if err := config.checkTarget(t, name); err != nil {
			return err
		}
		stored := storedConfig{Secret: secret, Created: t.Now().UnixNano()}
		encoded, err := stored.encode(config)
		if err != nil {
			return fmt.Errorf("visibility: configuration of queue %q: %w", name, err)
		}
		_, err = t.Create(store.ClassVisQueue, name, encoded)
		return err
	}
}

// Name returns the queue's name.
func (q *Queue) Name() string { return q.name }

// Config returns the queue's configuration, defaults filled in.
func (q *Queue) Config() QueueConfig { return *q.config() }

func (q *Queue) config() *QueueConfig { return q.current.Load() }

// Queues returns the names of all queues, in order.
func Queues(db *pebblemq.DB) ([]string, error) {
	var names []string
	list := store.QuietFunc(func(t *store.Turn) error {
		for _, o := range t.List(store.ClassVisQueue, "") {
			names = append(names, o.Name)
		}
		return nil
	})
	err := bridge.Store(db).Do(context.Background(), list, store.NoSync)
	return names, err
}

// DeleteQueue deletes a queue and everything in it, durably. Handles on it
// return ErrQueueDeleted from then on, blocked receives too. The dead-letter queue
// of another cannot be deleted before that one. A queue of the same name may be
// created again; it does not know the old receipts.
func DeleteQueue(ctx context.Context, db *pebblemq.DB, name string) error {
	return registryOf(bridge.Store(db)).drop(ctx, name)
}

// Purge deletes every message that is visible or delayed, and returns how many
// that were. Messages in flight stay with those who received them. No message is
// a duplicate of one that was sent before.
func (q *Queue) Purge(ctx context.Context) (n int, err error) {
	err = q.whenRecalled(ctx, store.Default, func(t *store.Turn) { n = q.purge(t) })
	return n, err
}

func (q *Queue) purge(t *store.Turn) int {
	if q.window != nil {
		q.window.Clear(t)
	}
	if q.config().DelayBlocksGroup {
		t.DeleteRange(store.Span(store.KindVisHold, q.id))
	}
	return q.spool.Purge(t, true)
}

// whenRecalled runs f under the baton once all that is in flight is in memory,
// which takes a moment after the store was opened, and what is over by now is gone.
func (q *Queue) whenRecalled(ctx context.Context, d store.Durability, f func(*store.Turn)) error {
	var asOf time.Time
	for {
		recalled, ran := q.recalled.C(), false
		err := q.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
			if q.dropped {
				return q.gone()
			}
			if asOf.IsZero() {
				asOf = t.Now()
			}
			if ran = q.spool.Recalled() && q.spool.Swept(t, asOf); ran {
				f(t)
			}
			return nil
		}}, d)
		if err != nil || ran {
			return err
		}
		select {
		case <-recalled:
		case <-ctx.Done():
			return ctx.Err()
		case <-q.s.Down():
			return q.s.Cause()
		}
	}
}

// Stats counts the messages of a queue.
type Stats struct {
	Visible  uint64 // ready to be received
	InFlight uint64 // received, the visibility timeout running
	Delayed  uint64
	Bytes    uint64 // of all of them as encoded, a body that queues share in each of them
	// Unreadable is how many messages the queue holds and cannot read, because the disk
	// is damaged or fails. It counts some of them only when it comes to them.
	Unreadable uint64
	Expired    uint64 // dropped at the end of their retention, since the queue was created

	// OldestAge is how long ago the oldest message was sent that is visible or in
	// flight; of one that was delayed, how long ago it was due. 0 if there is none.
	OldestAge time.Duration
}

// Stats returns the counters of the moment, exact. Just after the store was
// opened it waits until what was in flight has been read.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	var st spool.Stats
	var now time.Time
	err := q.whenRecalled(ctx, store.NoSync, func(t *store.Turn) { st, now = q.spool.Stats(), t.Now() })
	if err != nil {
		return Stats{}, err
	}
	counted := Stats{Visible: st.Ready, InFlight: st.Taken, Delayed: st.Delayed, Bytes: st.Bytes, Unreadable: st.Unreadable, Expired: st.Outlived}
	if oldest, err := q.spool.Eldest(ctx, q.alive); err != nil {
		return Stats{}, err
	} else if oldest != 0 {
		counted.OldestAge = max(now.Sub(time.Unix(0, oldest)), 0)
	}
	return counted, nil
}

func (q *Queue) gone() error { return fmt.Errorf("%w: %q", ErrQueueDeleted, q.name) }
