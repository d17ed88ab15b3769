package visibility

import (
	"context"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/store"
	"github.com/pebblemq/pebblemq/internal/worker"
)

// Handler processes a message. Its context has the values of the context of Run. It ends with
// ErrLeaseLost as the cause when the lease on the message is lost. It also ends after the
// Timeout, when the store goes down, and when Run has ended and its DrainTimeout is over. The
// end of Run's context alone does not end it, so a handler can finish its work.
type Handler = func(ctx context.Context, m *Received) error

// BatchHandler is a Handler of several messages. It returns nil, an error for all of them
// or a pebblemq.BatchError.
type BatchHandler = func(ctx context.Context, batch []*Received) error

// Middleware wraps a Handler. Package pebblemq has some.
type Middleware = func(next Handler) Handler

// RunOptions say how to run a handler. Nil is the defaults.
type RunOptions struct {
	// Concurrency is how many handlers run at a time. Default: 1.
	Concurrency int

	// MaxAttempts is how often a message is handled before it is a dead letter, or
	// pebblemq.Unlimited. The MaxReceives of the queue counts as well. Default: 20.
	MaxAttempts int

	// Backoff is how long a message waits after a failure, by the number of its failures.
	// It is hidden for that time, but not beyond the MaxVisibilityTimeout of the queue
	// after its receive. In a FIFO queue its group waits. Default: from 100 ms up to a
	// minute.
	Backoff pebblemq.Backoff

	// Timeout ends the context of a call that takes longer. The call has failed then, unless
	// the handler returns nil. Default: none.
	Timeout time.Duration

	// DrainTimeout is how long handlers may go on after the end of Run's context. Then
	// their contexts end, and their messages are released. pebblemq.Unlimited waits for
	// as long as they take. Default: 30 s.
	DrainTimeout time.Duration

	// Rate limits how many messages are handled. Default: no limit.
	Rate pebblemq.Rate

	// Key, if set, returns what a message is about. Messages with equal keys are handled
	// one after the other, in the order in which they were received. One that fails keeps
	// its key and is handled again before the others: then attempts are not counted as
	// receives. "" is no key. Key must be quick. Default: none, and for RunBatch of a FIFO
	// queue the group.
	Key func(*Received) string

	// BatchSize is how many messages RunBatch handles at a time, and BatchWait how long it
	// waits for them after the first one. Defaults: 100 and 10 ms.
	BatchSize int
	BatchWait time.Duration

	// Middleware is put around the handler of Run. The first one is outermost.
	Middleware []Middleware

	// OnError is called after each failure of a handler. It must be quick.
	OnError func(ctx context.Context, m *Received, err error)

	// DropDead deletes a message that has failed for good if the queue has no
	// DeadLetterQueue. Default: false, it goes to the queue NAME.dead.
	DropDead bool

	// VisibilityTimeout is how long a message stays hidden if the process dies. It is
	// extended each third of it while Run has the message, so it need not be longer than
	// the handler takes. At least MinRunVisibility. Default: that of the queue.
	VisibilityTimeout time.Duration
}

// MinRunVisibility is the least visibility timeout for Run.
const MinRunVisibility = 10 * time.Millisecond

// Run receives messages and calls the handler for each, until ctx ends. Then it waits for
// the handlers under way, releases the other messages, and returns nil. Nothing else ends
// it but the store, the deletion of the queue, and pebblemq.Stop returned by a handler:
// then Run returns the error. Messages are settled with the durability of ctx, NoSync by
// default. If the disk does not confirm an outcome within a second after the end of ctx,
// or of a handler that went on longer, Run returns ErrUnknownOutcome.
//
// If the handler returns nil, the message is deleted, unless the handler has released it
// itself. The handler may delete it itself, best in an Update along with its effects. A handler
// that returns an error, panics or calls runtime.Goexit has failed. Its message is received
// again after the Backoff. After MaxAttempts, or the MaxReceives of the queue, the message
// becomes a dead letter with its last error. It goes to the DeadLetterQueue, or to the queue
// NAME.dead. Run creates that one when it is needed, and it keeps messages for 14 days. Each
// failure is logged.
//
// In a FIFO queue the messages of a group are handled one after the other, whatever the
// Concurrency, and one that has failed before those behind it.
//
// With pebblemq.Release the handler has the message again later, uncounted, and with
// pebblemq.Reject it is a dead letter at once. With ErrKeep it stays in flight.
func (q *Queue) Run(ctx context.Context, h Handler, o *RunOptions) error {
	return q.run(ctx, h, nil, o)
}

// RunBatch is Run with several messages in each call of the handler. Those that it has
// processed are deleted in one commit.
func (q *Queue) RunBatch(ctx context.Context, h BatchHandler, o *RunOptions) error {
	return q.run(ctx, nil, h, o)
}

func (q *Queue) run(ctx context.Context, h Handler, batch BatchHandler, o *RunOptions) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	if o == nil {
		o = &RunOptions{}
	}
	source, err := q.newSource(o)
	if err != nil {
		return err
	}
	work, err := o.worker(q)
	if err != nil {
		return err
	}
	work.Handler, work.Batch, work.Trace = h, batch, traceWork(q)
	q.keepOrder(source, &work)
	if err := work.Normalize(); err != nil {
		return err
	}
	return worker.Run(ctx, work, worker.Source[*Received](source))
}

// keepOrder has the messages of a group of a FIFO queue handled one after the other. A call with a
// batch may have several of them, and those that it fails with are handled again before the others.
func (q *Queue) keepOrder(s *source, work *worker.Options[*Received]) {
	switch {
	case !q.config().FIFO:
	case work.Batch == nil:
		s.apart = true
	case work.Key == nil:
		work.Key, work.KeyIsSafe, work.InPlace = func(m *Received) string { return m.Group }, true, true
	}
}

// worker returns the options that all queues have.
func (o *RunOptions) worker(q *Queue) (worker.Options[*Received], error) {
	backoff, err := o.Backoff.WithDefaults()
	return worker.Options[*Received]{
		Store: q.s, Of: named(q.name),
		Concurrency: o.Concurrency, MaxAttempts: o.MaxAttempts, Backoff: backoff.Delay, Timeout: o.Timeout,
		DrainTimeout: o.DrainTimeout, Rate: worker.Rate(o.Rate), Key: o.Key, InPlace: o.Key != nil,
		BatchSize: o.BatchSize, BatchWait: o.BatchWait, Middleware: o.Middleware, OnError: o.OnError,
	}, err
}
