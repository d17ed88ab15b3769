package visibility

import (
	"context"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/object"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Alter gives the queue another configuration, in place and with what it holds; nil and zero
// stand for the defaults. FIFO and the settings of deduplication stay as they are. MaxPriority
// may be higher, but not appear in a FIFO queue that had none. Anything else is
// pebblemq.ErrConfigMismatch, and nothing is altered.
//
// Retention and the dead-letter queue count at once for the messages that are there, the
// limits, the visibility timeout and the delay for what is sent and received from now on.
// The change is durable when Alter returns, and all handles on the queue have it.
func (q *Queue) Alter(ctx context.Context, c *QueueConfig) error {
	config, err := c.normalize(q.name)
	if err != nil {
		return err
	}
	r := registryOf(q.s)
	if err := r.mu.Lock(ctx); err != nil {
		return err
	}
	defer r.mu.Unlock()
	return r.alter(ctx, q, config)
}

// alter is called with the lock, so that no queue is deleted that becomes a dead-letter
// queue.
func (r *registry) alter(ctx context.Context, q *Queue, config QueueConfig) (err error) {
	var dead *Queue
	if config.DeadLetterQueue != "" {
		if dead, err = r.load(ctx, config.DeadLetterQueue, false); err != nil {
			return err
		}
	}
	return r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error { return q.alter(t, config, dead) }), store.Sync)
}

func (q *Queue) alter(t *store.Turn, config QueueConfig, dead *Queue) error {
	if q.dropped {
		return q.gone()
	}
	o, is, err := lookup(t, q.name)
	if err != nil {
		return err
	}
	if err := q.alterable(t, is.Config, config); err != nil {
		return err
	}
	config.ReleaseOnOpen = false // was for the opening
	is.Config, is.Altered = config, t.Now().UnixNano()
	text, err := is.Encode()
	if err != nil {
		return fmt.Errorf("visibility: configuration of queue %q: %w", q.name, err)
	}
	if err := t.Grow(); err != nil {
		return err
	}
	t.Alter(o, text)
	q.current.Store(&config)
	q.dead = dead
	q.core.Widen(config.MaxPriority)
	q.retain(t)
	q.serve(t)
	return nil
}

func (q *Queue) alterable(t *store.Turn, is, config QueueConfig) error {
	if err := object.Compare(is, config).Alterable(named(q.name)); err != nil {
		return err
	}
	if is.FIFO && is.MaxPriority == 0 && config.MaxPriority > 0 { // what is there is not pinned
		return fmt.Errorf("%w: %s is FIFO without priorities, and MaxPriority cannot become %d",
			store.ErrConfigMismatch, named(q.name), config.MaxPriority)
	}
	if err := config.checkTarget(t, q.name); err != nil {
		return err
	}
	return config.checkSources(t, q.name)
}
