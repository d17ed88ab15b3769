package visibility

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// AlterQueue gives a queue another configuration, in place and with what it holds:
// nil and zero stand for the defaults, as in OpenQueue. FIFO and what has to do with
// deduplication stay as they are, MaxPriority may be higher, but not appear in a FIFO
// queue that had none; or it is pebblemq.ErrConfigMismatch. Retention and
// the dead-letter queue count at once for the messages that are there, the limits, the
// visibility timeout and the delay for what is sent and received from now on. It is
// durable when AlterQueue returns, and all handles on the queue have it.
func AlterQueue(ctx context.Context, db *pebblemq.DB, name string, c *QueueConfig) error {
	if err := store.CheckName("queue", name); err != nil {
		return err
	}
	config := c.withDefaults()
	if err := config.check(name); err != nil {
		return err
	}
	return registryOf(bridge.Store(db)).alter(ctx, name, config)
}

// alter holds the lock, so that no queue is deleted that becomes a dead-letter queue.
func (r *registry) alter(ctx context.Context, name string, config QueueConfig) error {
	if err := r.mu.Lock(ctx); err != nil {
		return err
	}
	defer r.mu.Unlock()
	q, err := r.load(ctx, name, nil)
	if err != nil {
		return err
	}
	var dead *Queue
	if config.DeadLetterQueue != "" {
		if dead, err = r.load(ctx, config.DeadLetterQueue, nil); err != nil {
			return err
		}
	}
	return r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error { return q.alter(t, config, dead) }), store.Sync)
}

func (q *Queue) alter(t *store.Turn, config QueueConfig, dead *Queue) error {
	o, stored, err := lookup(t, q.name)
	if err != nil {
		return err
	}
	kept := *stored.config()
	allowed := config
	allowed.FIFO, allowed.DedupeWindow = kept.FIFO, kept.DedupeWindow
	allowed.DedupeByBody, allowed.DedupePerGroup = kept.DedupeByBody, kept.DedupePerGroup
	allowed.DelayBlocksGroup = kept.DelayBlocksGroup
	allowed.MaxPriority = max(kept.MaxPriority, config.MaxPriority)
	if kept.FIFO && kept.MaxPriority == 0 {
		allowed.MaxPriority = 0 // what is there is not pinned
	}
	if err := allowed.differ(q.name, config); err != nil {
		return err
	}
	if err := config.checkTarget(t, q.name); err != nil {
		return err
	}
	if err := config.checkSources(t, q.name); err != nil {
		return err
	}
	stored.Altered = t.Now().UnixNano()
	encoded, err := stored.encode(config)
	if err != nil {
		return fmt.Errorf("visibility: configuration of queue %q: %w", q.name, err)
	}
	if err := t.Grow(); err != nil {
		return err
	}
	t.Alter(o, encoded)
	q.current.Store(&config)
	q.dead = dead
	q.spool.Widen(config.MaxPriority)
	q.retain(t)
	q.serve(t)
	return nil
}

// Description is what is to be known of a queue.
type Description struct {
	Name   string
	Config QueueConfig // defaults filled in
	Stats  Stats

	CreatedAt time.Time
	AlteredAt time.Time // zero if it was not

	// DeadLettersOf are the queues whose dead-letter queue this one is, by name.
	DeadLettersOf []string
}

// Describe returns the queue's attributes and counters of the moment.
func (q *Queue) Describe(ctx context.Context) (*Description, error) {
	st, err := q.Stats(ctx)
	if err != nil {
		return nil, err
	}
	d := &Description{Name: q.name, Stats: st}
	err = q.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		if q.dropped {
			return q.gone()
		}
		_, stored, err := lookup(t, q.name)
		if err != nil {
			return err
		}
		d.Config, d.CreatedAt = *stored.config(), time.Unix(0, stored.Created)
		if stored.Altered != 0 {
			d.AlteredAt = time.Unix(0, stored.Altered)
		}
		d.DeadLettersOf, err = deadLettersOf(t, q.name)
		return err
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// lookup finds a queue in the catalog.
func lookup(t *store.Turn, name string) (*store.Object, *storedConfig, error) {
	o, ok := t.Lookup(store.ClassVisQueue, name)
	if !ok {
		return nil, nil, fmt.Errorf("%w: %q", ErrUnknownQueue, name)
	}
	stored, err := decodeConfig(name, o.Config)
	return o, stored, err
}
