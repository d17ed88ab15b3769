package visibility

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/queue"
	"github.com/pebblemq/pebblemq/internal/redrive"
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
	core     *queue.Queue
	leases   leaseHeap
	attempts attempts
	window   *window.Window // nil if it has none
	waiting  waiters
	dead     *Queue // where dead letters go
	dropped  bool   // was deleted
	holdLost bool   // the hold of a group could not be read
	redrives *redrive.Set

	recalled store.Signal // fires when the queue core may be Recalled and Swept, or the queue is gone
}

func named(name string) string { return fmt.Sprintf("queue %q", name) }

// OpenQueue returns the queue of that name and creates it if need be. A nil config is the
// stored one, or the defaults for a new queue. Another config than the stored one is
// pebblemq.ErrConfigMismatch, which lists all fields that differ; EnsureQueue alters them.
// A creation is durable when OpenQueue returns, unless ctx says NoSync. If the store is closed
// when the queue is created and not opened yet, that is ErrUnknownOutcome. A dead-letter queue
// that does not exist is ErrUnknownQueue.
func OpenQueue(ctx context.Context, db *pebblemq.DB, name string, c *QueueConfig) (*Queue, error) {
	q, _, err := openQueue(ctx, db, name, c, false)
	return q, err
}

// EnsureQueue is OpenQueue, but it alters a queue whose config is another one, see
// Queue.Alter. It says what it did.
func EnsureQueue(ctx context.Context, db *pebblemq.DB, name string, c *QueueConfig) (*Queue, pebblemq.Ensured, error) {
	return openQueue(ctx, db, name, c, true)
}

func openQueue(ctx context.Context, db *pebblemq.DB, name string, c *QueueConfig, ensure bool) (*Queue, pebblemq.Ensured, error) {
	var did pebblemq.Ensured
	if err := store.CheckName("queue", name); err != nil {
		return nil, did, err
	}
	config, err := c.normalize(name)
	if err != nil {
		return nil, did, err
	}
	r := registryOf(bridge.Store(db))
	if err := r.mu.Lock(ctx); err != nil {
		return nil, did, err
	}
	defer r.mu.Unlock()
	var changes object.Differences
	if did.Created, changes, err = r.declare(ctx, name, config); err != nil {
		return nil, pebblemq.Ensured{}, err
	}
	if did.Created {
		q, err := r.openCreated(ctx, name, config.ReleaseOnOpen)
		return q, pebblemq.Ensured{Created: err == nil}, err
	}
	if c == nil {
		changes = nil
	}
	if !ensure {
		err = changes.Mismatch(named(name), "EnsureQueue")
	}
	if err != nil {
		return nil, did, err
	}
	q, err := r.open(ctx, name, config.ReleaseOnOpen)
	if err == nil && len(changes) > 0 {
		err = r.alter(ctx, q, config)
	}
	if err != nil {
		return nil, pebblemq.Ensured{}, err
	}
	did.Altered = changes.Fields()
	return q, did, nil
}

// openCreated opens a queue that has just been created. As a change was made, it goes on for a
// moment after ctx has ended, and never says that nothing has happened.
func (r *registry) openCreated(ctx context.Context, name string, release bool) (*Queue, error) {
	late, stop := store.Outlive(ctx)
	defer stop()
	q, err := r.open(late, name, release)
	if err != nil {
		return nil, object.Unopened(named(name), err)
	}
	return q, nil
}

// LookupQueue returns a queue that exists, or ErrUnknownQueue.
func LookupQueue(ctx context.Context, db *pebblemq.DB, name string) (*Queue, error) {
	if err := store.CheckName("queue", name); err != nil {
		return nil, err
	}
	q, err := registryOf(bridge.Store(db)).lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	// A queue that is open already has been asked nothing so far.
	if err := q.s.Do(ctx, store.QuietFunc(func(*store.Turn) error { return nil }), store.NoSync); err != nil {
		return nil, err
	}
	return q, nil
}

// declare creates a queue, or finds in what its stored configuration is another one.
func (r *registry) declare(ctx context.Context, name string, config QueueConfig) (created bool, changes object.Differences, err error) {
	is := stored{Config: config, State: secret{make([]byte, secretLen)}}
	if _, err := rand.Read(is.State.Secret); err != nil {
		return false, nil, fmt.Errorf("visibility: make a secret for queue %q: %w", name, err)
	}
	err = r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if o, ok := t.Lookup(store.ClassVisQueue, name); ok {
			was, err := decodeConfig(o)
			changes = object.Compare(was.Config, config)
			return err
		}
		if err := config.checkTarget(t, name); err != nil {
			return err
		}
		is.Created = t.Now().UnixNano()
		text, err := is.Encode()
		if err != nil {
			return fmt.Errorf("visibility: configuration of queue %q: %w", name, err)
		}
		_, err = t.Create(store.ClassVisQueue, name, text)
		created = err == nil
		return err
	}), store.Sync)
	return created, changes, err
}

// open returns what a receipt says.
func (q *Queue) open(r Receipt) (delivery, error) {
	d, err := q.sealer.open(r)
	if err != nil {
		err = fmt.Errorf("%w: %.12q… is none of %s", err, string(r), named(q.name))
	}
	return d, err
}

// refused adds which message an error of a receipt is about. The message is nil if it is not
// known.
func (q *Queue) refused(err error, d delivery, m *queue.Message) error {
	which := fmt.Sprintf("at position %v", queue.Position{Lane: d.lane, Seq: d.seq})
	if m != nil && m.Data != nil {
		which = fmt.Sprintf("%q", idOf(m.Data))
	}
	return fmt.Errorf("%w: message %s of %s, received at %s", err, which, named(q.name), d.at().UTC().Format(time.RFC3339Nano))
}

// Name returns the queue's name.
func (q *Queue) Name() string { return q.name }

// Config returns the queue's configuration, defaults filled in.
func (q *Queue) Config() QueueConfig { return *q.config() }

func (q *Queue) config() *QueueConfig { return q.current.Load() }

// DeleteQueue deletes the queue and everything in it, durably. Handles on it return
// ErrQueueDeleted from then on, blocked receives too. The dead-letter queue of another
// cannot be deleted before that one. A queue of the same name may be created again; it does
// not know the old receipts. (Delete is for messages, as in SQS.)
func (q *Queue) DeleteQueue(ctx context.Context) error {
	r := registryOf(q.s)
	if err := r.mu.Lock(ctx); err != nil {
		return err
	}
	defer r.mu.Unlock()
	done := false
	err := q.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if q.dropped {
			return q.gone()
		}
		o, ok := t.Lookup(store.ClassVisQueue, q.name)
		if !ok {
			return q.gone()
		}
		if err := checkUnused(t, q.name); err != nil {
			return err
		}
		t.Drop(o, append(layout.Kinds(), store.KindVisWindow, store.KindVisRedrive, store.KindVisHold)...)
		q.drop(t)
		done = true
		return nil
	}}, store.Sync)
	if done { // even if its fsync is not known of
		delete(r.mu.queues, q.name)
	}
	return err
}

// Purge deletes every message that is visible or delayed, and returns how many
// that were. Messages in flight stay with those who received them. No message is
// a duplicate of one that was sent before. Purge waits until all that was sent or released
// before, also NoSync, is visible.
func (q *Queue) Purge(ctx context.Context) (n int, err error) {
	if err := q.core.CatchUp(ctx, q.alive); err != nil {
		return 0, err
	}
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
	return q.core.Purge(t, true)
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
			if ran = q.core.Recalled() && q.core.Swept(t, asOf); ran {
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

// Stats returns the counters of the moment, exact. Just after the opening it waits until the
// messages in flight have been read. While the disk does not answer, a message that is due
// counts as delayed.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	var st queue.Stats
	var now time.Time
	err := q.whenRecalled(ctx, store.NoSync, func(t *store.Turn) { st, now = q.core.Stats(), t.Now() })
	if err != nil {
		return Stats{}, err
	}
	counted := Stats{Visible: st.Ready - st.Untried, InFlight: st.Taken + st.Untried, Delayed: st.Delayed, Bytes: st.Bytes, Unreadable: st.Unreadable, Expired: st.Outlived}
	if oldest, err := q.core.Eldest(ctx, q.alive); err != nil {
		return Stats{}, err
	} else if oldest != 0 {
		counted.OldestAge = max(now.Sub(time.Unix(0, oldest)), 0)
	}
	return counted, nil
}

func (q *Queue) gone() error { return fmt.Errorf("%w: %q", ErrQueueDeleted, q.name) }
