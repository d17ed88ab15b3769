package pebblemq

import (
	"fmt"
	"time"

	"github.com/pebblemq/pebblemq/internal/worker"
)

// Unlimited is any number of attempts as the MaxAttempts of a Run, any time as its
// DrainTimeout, and as fast as the disk allows as the rate of a Verify.
const Unlimited = -1

// Limits of the options of the Runs in log, workqueue and visibility.
const (
	MaxConcurrency = worker.MaxConcurrency
	MaxAttempts    = worker.MaxAttempts
	MaxRate        = worker.MaxRate  // a second
	MaxBurst       = worker.MaxBurst // of a Rate
	MaxBatchSize   = worker.MaxBatchSize
	MaxBatchWait   = worker.MaxBatchWait
)

// HandlerGrace is how long a handler of a Run may go on after its context has ended. Then
// the Run goes on without it: the call counts as ended, although it is still running.
const HandlerGrace = worker.Grace

// Errors of the Runs.
var (
	// ErrHandlerTimeout is the cause of the end of a handler's context after the Timeout of
	// its Run. A call that ends with an error then has failed with this one too.
	ErrHandlerTimeout = worker.ErrTimeout

	// ErrDrainTimeout is the cause of the end of a handler's context when its Run has ended
	// and the DrainTimeout is over.
	ErrDrainTimeout = worker.ErrDrainTimeout

	// ErrAbandoned is returned by a Run that left handlers behind which had not returned
	// HandlerGrace after the end of their context.
	ErrAbandoned = worker.ErrAbandoned
)

// Stop is returned by a handler to end its Run with err. The message is given back and the
// attempt is not counted. Handlers under way are waited for.
func Stop(err error) error { return worker.StopWith(err) }

// Release is returned by a handler to have its message handled again after a delay. The
// attempt is not counted, and nothing is logged.
func Release(delay time.Duration) error { return worker.ReleaseAfter(delay) }

// Reject is returned by a handler that knows that trying again is of no use: the message is
// a dead letter at once, with err as its last error.
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
