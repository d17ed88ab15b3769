package store

import (
	"runtime"
	"strings"
)

// updateFrame is the function below which user code runs in a transaction.
const updateFrame = "pebblemq.(*DB).Update"

// inUpdate reports whether the calling goroutine is inside an Update that is
// inside another. It is asked only when the state token is taken, where a
// nested Update would wait for its own caller for ever.
func inUpdate() bool {
	pcs := make([]uintptr, 128)
	depth := runtime.Callers(1, pcs)
	for depth == len(pcs) {
		pcs = make([]uintptr, 2*len(pcs))
		depth = runtime.Callers(1, pcs)
	}
	frames := runtime.CallersFrames(pcs[:depth])
	for n := 0; ; {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, updateFrame) {
			n++
		}
		if n > 1 || !more {
			return n > 1
		}
	}
}
