package visibility

import (
	"context"
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/bridge"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Alter gives the queue another configuration, in place and with what it holds; nil
// and zero stand for the defaults, so begin with that of Config. FIFO and what is
// said of duplicates cannot be changed: that is pebblemq.ErrConfigMismatch.
//
// A Retention counts for the messages that are there too, and what is over by it is
// gone at once. Another DeadLetterQueue or MaxReceives counts from the next receive
// on, a VisibilityTimeout from the next receive, a Delay and MaxBodyBytes from the
// next send; what is in flight or delayed keeps its time. While more is in flight
// than MaxInFlight, nothing is received. Run goes on with the VisibilityTimeout that
// it began with. It is durable when Alter returns, and counts for all handles.
func (q *Queue) Alter(ctx context.Context, c *QueueConfig) error {
	config := c.withDefaults()
	if err := config.check(q.name); err != nil {
		return err
	}
	return registryOf(q.s).alter(ctx, q, config)
}

// alter brings the dead-letter queue into memory first, which takes the baton.
func (r *registry) alter(ctx context.Context, q *Queue, config QueueConfig) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var dead *Queue
	if config.DeadLetterQueue != "" {
		if dead, err = r.load(config.DeadLetterQueue, nil); err != nil {
			return err
		}
	}
	return r.s.Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		o, ok := t.Lookup(store.ClassVisQueue, q.name)
		if q.dropped || !ok {
			return q.gone()
		}
		if err := q.conf().alterable(config).differ(q.name, config); err != nil {
			return err
		}
		if err := config.checkDead(t, q.name); err != nil {
			return err
		}
		if err := config.checkSourcesOf(t, q.name); err != nil {
			return err
		}
		_, about, err := decodeConfig(q.name, o.Config)
		if err != nil {
			return err
		}
		about.altered = t.Now()
		encoded, err := config.encode(about)
		if err != nil {
			return err
		}
		if err := t.Grow(); err != nil {
			return err
		}
		t.Alter(o, encoded)
		q.config.Store(&config)
		q.dead = dead
		q.spool.Retain(t, config.Retention)
		q.serve(t)
		return nil
	}), store.Sync)
}

// alterable returns the configuration with all of the other that may be changed.
func (c QueueConfig) alterable(to QueueConfig) QueueConfig {
	to.FIFO, to.DedupeWindow = c.FIFO, c.DedupeWindow
	to.DedupeByBody, to.DedupePerGroup = c.DedupeByBody, c.DedupePerGroup
	return to
}

// Description is what Describe tells of a queue.
type Description struct {
	Name      string
	Config    QueueConfig // defaults filled in
	CreatedAt time.Time
	AlteredAt time.Time // zero if it never was
}

// Describe returns how a queue is configured, without opening it: that takes the
// configuration. A queue that does not exist is ErrNoQueue. Queues lists them all.
func Describe(ctx context.Context, db *pebblemq.DB, name string) (*Description, error) {
	if err := store.CheckName("queue", name); err != nil {
		return nil, err
	}
	var found *Description
	err := bridge.Store(db).Do(ctx, store.QuietFunc(func(t *store.Turn) error {
		o, ok := t.Lookup(store.ClassVisQueue, name)
		if !ok {
			return fmt.Errorf("%w: %q", ErrNoQueue, name)
		}
		c, about, err := decodeConfig(name, o.Config)
		found = &Description{Name: name, Config: c, CreatedAt: about.created, AlteredAt: about.altered}
		return err
	}), store.NoSync)
	if err != nil {
		return nil, err
	}
	return found, nil
}
