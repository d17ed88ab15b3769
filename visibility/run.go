package visibility

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/internal/spool"
	"github.com/pebblemq/pebblemq/internal/store"
)

// Handler processes a message. Its context ends when the lease on the message
// is lost, with ErrLeaseLost as the cause, or the store goes down; not when the
// context of Run does, so that what has begun can be finished.
type Handler func(ctx context.Context, m *Received) error

// RunOptions say how to run a handler. Nil is the defaults.
type RunOptions struct {
	// Concurrency is how many messages are handled at a time. Default: 1.
	Concurrency int

	// VisibilityTimeout is how long a message stays hidden if the process
	// dies. While the handler runs it is extended each third of it, so it
	// need not be longer than the handler takes. At least
	// MinRunVisibility. Default: that of the queue.
	VisibilityTimeout time.Duration

	// Backoff is how long a message stays hidden whose handler has failed, by the
	// number of its receives, but not beyond the MaxVisibilityTimeout of the queue
	// after its receive. In a FIFO queue its group waits.
	Backoff pebblemq.Backoff
}

// Limits of RunOptions.
const (
	MinRunVisibility  = 10 * time.Millisecond
	MaxRunConcurrency = 10_000
)

// Run receives messages and calls the handler for each, until ctx ends; then it
// waits for the handlers under way and returns nil. If the store is closed or
// fails, or the queue is deleted, it returns why. Handlers get the values of ctx. Their
// messages are settled with the durability of ctx, NoSync by default. If the disk does
// not confirm the outcome of a message within a second after the end of ctx, or of a
// handler that went on longer, Run returns ErrUnknownOutcome.
//
// A message whose handler returns nil is deleted, unless the handler has
// released it itself; that it has deleted it itself, best in an Update along
// with its effects, is fine. A handler that returns an error, panics or calls
// runtime.Goexit has failed. Its message is visible again after the Backoff and is
// received again, up to the MaxReceives of the queue; after the last receive it becomes
// a dead letter at once. A handler that wants another pause changes the visibility and
// returns ErrKeep.
func (q *Queue) Run(ctx context.Context, h Handler, o *RunOptions) error {
	if err := store.CheckContext(ctx); err != nil {
		return err
	}
	r, err := q.newRunner(h, o)
	if err != nil {
		return err
	}
	// One worker that fails, because the store or the queue is gone, stops
	// the others.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, r.concurrency)
	var wg sync.WaitGroup
	for i := range r.concurrency {
		wg.Go(func() {
			if errs[i] = r.work(ctx); errs[i] != nil {
				stop()
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// ErrKeep is returned by a handler of Run that wants its message neither deleted
// nor released: it stays hidden until its visibility timeout ends.
var ErrKeep = errors.New("visibility: keep the message in flight")

// runner is a Run under way.
type runner struct {
	q           *Queue
	handler     Handler
	concurrency int
	timeout     time.Duration // 0 is that of the queue
	backoff     pebblemq.Backoff
}

func (q *Queue) newRunner(h Handler, o *RunOptions) (*runner, error) {
	r := &runner{q: q, handler: h, concurrency: 1}
	if o != nil && o.Concurrency != 0 {
		r.concurrency = o.Concurrency
	}
	config := q.config()
	timeout := config.VisibilityTimeout
	if o != nil && o.VisibilityTimeout != 0 {
		timeout, r.timeout = o.VisibilityTimeout, o.VisibilityTimeout
	}
	switch {
	case h == nil:
		return nil, store.Invalid("handler is nil")
	case r.concurrency < 0 || r.concurrency > MaxRunConcurrency:
		return nil, store.Invalid("Concurrency %d is not between 0 and %d", r.concurrency, MaxRunConcurrency)
	case timeout < MinRunVisibility:
		return nil, store.Invalid("visibility timeout %v for Run is below %v", timeout, MinRunVisibility)
	}
	if err := config.checkVisibility(timeout); err != nil {
		return nil, err
	}
	if o != nil {
		r.backoff = o.Backoff
	}
	var err error
	r.backoff, err = r.backoff.WithDefaults()
	return r, err
}

// work handles one message after the other until ctx ends.
func (r *runner) work(ctx context.Context) error {
	for {
		timeout := r.lease()
		messages, err := r.q.Receive(ctx, &ReceiveOptions{VisibilityTimeout: &timeout, Wait: math.MaxInt64})
		for _, m := range messages {
			if err := r.handle(ctx, m, timeout); err != nil {
				return ended(ctx, err)
			}
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		case store.IsUnread(err): // of some messages, and it was logged
		default:
			return err
		}
	}
}

// ended drops the error of a context that has ended, unless the outcome of something is
// unknown.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) && !errors.Is(err, store.ErrUnknownOutcome) {
		return nil
	}
	return err
}

// lease returns for how long to receive a message, as the queue may have been altered.
func (r *runner) lease() time.Duration {
	c := r.q.config()
	timeout := r.timeout
	if timeout == 0 {
		timeout = max(c.VisibilityTimeout, MinRunVisibility)
	}
	return min(timeout, c.MaxVisibilityTimeout)
}

// handle takes care of one message, the end of it included. It returns an error
// only if there is no going on. The end of Run's context does not end what has begun.
func (r *runner) handle(ctx context.Context, m *Received, timeout time.Duration) error {
	held, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		r.beat(held, m, timeout, cancel)
	}()
	failure := store.Call("handler", func() error { return r.handler(held, m) })
	cancel(nil)
	<-beating
	return r.finish(ctx, m, failure)
}

// finish settles a message as the handler wants it.
func (r *runner) finish(ctx context.Context, m *Received, failure error) error {
	d, err := r.q.open(m.Receipt)
	if err != nil {
		return err
	}
	ctx, stop := store.Outlive(ctx)
	defer stop()
	switch {
	case errors.Is(failure, ErrKeep):
		return nil
	case failure == nil:
		err = r.q.s.Do(ctx, &deleteOp{q: r.q, delivery: d, sparing: true}, store.NoSync)
	default:
		r.q.s.Log().Warn("handler failed", "queue", r.q.name, "id", m.ID, "receives", m.ReceiveCount, "error", failure)
		op := &failOp{changeOp{q: r.q, delivery: d, d: r.pause(m), failure: note(failure)}}
		err = r.q.s.Do(ctx, op, store.NoSync)
	}
	if errors.Is(err, ErrStaleReceipt) || errors.Is(err, ErrNotInFlight) || errors.Is(err, ErrExpired) {
		return nil // someone else has it by now, or nobody, or the handler saw to it
	}
	return err
}

// pause returns how long a message stays hidden whose handler has failed.
func (r *runner) pause(m *Received) time.Duration {
	if most := r.q.config().MaxReceives; most > 0 && m.ReceiveCount >= most {
		return 0
	}
	return r.backoff.Delay(m.ReceiveCount)
}

// maxNote is how much of an error is kept, in bytes.
const maxNote = 1 << 10

// note is an error as it is kept with its message.
func note(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote], "")
	}
	return text
}

// beat keeps the lease on a message while its handler runs, and ends the
// handler's context if that does not work out.
func (r *runner) beat(ctx context.Context, m *Received, timeout time.Duration, cancel context.CancelCauseFunc) {
	d, err := r.q.open(m.Receipt)
	if err != nil {
		cancel(err)
		return
	}
	every := time.NewTicker(max(timeout/3, 1))
	defer every.Stop()
	end := time.NewTimer(time.Until(m.ExpiresAt)) // at which it is gone
	defer end.Stop()
	unsynced := store.WithDurability(ctx, store.NoSync) // a crash may end a lease early anyway
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.q.s.Down():
			cancel(r.q.s.Cause())
			return
		case <-every.C:
		case <-end.C:
			end.Reset(time.Until(time.Unix(0, d.born).Add(r.q.config().Retention)))
		}
		err := r.q.s.Do(unsynced, &beatOp{changeOp{q: r.q, delivery: d, d: timeout}}, store.NoSync)
		switch {
		case err == nil || errors.Is(err, store.ErrDiskFull):
		case errors.Is(err, errSettled):
			return
		default:
			cancel(fmt.Errorf("%w: %w", ErrLeaseLost, err))
			return
		}
	}
}

// failOp is a changeOp that ends in time, even if the handler took all of it.
type failOp struct{ changeOp }

func (o *failOp) Run(t *store.Turn) error {
	o.d = max(min(o.d, o.left(t)), 0)
	return o.changeOp.Run(t)
}

// beatOp is a changeOp that never shortens the timeout, which the handler may
// have set itself.
type beatOp struct{ changeOp }

// errSettled tells a message that the handler has settled from one that was
// taken from it.
var errSettled = errors.New("visibility: settled by the handler")

func (o *beatOp) Run(t *store.Turn) error {
	m, err := o.q.find(t, o.delivery)
	if err != nil {
		return err
	}
	if m == nil || m.Holder() == released {
		return errSettled
	}
	if m.Taken() {
		if o.d = max(min(o.d, o.left(t)), 1); m.Until >= spool.At(t.Now().Add(o.d)) {
			return nil
		}
	}
	return o.changeOp.Run(t)
}
