package workqueue

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pebblemq/pebblemq/internal/store"
)

// storedQueue is a queue in the catalog.
type storedQueue struct {
	QueueConfig
	Paused bool `json:",omitempty"`
}

// decodeQueue reads what the catalog says of a queue.
func (q *queue) decode() error {
	var s storedQueue
	if err := json.Unmarshal(q.object.Config, &s); err != nil {
		return fmt.Errorf("%w: configuration of queue %q: %w", store.ErrCorrupt, q.name, err)
	}
	q.config, q.paused = s.QueueConfig, s.Paused
	return nil
}

// store writes what the queue has become.
func (q *queue) store(t *store.Turn, c QueueConfig, paused bool) error {
	text, err := json.Marshal(storedQueue{c, paused})
	if err != nil {
		return err
	}
	t.Alter(q.object, text)
	q.config, q.paused = c, paused
	return nil
}

// PauseQueue has a queue hand out nothing until ResumeQueue, over restarts. Messages
// still come in, expire, and are acknowledged. Pausing again does nothing. It is
// durable when PauseQueue returns. RabbitMQ has no such thing.
func (b *Broker) PauseQueue(ctx context.Context, name string) error { return b.pause(ctx, name, true) }

// ResumeQueue ends PauseQueue.
func (b *Broker) ResumeQueue(ctx context.Context, name string) error {
	return b.pause(ctx, name, false)
}

// halted reports whether the queue hands out nothing.
func (q *queue) halted() bool { return q.paused || q.stuck.jammed() }

func (b *Broker) pause(ctx context.Context, name string, paused bool) error {
	if err := store.CheckName("queue", name); err != nil {
		return err
	}
	return b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		q, err := b.queue(name)
		if err != nil || q.paused == paused {
			return err
		}
		if err := q.store(t, q.config, paused); err != nil {
			return err
		}
		q.ready(t)
		return nil
	}}, store.Sync)
}
