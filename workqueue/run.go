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

	// Timeout ends the context of a handler that takes longer; the AckTimeout of the
	// queue begins then. Default: none but the AckTimeout, which begins with each
	// attempt and which a handler may Extend.
	Timeout time.Duration
	// Attempts is how often a delivery is handled in place before it is given back
	// or rejected. Default 1.
	Attempts int
	// Backoff is the pause between them. In a queue without a Retry it is also how
	// long a message waits whose delivery has failed, by the number of its deliveries,
	// before it goes to the tail: the defaults make about five minutes of the default
	// DeliveryLimit. A handler that wants its message back at once, and at its old
	// place, gives it back itself, with Nack.
	Backoff pebblemq.Backoff

	// Interval limits the rate: one handler may start each Interval, for all of this
	// Run, and Burst of them at once after a quiet time. A rate of n a second is an
	// Interval of time.Second / n. Default: no limit; Burst 1.
	Interval time.Duration
	Burst    int

	// Key, if set, says what a delivery is about: at most KeyConcurrency handlers run
	// at a time for one key, and begin in the order of delivery. What has to wait for
	// its key holds up no others and does not use up the Prefetch, unless ten thousand
	// deliveries or 32 MiB of bodies wait; given back, it does not count as delivered,
	// and its AckTimeout begins when it is handled. No key, "", is no limit. Key must
	// be quick. KeyConcurrency is 1 by default.
	Key            func(*Delivery) string
	KeyConcurrency int

	// DrainTimeout is how long handlers may go on after the end of Run's context. Then
	// their deliveries go back to the queue and their contexts end, as if the deliveries
	// were lost. Run waits for the handlers to return even so. Default: as long as it
	// takes.
	DrainTimeout time.Duration
}

// Bounds of RunOptions.
const (
	MaxConcurrency = 10_000
	MaxAttempts    = 1000
	MaxInterval    = 24 * time.Hour
	MaxBurst       = 100_000
)

// ErrReject is to be returned, or wrapped, by a handler of Run that knows that trying
// again is of no use: the delivery is rejected at once.
var ErrReject = errors.New("workqueue: reject the delivery")

// Handler handles a delivery.
type Handler = func(context.Context, *Delivery) error

// Run calls handler for each delivery of the queue until ctx ends. When the
// handler returns nil the delivery is acknowledged, unless the handler has
// settled it itself, for instance in its transaction. A handler that returns an error,
// panics or calls runtime.Goexit has failed. It is called again, Attempts times in all.
// Then the message is requeued after a pause, which the Retry of the queue or else the
// Backoff says. Over the queue's DeliveryLimit, or at once with ErrReject, it goes to
// the dead letter place, and is dropped if there is none. If the place cannot be
// reached, the message is requeued. The context of a handler ends when its delivery is
// lost: its queue was deleted, or it took longer than the queue's AckTimeout.
//
// When ctx ends no new handler is started; those that run may finish (their
// context goes on, up to DrainTimeout), the rest goes back to the queue without being
// counted, and Run returns nil. If the disk does not confirm the outcome of a delivery
// within a second after the end of ctx, or of a handler that went on longer, Run returns
// ErrUnknownOutcome. Other errors end it as well: that of the store when it is closed or
// fails, and ErrQueueDeleted.
func (q *Queue) Run(ctx context.Context, handler func(context.Context, *Delivery) error, o *RunOptions) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	if handler == nil {
		return store.Invalid("handler of queue %q is nil", q.Name())
	}
	full, err := o.normalize()
	if err != nil {
		return err
	}
	c, err := q.Consume(ctx, &ConsumeOptions{Prefetch: full.Prefetch, Priority: full.Priority})
	if err != nil {
		return ended(ctx, err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := newRunner(ctx, c, full, handler)
	errs := make([]error, full.Concurrency)
	var workers, drain sync.WaitGroup
	through := make(chan struct{})
	drain.Go(func() { r.limitDrain(ctx, through) })
	for i := range errs {
		workers.Go(func() {
			if errs[i] = ended(ctx, r.work(ctx)); errs[i] != nil {
				stop() // the others, too: none of them is to go on alone
			}
		})
	}
	workers.Wait()
	close(through)
	drain.Wait()
	for _, err := range errs {
		if err != nil {
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
	case full.Interval < 0 || full.Interval > MaxInterval:
		return full, store.Invalid("Interval %v is not between 0 and %v", full.Interval, MaxInterval)
	case full.Burst < 0 || full.Burst > MaxBurst:
		return full, store.Invalid("Burst %d is not between 1 and %d", full.Burst, MaxBurst)
	case full.Burst > 0 && full.Interval == 0:
		return full, store.Invalid("Burst %d without an Interval", full.Burst)
	case full.KeyConcurrency < 0 || full.KeyConcurrency > MaxConcurrency:
		return full, store.Invalid("KeyConcurrency %d is not between 1 and %d", full.KeyConcurrency, MaxConcurrency)
	case full.KeyConcurrency > 0 && full.Key == nil:
		return full, store.Invalid("KeyConcurrency %d without a Key", full.KeyConcurrency)
	case full.DrainTimeout < 0:
		return full, store.Invalid("DrainTimeout %v is negative", full.DrainTimeout)
	}
	full.KeyConcurrency, full.Burst = max(full.KeyConcurrency, 1), max(full.Burst, 1)
	full.Concurrency = max(full.Concurrency, 1)
	if full.Prefetch == 0 {
		full.Prefetch = max(DefaultPrefetch, full.Concurrency)
	}
	full.Backoff, err = full.Backoff.WithDefaults()
	return full, err
}

// ended drops the error of a context that the caller ended, unless the outcome of
// something is unknown.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, store.ErrUnknownOutcome) {
		return nil
	}
	return err
}

// runner is a Run.
type runner struct {
	c       *Consumer
	o       RunOptions
	handler Handler
	keys    *keys           // nil without Key
	relaxed context.Context // for what writes nothing

	mu   sync.Mutex
	next time.Time // when a handler may start, with Interval
}

func newRunner(ctx context.Context, c *Consumer, o RunOptions, h Handler) *runner {
	r := &runner{c: c, o: o, handler: h, relaxed: store.WithDurability(context.WithoutCancel(ctx), store.NoSync)}
	if o.Key != nil {
		r.keys = newKeys(o.Key, o.KeyConcurrency)
	}
	return r
}

// limitDrain gives back what is still being handled some time after the end of Run.
func (r *runner) limitDrain(ctx context.Context, through <-chan struct{}) {
	if r.o.DrainTimeout == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-through:
		return
	}
	limit := time.NewTimer(r.o.DrainTimeout)
	defer limit.Stop()
	select {
	case <-limit.C:
		_ = r.c.Close() // Run closes it again and returns the error
	case <-through:
	}
}

// work handles deliveries, one at a time, until there are no more.
func (r *runner) work(ctx context.Context) error {
	for {
		d, key, err := r.take(ctx)
		for err == nil && d != nil {
			err = r.serve(ctx, d)
			d = r.after(key)
		}
		if err != nil {
			return err
		}
	}
}

// serve handles and settles one delivery when its turn has come. It returns an error
// if there is no going on.
func (r *runner) serve(ctx context.Context, d *Delivery) error {
	if !pause(ctx, r.wait()) {
		late, stop := store.Outlive(ctx)
		defer stop()
		return errors.Join(ctx.Err(), d.Return(late))
	}
	failure, err := r.handle(ctx, d)
	if err == nil {
		err = r.settle(ctx, d, failure)
	}
	if passing(err) {
		return nil
	}
	return err
}

// wait reserves the next start and returns how far off it is.
func (r *runner) wait() time.Duration {
	if r.o.Interval == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.b.s.Now()
	if saved := now.Add(-time.Duration(r.o.Burst-1) * r.o.Interval); r.next.Before(saved) {
		r.next = saved
	}
	wait := r.next.Sub(now)
	r.next = r.next.Add(r.o.Interval)
	return wait
}

// pause reports false if ctx ends before the time is over.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
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
// attempts it heeds the end of Run. With err the delivery was lost, or settled by its
// handler, before an attempt.
func (r *runner) handle(ctx context.Context, d *Delivery) (failure, err error) {
	running, lost := context.WithCancelCause(context.WithoutCancel(ctx))
	defer lost(nil)
	r.c.watch(d, func() { lost(fmt.Errorf("%w: queue %q", ErrDeliveryLost, d.Queue)) })
	for n := 1; ; n++ {
		if err := d.extend(r.relaxed, r.o.Timeout); err != nil {
			return nil, err
		}
		failure := r.attempt(running, d)
		if failure == nil || n == r.o.Attempts || errors.Is(failure, ErrReject) || running.Err() != nil {
			return failure, nil
		}
		if !pause(ctx, r.o.Backoff.Delay(n)) {
			return failure, nil
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
	return store.Call("handler", func() error { return r.handler(ctx, d) })
}

// settle acknowledges a delivery, or gives it back.
func (r *runner) settle(ctx context.Context, d *Delivery, failure error) error {
	ctx, stop := store.Outlive(ctx)
	defer stop()
	if failure == nil {
		return d.Ack(ctx)
	}
	r.c.b.s.Log().Warn("handler failed", "queue", d.Queue, "deliveries", d.DeliveryCount, "error", failure)
	if errors.Is(failure, ErrReject) {
		err := d.Reject(ctx)
		if err == nil || passing(err) || r.c.b.s.Cause() != nil || ctx.Err() != nil {
			return err
		}
		r.c.b.s.Log().Warn("rejected message has no dead letter place now and comes back", "queue", d.Queue, "error", err)
	}
	return r.c.b.s.Do(ctx, &nackOp{d: d, backoff: &r.o.Backoff}, store.NoSync)
}
