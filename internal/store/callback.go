package store

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// errExited is the failure of a callback that did not return.
var errExited = errors.New("called runtime.Goexit")

// Call runs a callback of the application and returns its error. What names the
// callback. A callback that panics or calls runtime.Goexit, as a failed require of a
// test does, has failed: Call returns an error.
//
// The callback has a goroutine of its own because nothing else stops a Goexit. On the
// caller's goroutine it would end a worker, or poison the store under the baton.
func Call(what string, callback func() error) error { return <-Start(what, callback) }

// Start is Call for those who do not wait for the callback in any case.
func Start(what string, callback func() error) (done <-chan error) {
	ended := make(chan error, 1)
	go Finish(what, callback, ended)
	return ended
}

// Finish is Start on a goroutine of the caller, which does nothing else.
func Finish(what string, callback func() error, ended chan<- error) {
	err, returned := error(nil), false
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s panicked: %v\n%s", what, p, debug.Stack())
		} else if !returned {
			err = fmt.Errorf("%s %w", what, errExited)
		}
		ended <- err
	}()
	err = callback()
	returned = true
}
