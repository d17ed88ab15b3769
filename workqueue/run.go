package workqueue

import (
	"context"
	"errors"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Handler processes a delivery. Its context has the values of the context of Run. It ends with
// ErrDeliveryLost as the cause when the delivery is lost, after the Timeout, when the store
// goes down, or when Run has ended and its DrainTimeout is over. The end of Run's context alone
// does not end it, so a handler can finish its work.
type Handler = func(ctx context.Context, d *Delivery) error

// BatchHandler is a Handler of several deliveries. It returns nil, an error for all of them
// or a pebblemq.BatchError.
type BatchHandler = func(ctx context.Context, batch []*Delivery) error

// Middleware wraps a Handler. Package pebblemq has some.
type Middleware = func(next Handler) Handler

// RunOptions say how to run a handler. Nil is the defaults.
type RunOptions struct {
	// Concurrency is how many handlers run at a time. Default: 1.
	Concurrency int

	// MaxAttempts is how often a message is handled before it is a dead letter, or
	// pebblemq.Unlimited. The DeliveryLimit of the queue counts as well. Default: 20.
	MaxAttempts int

	// Backoff is how long a message waits after a failure, by the number of its failures,
	// before it goes to the tail of its queue. The Retry of the queue counts instead, if it
	// has one. Default: from 100 ms up to a minute.
	Backoff pebblemq.Backoff

	// Timeout ends the context of a call that takes longer. The call has failed then, unless
	// the handler returns nil. The AckTimeout of the queue begins when it is over. Default:
	// none.
	Timeout time.Duration

	// DrainTimeout is how long handlers may go on after the end of Run's context. Then
	// their contexts end, and their messages go back. pebblemq.Unlimited waits for as long
	// as they take. Default: 30 s.
	DrainTimeout time.Duration

	// Rate limits how many messages are handled. Default: no limit.
	Rate pebblemq.Rate

	// Key, if set, returns what a message is about. Messages with equal keys are handled
	// one after the other, in the order in which they were delivered. One that fails keeps
	// its key and is handled again before the others: then attempts are not counted as
	// deliveries. "" is no key. Key must be quick.
	Key func(*Delivery) string

	// BatchSize is how many messages RunBatch handles at a time, and BatchWait how long it
	// waits for them after the first one. Defaults: 100 and 10 ms.
	BatchSize int
	BatchWait time.Duration

	// Middleware is put around the handler of Run. The first one is outermost.
	Middleware []Middleware

	// OnError is called after each failure of a handler. It must be quick.
	OnError func(ctx context.Context, d *Delivery, err error)

	// Prefetch is as in ConsumeOptions. Default: the larger of DefaultPrefetch and what can
	// be handled at once. With a Key it is at least 1024, so that a key with many messages
	// does not keep the others out.
	Prefetch int
	// Priority is that of the consumer; see ConsumeOptions.
	Priority int
}

// Run consumes the queue and calls the handler for each delivery, until ctx ends. Then it
// waits for the handlers under way, gives the other messages back, uncounted, and returns
// nil. Nothing else ends it but the store, the deletion of the queue, and pebblemq.Stop
// returned by a handler: then Run returns the error. Messages are settled with the durability
// of ctx, NoSync by default. If the disk does not confirm an outcome within a second after
// the end of ctx, or of a handler that went on longer, Run returns ErrUnknownOutcome.
//
// If the handler returns nil, the message is acknowledged, unless the handler has settled it
// itself, for instance in its transaction. A handler that returns an error, panics or calls
// runtime.Goexit has failed. Its message is delivered again after the Backoff. After
// MaxAttempts, or the DeliveryLimit of the queue, it is a dead letter with its last error; see
// QueueConfig.DeadLetter. If the place of its dead letters cannot be reached, the message is
// delivered again. Each failure is logged.
//
// With pebblemq.Release the handler has the message again later, uncounted, and with
// pebblemq.Reject it is a dead letter at once.
func (q *Queue) Run(ctx context.Context, h Handler, o *RunOptions) error {
	return q.run(ctx, h, nil, o)
}

// RunBatch is Run with several deliveries in each call of the handler. Those that it has
// processed are acknowledged in one commit.
func (q *Queue) RunBatch(ctx context.Context, h BatchHandler, o *RunOptions) error {
	return q.run(ctx, nil, h, o)
}

// mostInFlight is how many messages Run has at most; its consumer may have more.
const mostInFlight = 64 << 10

func (q *Queue) run(ctx context.Context, h Handler, batch BatchHandler, o *RunOptions) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	if o == nil {
		o = &RunOptions{}
	}
	work, err := o.worker(ctx, q)
	if err != nil {
		return ended(ctx, err)
	}
	work.Handler, work.Batch, work.Trace = h, batch, traceWork(q.queue)
	if err := work.Normalize(); err != nil {
		return err
	}
	prefetch := o.Prefetch
	if prefetch == 0 {
		prefetch = max(DefaultPrefetch, work.InFlight)
	}
	// Run takes at once what the consumer has: to fetch each message when a handler is free
	// would cost it a change of goroutines.
	work.InFlight = mostInFlight
	if prefetch > 0 {
		work.InFlight = min(prefetch, mostInFlight)
	}
	// With Sync it would wait for the changes of others, which fails on a full disk.
	c, err := q.consume(store.WithDurability(ctx, store.NoSync), &ConsumeOptions{Prefetch: prefetch, Priority: o.Priority}, true)
	if err != nil {
		return ended(ctx, err)
	}
	source, stop := newSource(ctx, c, &work)
	defer stop()
	err = worker.Run(ctx, work, worker.Source[*Delivery](source))
	return errors.Join(err, ended(ctx, c.close(ctx)))
}

// worker returns the options that all queues have.
func (o *RunOptions) worker(ctx context.Context, q *Queue) (worker.Options[*Delivery], error) {
	backoff, err := o.Backoff.WithDefaults()
	if err == nil {
		backoff, err = q.retry(ctx, backoff)
	}
	return worker.Options[*Delivery]{
		Store: q.b.s, Of: namedQueue(q.Name()),
		Concurrency: o.Concurrency, MaxAttempts: o.MaxAttempts, Backoff: backoff.Delay, Timeout: o.Timeout,
		DrainTimeout: o.DrainTimeout, Rate: worker.Rate(o.Rate), Key: o.Key, InPlace: o.Key != nil,
		BatchSize: o.BatchSize, BatchWait: o.BatchWait, Middleware: o.Middleware, OnError: o.OnError,
	}, err
}

// retry returns the Retry of the queue, or otherwise.
func (q *Queue) retry(ctx context.Context, otherwise pebblemq.Backoff) (b pebblemq.Backoff, err error) {
	b = otherwise
	err = q.b.s.Do(ctx, store.QuietFunc(func(*store.Turn) error {
		if err := q.usable(); err != nil {
			return err
		}
		if retry := q.queue.config.Retry; retry != nil {
			b = *retry
		}
		return nil
	}), store.NoSync)
	return b, err
}

// ended drops the error of a context that the caller ended, unless the outcome of
// something is unknown.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, store.ErrUnknownOutcome) {
		return nil
	}
	return err
}
