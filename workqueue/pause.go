package workqueue

import (
	"context"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Pause stops the queue from handing out messages until Resume, over restarts. Messages still come in,
// expire, and are acknowledged. Pausing again does nothing. It is durable when Pause returns.
// RabbitMQ has no such thing.
func (q *Queue) Pause(ctx context.Context) error { return q.pause(ctx, true) }

// Resume ends a Pause.
func (q *Queue) Resume(ctx context.Context) error { return q.pause(ctx, false) }

// halted reports whether the queue hands out nothing.
func (q *declaredQueue) halted() bool { return q.paused || q.stuck.jammed() }

func (q *Queue) pause(ctx context.Context, paused bool) error {
	return q.b.s.Do(ctx, store.FreeingFunc{OpFunc: func(t *store.Turn) error {
		if err := q.usable(); err != nil || q.queue.paused == paused {
			return err
		}
		if err := q.queue.store(t, func(is *storedQueue) { is.State.Paused = paused }); err != nil {
			return err
		}
		q.queue.ready(t)
		return nil
	}}, store.Sync)
}
