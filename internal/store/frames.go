package store

import (
	"runtime"
	"strings"
)

// onStack counts the calls of a function that the calling goroutine is in. The function is
// given by the end of its full name.
func onStack(function string) (n int) {
	pcs := make([]uintptr, 128)
	depth := runtime.Callers(1, pcs)
	for depth == len(pcs) {
		pcs = make([]uintptr, 2*len(pcs))
		depth = runtime.Callers(1, pcs)
	}
	frames := runtime.CallersFrames(pcs[:depth])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, function) {
			n++
		}
		if !more {
			return n
		}
	}
}

// inUpdate reports whether the calling goroutine is inside an Update that is
// inside another. It is asked only when the state token is taken, where a
// nested Update would wait for its own caller for ever.
func inUpdate() bool { return onStack("pebblemq.(*DB).Update") > 1 }

// inCompaction reports whether the calling goroutine merges tables for the engine. This
// and the next two are asked only when a read has failed.
func inCompaction() bool { return onStack("pebble/v2.(*DB).compactAndWrite") > 0 }

// inElision reports whether the engine would panic if the read of the calling goroutine
// failed: it drops a single deletion together with what that deletes.
func inElision() bool { return onStack(".skipDueToSingleDeleteElision") > 0 }

// inStatistics reports whether the calling goroutine looks at tables to help the engine
// choose its compactions.
func inStatistics() bool { return onStack("pebble/v2.(*DB).collectTableStats") > 0 }
