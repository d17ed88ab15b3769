package store

import (
	"runtime"
	"strings"
)

// onStack counts, for each function, the calls of it that the calling goroutine is in. A
// function is given by the end of its full name.
func onStack(functions ...string) []int {
	pcs := make([]uintptr, 128)
	depth := runtime.Callers(1, pcs)
	for depth == len(pcs) {
		pcs = make([]uintptr, 2*len(pcs))
		depth = runtime.Callers(1, pcs)
	}
	calls := make([]int, len(functions))
	frames := runtime.CallersFrames(pcs[:depth])
	for {
		f, more := frames.Next()
		for i, function := range functions {
			if strings.HasSuffix(f.Function, function) {
				calls[i]++
			}
		}
		if !more {
			return calls
		}
	}
}

// inUpdate reports whether the calling goroutine is inside an Update that is
// inside another. It is asked only when the state token is taken, where a
// nested Update would wait for its own caller for ever.
func inUpdate() bool { return onStack("pebblemq.(*DB).Update")[0] > 1 }

// reading is what a goroutine reads tables for.
type reading int

const (
	forCaller     reading = iota
	forStatistics         // which help the engine to choose its compactions
	forCompaction         // which merges tables
	forElision            // of a compaction: an error there makes the engine panic
)

// readsFor tells what the calling goroutine reads for. It walks the stack, so it is asked
// only when a read has failed.
func readsFor() reading {
	calls := onStack("pebble/v2.(*DB).collectTableStats", "pebble/v2.(*DB).compactAndWrite", ".skipDueToSingleDeleteElision")
	switch {
	case calls[0] > 0:
		return forStatistics
	case calls[1] > 0 && calls[2] > 0:
		return forElision
	case calls[1] > 0:
		return forCompaction
	}
	return forCaller
}
