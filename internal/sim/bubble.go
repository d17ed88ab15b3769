package main

import (
	"fmt"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// result is what became of a world.
type result struct {
	scenario
	fault string
	kind  string // of the fault: its text without values
	story []string
	took  time.Duration // in the world
}

// replay plays a scenario.
func replay(s scenario, o playOptions) result {
	text := s.text()
	return o.play(s.seed, func(w *world) func() (step, bool) {
		w.careful = true
		steps, err := parseScenario(w.verbs, text) // with the verbs of this world
		if err != nil {
			panic(err)
		}
		return func() (s step, ok bool) {
			if len(steps) == 0 {
				return s, false
			}
			s, steps = steps[0], steps[1:]
			return s, true
		}
	})
}

// swarm plays steps that the seed draws.
func swarm(seed uint64, steps int, o playOptions) result {
	return o.play(seed, func(w *world) func() (step, bool) {
		left := steps
		return func() (s step, ok bool) {
			if left--; left < 0 {
				return s, false
			}
			return w.drawStep(), true
		}
	})
}

// playOptions say how to play.
type playOptions struct {
	t       *testing.T    // bubbles need one
	talks   bool          // print what happens
	without []string      // the parts whose verbs are not drawn
	shrink  time.Duration // the real time to look for a smaller scenario
	hang    time.Duration // the real time that a step may take
}

// play lives a world in a bubble. The next steps come from what make returns.
func (o playOptions) play(seed uint64, make func(*world) func() (step, bool)) (r result) {
	var w atomic.Pointer[world]
	done := startWatch(&w, o.hang)
	defer close(done)
	synctest.Test(o.t, func(*testing.T) {
		world := newWorld(seed)
		world.talks, world.without = o.talks, o.without
		w.Store(world)
		world.play(make(world))
		r = result{scenario: scenario{seed: seed, steps: world.trace}, took: time.Since(world.begin)}
	})
	world := w.Load()
	world.judgeCopies()
	r.story, r.fault, r.kind = world.story, world.fault, world.kind
	return r
}

// startWatch ends the process if a world makes no progress. It cannot be ended otherwise: a
// bubble whose goroutines wait for a lock stands still. The limit is processor time, because a
// busy machine may leave the process little of it. A world that uses next to none stands still.
func startWatch(w *atomic.Pointer[world], hang time.Duration) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		var latest uint64
		begun, used := time.Now(), processorTime()
		for tick := time.NewTicker(hang / 8); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
			}
			world := w.Load()
			if world == nil {
				continue
			}
			if now := world.progress.Load(); now != latest {
				latest, begun, used = now, time.Now(), processorTime()
				continue
			}
			if worked := processorTime() - used; worked > hang || time.Since(begun) > hang && worked < hang/200 {
				fmt.Printf("HANGS: no progress in %s, %s of them at work\n%s\n", time.Since(begun), worked, scenario{seed: world.seed, steps: world.trace})
				_ = pprof.Lookup("goroutine").WriteTo(os.Stdout, 2)
				os.Exit(3)
			}
		}
	}()
	return done
}
