package workqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
)

// RunOptions are choices of one Run. Nil is the default.
type RunOptions struct {
	// Concurrency is how many handlers run at once. Default 1.
	Concurrency int
	// Prefetch is as in ConsumeOptions. Default: the larger of
	// DefaultPrefetch and Concurrency.
	Prefetch int
	// Priority is that of the consumer; see ConsumeOptions.
	Priority int

	// Timeout ends the context of a handler that takes longer. Default: none but
	// the queue's AckTimeout.
	Timeout time.Duration
	// Attempts is how often a delivery is handled in place before it is given back
	// or rejected. Default 1.
	Attempts int
	// Backoff is the pause between them.
	Backoff pebblemq.Backoff
	// Interval is the least time from the start of one handler to that of the next,
	// for all of this Run. Default: none.
	Interval time.Duration
}

// Bounds of RunOptions.
const (
	MaxConcurrency = 10_000
	MaxAttempts    = 1000
)

// ErrReject is to be returned, or wrapped, by a handler of Run that knows that trying
// again is of no use: the delivery is rejected at once.
var ErrReject = errors.New("workqueue: reject the delivery")

// Handler handles a delivery.
type Handler = func(context.Context, *Delivery) error

// Run calls handler for each delivery of a queue until ctx ends. When the
// handler returns nil the delivery is acknowledged, unless the handler has
// settled it itself, for instance in its transaction. When it returns an error
// or panics it is called again, Attempts times in all, and then the delivery is
// requeued, up to the queue's delivery limit and then to its dead letter place;
// with ErrReject that is at once. The context of a handler ends when its delivery is
// lost: its queue was deleted, or it took longer than the queue's AckTimeout.
//
// When ctx ends no new handler is started; those that run may finish (their
// context goes on), the rest goes back to the queue, and Run returns nil. Other
// errors end it as well: that of the store when it is closed or fails, and
// ErrQueueDeleted.
func (b *Broker) Run(ctx context.Context, queue string, handler func(context.Context, *Delivery) error, o *RunOptions) error {
	full, err := o.normalize()
	if err != nil {
		return err
	}
	c, err := b.Consume(ctx, queue, &ConsumeOptions{Prefetch: full.Prefetch, Priority: full.Priority})
	if err != nil {
		return ended(ctx, err)
	}
	r := &runner{c: c, o: full, handler: handler}
	errs := make([]error, full.Concurrency)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = r.work(ctx) })
	}
	wg.Wait()
	for _, err := range errs {
		if err := ended(ctx, err); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return c.Close()
}

func (o *RunOptions) normalize() (full RunOptions, err error) {
	if o != nil {
		full = *o
	}
	full.Attempts = max(full.Attempts, 1)
	switch {
	case full.Concurrency < 0 || full.Concurrency > MaxConcurrency:
		return full, store.Invalid("Concurrency %d is not between 1 and %d", full.Concurrency, MaxConcurrency)
	case o != nil && o.Attempts < 0 || full.Attempts > MaxAttempts:
		return full, store.Invalid("Attempts %d is not between 1 and %d", o.Attempts, MaxAttempts)
	case full.Timeout < 0:
		return full, store.Invalid("Timeout %v is negative", full.Timeout)
	case full.Interval < 0:
		return full, store.Invalid("Interval %v is negative", full.Interval)
	}
	full.Concurrency = max(full.Concurrency, 1)
	if full.Prefetch == 0 {
		full.Prefetch = max(DefaultPrefetch, full.Concurrency)
	}
	full.Backoff, err = full.Backoff.WithDefaults()
	return full, err
}

// ended drops the error of a context that the caller ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// runner is a Run.
type runner struct {
	c       *Consumer
	o       RunOptions
	handler Handler

	mu   sync.Mutex
	next time.Time // when a handler may start, with Interval
}

// work handles deliveries, one at a time, until there are no more.
func (r *runner) work(ctx context.Context) error {
	for {
		d, err := r.c.Next(ctx)
		if err != nil {
			return err
		}
		if r.o.Interval > 0 && !pause(ctx, r.wait()) {
			return errors.Join(ctx.Err(), d.Return(context.WithoutCancel(ctx)))
		}
		err = r.settle(ctx, d, r.handle(ctx, d))
		if err != nil && !errors.Is(err, ErrSettled) && !errors.Is(err, ErrDeliveryLost) {
			return err
		}
	}
}

// wait reserves the next start and returns how far off it is.
func (r *runner) wait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.b.s.Now()
	if r.next.Before(now) {
		r.next = now
	}
	wait := r.next.Sub(now)
	r.next = r.next.Add(r.o.Interval)
	return wait
}

// pause reports false if ctx ends before the time is over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// handle calls the handler until it succeeds, as often as it may fail. Between the
// attempts it heeds the end of Run.
func (r *runner) handle(ctx context.Context, d *Delivery) error {
	running, lost := context.WithCancelCause(context.WithoutCancel(ctx))
	defer lost(nil)
	r.c.watch(d, func() { lost(fmt.Errorf("%w: queue %q", ErrDeliveryLost, d.Queue)) })
	for n := 1; ; n++ {
		err := r.attempt(running, d)
		if err == nil || n == r.o.Attempts || errors.Is(err, ErrReject) || running.Err() != nil {
			return err
		}
		if !pause(ctx, r.o.Backoff.Delay(n)) {
			return err
		}
	}
}

// attempt runs the handler once.
func (r *runner) attempt(ctx context.Context, d *Delivery) error {
	if r.o.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, r.o.Timeout)
		defer stop()
	}
	return attempt(ctx, r.handler, d)
}

// settle acknowledges a delivery, or gives it back.
func (r *runner) settle(ctx context.Context, d *Delivery, failure error) error {
	ctx = context.WithoutCancel(ctx)
	if failure == nil {
		return d.Ack(ctx)
	}
	r.c.b.s.Log().Warn("handler failed", "queue", d.Queue, "deliveries", d.DeliveryCount, "error", failure)
	return d.Nack(ctx, !errors.Is(failure, ErrReject))
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
