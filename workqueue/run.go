package workqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pebblemq/pebblemq/internal/store"
)

// RunOptions are choices of one Run. Nil is the default.
type RunOptions struct {
	// Concurrency is how many handlers run at once. Default 1.
	Concurrency int
	// Prefetch is as in ConsumeOptions. Default: the larger of
	// DefaultPrefetch and Concurrency.
	Prefetch int
}

// MaxConcurrency is the most handlers of one Run.
const MaxConcurrency = 10_000

// Run calls handler for each delivery of a queue until ctx ends. When the
// handler returns nil the delivery is acknowledged, unless the handler has
// settled it itself, for instance in its transaction. When it returns an error
// or panics the delivery is requeued, up to the queue's delivery limit and then
// to its dead letter place.
//
// When ctx ends no new handler is started; those that run may finish (their
// context goes on), the rest goes back to the queue, and Run returns nil. Other
// errors end it as well: that of the store when it is closed or fails, and
// ErrQueueDeleted.
func (b *Broker) Run(ctx context.Context, queue string, handler func(context.Context, *Delivery) error, o *RunOptions) error {
	if o == nil {
		o = &RunOptions{}
	}
	n := max(o.Concurrency, 1)
	if o.Concurrency < 0 || n > MaxConcurrency {
		return store.Invalid("Concurrency %d is not between 1 and %d", o.Concurrency, MaxConcurrency)
	}
	prefetch := o.Prefetch
	if prefetch == 0 {
		prefetch = max(DefaultPrefetch, n)
	}
	c, err := b.Consume(ctx, queue, &ConsumeOptions{Prefetch: prefetch})
	if err != nil {
		return ended(ctx, err)
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = c.work(ctx, handler) })
	}
	wg.Wait()
	for _, err := range errs {
		if err := ended(ctx, err); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return c.Close()
}

// ended drops the error of a context that the caller ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// work handles deliveries, one at a time, until there are no more.
func (c *Consumer) work(ctx context.Context, handler func(context.Context, *Delivery) error) error {
	for {
		d, err := c.Next(ctx)
		if err != nil {
			return err
		}
		running := context.WithoutCancel(ctx)
		if err = attempt(running, handler, d); err == nil {
			err = d.Ack(running)
		} else {
			c.b.s.Log().Warn("handler failed", "queue", d.Queue, "deliveries", d.DeliveryCount, "error", err)
			err = d.Nack(running, true)
		}
		if err != nil && !errors.Is(err, ErrSettled) && !errors.Is(err, ErrDeliveryLost) {
			return err
		}
	}
}

// attempt runs the handler and turns a panic into an error.
func attempt(ctx context.Context, handler func(context.Context, *Delivery) error, d *Delivery) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("workqueue: handler panicked: %v", r)
		}
	}()
	return handler(ctx, d)
}
