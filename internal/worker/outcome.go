package worker

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Verdict is what becomes of a message.
type Verdict uint8

// The verdicts.
const (
	Done    Verdict = iota // the handler has processed it
	Retry                  // it failed and is handled again after Delay
	Release                // it is given back after Delay, and nothing is counted
	Dead                   // it failed for good
	Leave                  // the handler wants it left as it is; Settle is not called
)

// Outcome is what a call means for a message.
type Outcome struct {
	Verdict  Verdict
	Delay    time.Duration // of Retry and Release
	Attempts int           // that have failed, of Retry and Dead
	Rejected bool          // the handler has asked for Dead
	Err      error         // of the last attempt, of Retry and Dead
}

// losingPause is how long a message waits that is being taken from Run.
const losingPause = 10 * time.Millisecond

// maxNote is how much of an error is kept, in bytes.
const maxNote = 1 << 10

// Note is Err as it is kept with a message, "" if there is none.
func (o Outcome) Note() string {
	if o.Err == nil {
		return ""
	}
	text := strings.ToValidUTF8(o.Err.Error(), "\uFFFD")
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote], "")
	}
	return text
}

// A message that has failed for good, and has no other place, goes to a queue or topic whose
// name ends in DeadSuffix. It is kept there for DeadRetention.
const (
	DeadSuffix    = ".dead"
	DeadRetention = 14 * 24 * time.Hour
)

// ErrLeave is returned by a handler that wants its message left as it is.
var ErrLeave = errors.New("the message is left as it is")

// errStopped is what Stop(nil) ends Run with.
var errStopped = errors.New("pebblemq: the handler has stopped Run")

type stopError struct{ err error }

func (e *stopError) Error() string { return fmt.Sprintf("stop: %v", e.err) }
func (e *stopError) Unwrap() error { return e.err }

// StopWith makes Run end with err.
func StopWith(err error) error {
	if err == nil {
		err = errStopped
	}
	return &stopError{err}
}

type releaseError struct{ delay time.Duration }

func (e *releaseError) Error() string { return fmt.Sprintf("released for %v", e.delay) }

// ReleaseAfter makes Run give the message back, uncounted.
func ReleaseAfter(delay time.Duration) error { return &releaseError{max(delay, 0)} }

type rejectError struct{ err error }

func (e *rejectError) Error() string {
	if e.err == nil {
		return "rejected"
	}
	return e.err.Error()
}
func (e *rejectError) Unwrap() error { return e.err }

// RejectWith makes Run treat the message as failed for good.
func RejectWith(err error) error { return &rejectError{err} }

// judge returns what the end of a call means for a task. Cause is why the context of the
// call has ended, if it has.
func (r *run[M]) judge(t *task[M], err, cause error) Outcome {
	if err == nil {
		return Outcome{Verdict: Done}
	}
	return r.judgeError(t, err, cause)
}

func (r *run[M]) judgeError(t *task[M], err, cause error) Outcome {
	var release *releaseError
	var reject *rejectError
	switch {
	case errors.Is(err, ErrLeave):
		return Outcome{Verdict: Leave}
	case r.stopped(err):
		return Outcome{Verdict: Release}
	case errors.As(err, &release):
		return Outcome{Verdict: Release, Delay: release.delay}
	case errors.As(err, &reject):
		return Outcome{Verdict: Dead, Attempts: t.attempts() + 1, Rejected: true, Err: err}
	case r.o.Losing != nil && r.o.Losing(t.item.Message, err):
		return Outcome{Verdict: Release, Delay: losingPause}
	case cause != nil && !errors.Is(cause, ErrTimeout):
		return Outcome{Verdict: Release} // a call that Run has ended is not the message's fault
	case cause != nil && !errors.Is(err, ErrTimeout):
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return r.failure(t, err)
}

// failure returns what a failed attempt means.
func (r *run[M]) failure(t *task[M], err error) Outcome {
	o := Outcome{Verdict: Retry, Attempts: t.attempts() + 1, Err: err}
	if r.o.used(o.Attempts, t.item.MaxAttempts) {
		o.Verdict = Dead
		return o
	}
	o.Delay = r.o.Backoff(o.Attempts)
	return o
}

// stopped ends Run if the handler has returned Stop.
func (r *run[M]) stopped(err error) bool {
	var stop *stopError
	if !errors.As(err, &stop) {
		return false
	}
	r.fail(stop.err)
	return true
}

// report tells of a failure, once.
func (r *run[M]) report(t *task[M], o Outcome) {
	if o.Verdict != Retry && o.Verdict != Dead {
		return
	}
	attrs := append(t.source.Attrs(t.item.Message), "attempt", o.Attempts, "error", o.Err)
	if o.Verdict == Dead {
		r.o.Store.Log().Warn("handler failed for good", attrs...)
	} else {
		r.o.Store.Log().Warn("handler failed", append(attrs, "retry_in", o.Delay)...)
	}
	r.tell(t, o)
}
