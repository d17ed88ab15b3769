package main

import (
	"slices"
	"time"
)

// shrink removes steps as long as the scenario fails in the same way, for some time: long
// stretches first, and single steps until none can go.
func shrink(p playOptions, r result) result {
	begin := time.Now()
	p.talks = false
	for size := len(r.steps) / 2; size > 0; {
		before := len(r.steps)
		for end := before; end > 0 && time.Since(begin) < p.shrink; end -= size {
			end = min(end, len(r.steps)) // it may have failed earlier
			r = leaveOut(p, r, max(0, end-size), end)
		}
		if size > 1 {
			size = (size + 1) / 2
		} else if len(r.steps) == before || time.Since(begin) > p.shrink {
			return r
		}
	}
	return r
}

// leaveOut leaves out a stretch of steps, unless the fault needs it.
func leaveOut(p playOptions, r result, from, to int) result {
	steps := slices.Concat(r.steps[:from], r.steps[to:])
	for range *tries {
		if smaller := replay(scenario{seed: r.seed, steps: steps}, p); smaller.fault != "" && smaller.kind == r.kind {
			return smaller
		}
	}
	return r
}
