package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/pebblemq/pebblemq/internal/store"
)

// Defaults and limits of Options.
const (
	DefaultMaxAttempts  = 20
	DefaultDrainTimeout = 30 * time.Second
	DefaultBatchSize    = 100
	DefaultBatchWait    = 10 * time.Millisecond

	MaxConcurrency = 4096
	MaxAttempts    = 1_000_000
	MaxRate        = 1_000_000 // per second
	MinRate        = 1.0 / (24 * 60 * 60)
	MaxBurst       = 100_000
	MaxBatchSize   = 1000
	MaxBatchWait   = time.Hour

	// Unlimited is any number of attempts, or any time to drain.
	Unlimited = -1

	// Grace is how long a handler may go on after its context has ended.
	Grace = 5 * time.Second
)

// Handler processes a message.
type Handler[M any] = func(ctx context.Context, m M) error

// BatchHandler processes messages. It returns nil, an error for all of them or a
// BatchError.
type BatchHandler[M any] = func(ctx context.Context, batch []M) error

// BatchError is an error for each message of a batch.
type BatchError interface {
	error
	Each() []error
}

// Rate is how many messages a second may be handled.
type Rate struct {
	PerSecond float64
	Burst     int
	PerKey    bool
}

// Kernel is what Run needs of a store.
type Kernel interface {
	Log() *slog.Logger
	Now() time.Time
	Down() <-chan struct{} // closed when the store stops
	Cause() error          // why it did
}

// Options say how to run a handler. The packages of the queues export the same fields.
type Options[M any] struct {
	Store Kernel
	Of    string // what Run is of, for errors: `queue "q"`

	Handler Handler[M]
	Batch   BatchHandler[M] // instead of Handler

	Concurrency  int
	MaxAttempts  int
	Backoff      func(attempts int) time.Duration
	Timeout      time.Duration
	DrainTimeout time.Duration
	Rate         Rate
	Key          func(M) string
	BatchSize    int
	BatchWait    time.Duration
	Middleware   []func(Handler[M]) Handler[M]
	OnError      func(ctx context.Context, m M, err error)

	// Trace, if set, begins to follow a step with messages of one source, which ends with the
	// function that it returns. Calls of the handler get its context.
	Trace func(ctx context.Context, s Step[M]) (context.Context, func(error))

	// Losing, if set, reports that a handler has failed only because its message is being
	// taken from Run. Hold ends the context soon, or the message stays after all.
	Losing func(m M, err error) bool

	// KeyIsSafe says that Key is not of the application, and never fails.
	KeyIsSafe bool
	// InPlace makes Run keep a message that is to be handled again, and its key, instead
	// of giving it back to the Source.
	InPlace bool
	// InFlight is how many messages of each Source may be fetched and not settled. Default:
	// as many as can be handled at once. With a Key it is 16 times as many, and at least
	// 1024, so that a key with many messages does not keep the others out.
	InFlight int
}

// The default InFlight of a Run with a Key.
const (
	keyedEach  = 16
	keyedLeast = 1024
)

// Normalize fills the defaults in and refuses what makes no sense.
func (o *Options[M]) Normalize() error {
	if err := o.check(); err != nil {
		return err
	}
	if err := o.checkRate(); err != nil {
		return err
	}
	if err := o.checkBatch(); err != nil {
		return err
	}
	defaults(&o.Concurrency, 1)
	defaults(&o.MaxAttempts, DefaultMaxAttempts)
	defaults(&o.DrainTimeout, DefaultDrainTimeout)
	defaults(&o.Rate.Burst, 1)
	if o.InFlight == 0 {
		o.InFlight = o.Concurrency * o.BatchSize
		if o.Key != nil {
			o.InFlight = max(o.InFlight*keyedEach, keyedLeast)
		}
	}
	return o.wrap()
}

func defaults[T comparable](field *T, standard T) {
	var zero T
	if *field == zero {
		*field = standard
	}
}

func (o *Options[M]) check() error {
	switch {
	case o.Handler == nil && o.Batch == nil:
		return store.Invalid("handler of %s is nil", o.Of)
	case o.Concurrency < 0 || o.Concurrency > MaxConcurrency:
		return store.Invalid("Concurrency %d of %s is not between 1 and %d", o.Concurrency, o.Of, MaxConcurrency)
	case o.MaxAttempts < Unlimited || o.MaxAttempts > MaxAttempts:
		return store.Invalid("MaxAttempts %d of %s is not between 1 and %d, or Unlimited", o.MaxAttempts, o.Of, MaxAttempts)
	case o.Timeout < 0:
		return store.Invalid("Timeout %v of %s is negative", o.Timeout, o.Of)
	case o.DrainTimeout < 0 && o.DrainTimeout != Unlimited:
		return store.Invalid("DrainTimeout %v of %s is negative and not Unlimited", o.DrainTimeout, o.Of)
	}
	return nil
}

func (o *Options[M]) checkRate() error {
	rate := o.Rate
	switch {
	case rate.PerSecond == 0 && rate != Rate{}:
		return store.Invalid("Rate of %s has a Burst or PerKey without PerSecond", o.Of)
	case rate.PerSecond != 0 && !(rate.PerSecond >= MinRate && rate.PerSecond <= MaxRate):
		return store.Invalid("Rate.PerSecond %v of %s is not between one a day and %d", rate.PerSecond, o.Of, MaxRate)
	case rate.Burst < 0 || rate.Burst > MaxBurst:
		return store.Invalid("Rate.Burst %d of %s is not between 1 and %d", rate.Burst, o.Of, MaxBurst)
	case rate.PerKey && o.Key == nil:
		return store.Invalid("Rate.PerKey of %s needs a Key", o.Of)
	case rate.PerKey && o.Batch != nil:
		return store.Invalid("Rate.PerKey of %s is not for batches, which have messages of several keys", o.Of)
	}
	return nil
}

func (o *Options[M]) checkBatch() error {
	switch {
	case o.Batch == nil && (o.BatchSize != 0 || o.BatchWait != 0):
		return store.Invalid("BatchSize and BatchWait of %s are for RunBatch", o.Of)
	case o.Batch != nil && len(o.Middleware) > 0:
		return store.Invalid("Middleware of %s is for Run: it wraps a handler of one message", o.Of)
	case o.BatchSize < 0 || o.BatchSize > MaxBatchSize:
		return store.Invalid("BatchSize %d of %s is not between 1 and %d", o.BatchSize, o.Of, MaxBatchSize)
	case o.BatchWait < 0 || o.BatchWait > MaxBatchWait:
		return store.Invalid("BatchWait %v of %s is not between 0 and %v", o.BatchWait, o.Of, MaxBatchWait)
	case o.Batch == nil:
		o.BatchSize = 1
	}
	defaults(&o.BatchSize, DefaultBatchSize)
	defaults(&o.BatchWait, DefaultBatchWait)
	return nil
}

// wrap puts the middleware around the handler. The first one is outermost.
func (o *Options[M]) wrap() error {
	for i := len(o.Middleware) - 1; i >= 0; i-- {
		if o.Middleware[i] == nil {
			return store.Invalid("Middleware %d of %s is nil", i, o.Of)
		}
		if o.Handler = o.Middleware[i](o.Handler); o.Handler == nil {
			return store.Invalid("Middleware %d of %s returns no handler", i, o.Of)
		}
	}
	return nil
}

// used reports whether a message may not be handled again.
func (o *Options[M]) used(attempts, limit int) bool {
	if limit > 0 && attempts >= limit {
		return true
	}
	return o.MaxAttempts != Unlimited && attempts >= o.MaxAttempts
}
