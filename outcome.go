package pebblemq

import (
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/worker"
)

// Unlimited is any number of attempts as the MaxAttempts of a Run, any time as its
// DrainTimeout, and as fast as the disk allows as the rate of a Verify.
const Unlimited = -1

// Limits of the options of Run in log, workqueue and visibility.
const (
	MaxConcurrency = 4096
	MaxAttempts    = 1_000_000
	MaxRate        = 1_000_000 // messages per second
	MaxBurst       = 100_000   // of a Rate
	MaxBatchSize   = 1000
	MaxBatchWait   = time.Hour
)

// HandlerGrace is how long a handler may go on after its context has ended. Then Run stops
// waiting for it: the call counts as ended, although it is still running.
const HandlerGrace = 5 * time.Second

// The literals are those of the worker. If two differ, an index is out of range.
var _ = [...]struct{}{
	[1]struct{}{}[MaxConcurrency-worker.MaxConcurrency],
	[1]struct{}{}[MaxAttempts-worker.MaxAttempts],
	[1]struct{}{}[MaxRate-worker.MaxRate],
	[1]struct{}{}[MaxBurst-worker.MaxBurst],
	[1]struct{}{}[MaxBatchSize-worker.MaxBatchSize],
	[1]struct{}{}[MaxBatchWait-worker.MaxBatchWait],
	[1]struct{}{}[HandlerGrace-worker.Grace],
}

// Errors of the Runs.
var (
	// ErrHandlerTimeout is the cause of the end of a handler's context after the Timeout of
	// its Run. A call that ends with an error then has failed with this one too.
	ErrHandlerTimeout error

	// ErrDrainTimeout is the cause of the end of a handler's context when its Run has ended
	// and the DrainTimeout is over.
	ErrDrainTimeout error

	// ErrAbandoned is returned by a Run that left handlers behind which were still running
	// HandlerGrace after the end of their context.
	ErrAbandoned error
)

// Stop is returned by a handler to end its Run with err. The message is given back and the
// attempt is not counted. Handlers under way are waited for.
func Stop(err error) error { return worker.StopWith(err) }

// Release is returned by a handler that wants its message handled again after a delay. The
// attempt is not counted, and nothing is logged.
func Release(delay time.Duration) error { return worker.ReleaseAfter(delay) }

// Reject is returned by a handler if another attempt is of no use. The message becomes a dead
// letter at once, with err as its last error.
func Reject(err error) error { return worker.RejectWith(err) }

// BatchError is returned by a handler of RunBatch if not all messages have the same outcome.
// It has an entry for each message of the batch, which is what a handler of that message
// alone would return. Entries may be of Release, Reject and Stop.
type BatchError []error

// Error returns how many messages failed, and the first error.
func (e BatchError) Error() string {
	failed := e.Unwrap()
	if len(failed) == 0 {
		return "no message of the batch failed"
	}
	return fmt.Sprintf("%d of %d messages of the batch failed, the first with: %v", len(failed), len(e), failed[0])
}

// Unwrap returns the errors that are not nil.
func (e BatchError) Unwrap() (failed []error) {
	for _, err := range e {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// Each returns the entries.
func (e BatchError) Each() []error { return e }

var _ worker.BatchError = BatchError(nil)
